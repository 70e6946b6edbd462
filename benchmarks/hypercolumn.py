"""Logits from all decoder levels: a 1×1 convolution a level, upsampled and summed, against the concatenation's."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measure import Effort, Row, difference, interleave, rate, spread
from benchmarks.peers.concatenated import Concatenated
from benchmarks.private_memory import peak_of
from segfold.models.heads import Features, PixelHead

IMAGES, CHANNELS, LEVELS, SIDE = 8, 64, 5, 128
"""The TGS form: five levels of 64 channels, the finest of 128×128."""


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    side = effort.size(SIDE, 32)
    levels = features(side)
    head, peer = heads()
    apart = check(levels)
    times = interleave(
        {"ours": lambda: forward_backward(head, levels), "peer": lambda: forward_backward(peer, levels)},
        least=effort.least(5),
        seconds=effort.seconds(15),
    )
    ours, theirs = (peak_of(once, name, side) for name in ("ours", "peer"))
    what = f"{IMAGES} images, {LEVELS} levels of {CHANNELS}, {side}², forward and backward"
    return [
        Row(
            "hypercolumn",
            rate(1, times["ours"]),
            rate(1, times["peer"]),
            f"passes/s, {what}",
            None,
            notes=(spread(times), f"logits and gradients within {apart:.1e}"),
        ),
        Row("hypercolumn-memory", ours / 2**20, theirs / 2**20, f"MiB, {what}", None, "lower"),
    ]


def check(levels: Sequence[Tensor]) -> float:
    """By how much logits and gradients of the two differ; asserts that it is rounding."""
    outcomes = []
    for function in heads():
        inputs = [level.clone().requires_grad_() for level in levels]
        logits = function(inputs)
        logits.square().sum().backward()
        outcomes.append([logits.detach(), *(level.grad for level in inputs if level.grad is not None)])
    apart = difference(outcomes[0], outcomes[1])
    assert apart < 1e-5, f"logits or gradients differ by {apart:.2g}"
    return apart


class Factorised(PixelHead):
    """The factorised head as a function of the levels alone, like its peer."""

    def __init__(self) -> None:
        super().__init__([CHANNELS] * LEVELS, 1, "factorised", hidden=0, dropout=0.0)

    def __call__(self, levels: Sequence[Tensor]) -> Tensor:
        logits: Tensor = super().__call__(Features(levels[-1], levels))
        return logits


def heads() -> tuple[Factorised, Concatenated]:
    """The factorised head, and the concatenation with the same weights."""
    torch.manual_seed(0)
    head = Factorised()
    weights = torch.cat([level.get_parameter("weight") for level in head.levels], dim=1)
    return head, Concatenated(weights.detach(), head.levels[0].get_parameter("bias").detach())


def features(side: int) -> list[Tensor]:
    """Decoder levels from fine to coarse."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(IMAGES, CHANNELS, side >> i, side >> i, generator=generator).to(memory_format=torch.channels_last)
        for i in range(LEVELS)
    ]


def forward_backward(head: Callable[[Sequence[Tensor]], Tensor], levels: Sequence[Tensor]) -> None:
    """One pass; gradients of the levels and the weights."""
    head([level.detach().requires_grad_() for level in levels]).sum().backward()


def once(name: str, side: int) -> Callable[[], None]:
    """One pass of ``ours`` or of the ``peer``, ready to be called."""
    levels = features(side)
    head, peer = heads()
    return lambda: forward_backward(head if name == "ours" else peer, levels)
