"""Object context's attention through ``scaled_dot_product_attention`` against the explicit N×N matrix."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measure import Effort, Row, difference, interleave, rate, spread
from benchmarks.peers import explicit_attention
from benchmarks.private_memory import peak_of
from segfold.models.object_context import attend

IMAGES, CHANNELS, SIDE = 4, 256, 64
"""Base-OC on a 64×64 map, as at an eighth of 512 pixels; keys and values of half of its 512 channels."""


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    side = effort.size(SIDE, 16)
    x = features(side)
    apart = check(x)
    times = interleave(
        {"ours": lambda: forward_backward(attend, x), "peer": lambda: forward_backward(explicit_attention.attend, x)},
        least=effort.least(5),
        seconds=effort.seconds(15),
    )
    ours, peer = (peak_of(once, name, side) for name in ("ours", "peer"))
    what = f"{IMAGES}×{CHANNELS}×{side}², forward and backward"
    return [
        Row(
            "attention",
            rate(1, times["ours"]),
            rate(1, times["peer"]),
            f"passes/s, {what}",
            None,
            notes=(spread(times), f"results and gradients within {apart:.1e}"),
        ),
        Row("attention-memory", ours / 2**20, peer / 2**20, f"MiB, {what}", None, "lower"),
    ]


def check(x: tuple[Tensor, Tensor]) -> float:
    """By how much results and gradients of the two differ; asserts that it is rounding."""
    outcomes = []
    for function in (attend, explicit_attention.attend):
        keys, values = (part.clone().requires_grad_() for part in x)
        result = function(keys, values)
        result.square().sum().backward()
        assert keys.grad is not None and values.grad is not None
        outcomes.append([result.detach(), keys.grad, values.grad])
    apart = difference(outcomes[0], outcomes[1])
    assert apart < 2e-4, f"results or gradients differ by {apart:.2g}"
    return apart


def features(side: int) -> tuple[Tensor, Tensor]:
    """Keys and values, N×C×H×W each."""
    generator = torch.Generator().manual_seed(0)
    keys, values = torch.randn(2, IMAGES, CHANNELS, side, side, generator=generator)
    return keys, values


def forward_backward(function: Callable[[Tensor, Tensor], Tensor], x: tuple[Tensor, Tensor]) -> None:
    """One pass; gradients of keys and values."""
    keys, values = (part.detach().requires_grad_() for part in x)
    function(keys, values).sum().backward()


def once(name: str, side: int) -> Callable[[], None]:
    """One pass of ``ours`` or of the ``peer``, ready to be called."""
    x = features(side)
    function = attend if name == "ours" else explicit_attention.attend
    return lambda: forward_backward(function, x)
