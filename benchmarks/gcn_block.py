"""GCN blocks, k×1 → 1×k beside 1×k → k×1, against the dense k×k kernels that they equal."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.measure import Effort, Row, difference, interleave, rate, spread
from benchmarks.peers.dense_kernel import dense_convolution
from benchmarks.private_memory import peak_of
from segfold.models.gcn_blocks import GCNBlock

CHANNELS, CLASSES, KERNEL, SIDE = (256, 512, 1024, 2048), 21, 15, 128
"""The paper's best: the four features of a ResNet50 for an image of 512², of which the finest is 128×128."""


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    side = effort.size(SIDE, 16)
    levels = features(side)
    blocks, dense = networks()
    apart = check(levels)
    times = interleave(
        {"ours": lambda: forward_backward(blocks, levels), "peer": lambda: forward_backward(dense, levels)},
        least=effort.least(3),
        seconds=effort.seconds(15),
    )
    ours, peer = (peak_of(once, name, side) for name in ("ours", "peer"))
    what = f"k={KERNEL}, {CLASSES} classes, ResNet50 at {4 * side}², forward and backward"
    return [
        Row(
            "gcn-block",
            rate(1, times["ours"]),
            rate(1, times["peer"]),
            f"images/s, {what}",
            None,
            notes=(spread(times), f"score maps and gradients within {apart:.1e}"),
        ),
        Row("gcn-block-memory", ours / 2**20, peer / 2**20, f"MiB, {what}", None, "lower"),
    ]


def check(levels: Sequence[Tensor]) -> float:
    """By how much score maps and the features' gradients of the two differ; asserts that it is rounding."""
    outcomes = []
    for layers in networks():
        inputs = [level.clone().requires_grad_() for level in levels]
        maps = [layer(level) for layer, level in zip(layers, inputs, strict=True)]
        torch.stack([scores.square().sum() for scores in maps]).sum().backward()
        outcomes.append([*maps, *(level.grad for level in inputs if level.grad is not None)])
    apart = difference(outcomes[0], outcomes[1])
    assert apart < 1e-5, f"score maps or gradients differ by {apart:.2g}"
    return apart


def networks() -> tuple[list[nn.Module], list[nn.Module]]:
    """A block for each feature, and the dense convolutions with the same kernels."""
    torch.manual_seed(0)
    blocks = [GCNBlock(channels, CLASSES, KERNEL, bias=False) for channels in CHANNELS]
    return [*blocks], [dense_convolution(list(block.parameters())) for block in blocks]


def features(side: int) -> list[Tensor]:
    """One image's features from fine to coarse, each with half the side of the one before.

    In torch's default layout: channels last, oneDNN takes some twenty times as long for a large dense kernel's gradient.
    """
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, channels, side >> i, side >> i, generator=generator) for i, channels in enumerate(CHANNELS)]


def forward_backward(layers: Sequence[nn.Module], levels: Sequence[Tensor]) -> None:
    """One pass; gradients of the features and the weights."""
    for layer, level in zip(layers, levels, strict=True):
        layer.zero_grad()
        layer(level.detach().requires_grad_()).sum().backward()


def once(name: str, side: int) -> Callable[[], None]:
    """One pass of ``ours`` or of the ``peer``, ready to be called."""
    levels = features(side)
    blocks, dense = networks()
    return lambda: forward_backward(blocks if name == "ours" else dense, levels)
