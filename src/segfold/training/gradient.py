"""The gradient of one batch that is computed in parts: in turn (accumulation), by several processes, or both.

A loss need not be a mean over images (batch Dice is a ratio of sums, a head may count only non-empty images), so the
gradient of the whole is not the mean of the parts' gradients. Every loss is ``value(sums)`` with sums that add up
over images: with the sums S of the whole batch at hand, the gradient of ``value(s + (S - s) without gradient)`` for
the sums s of one part is exactly that part's share.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from segfold.data.dataset import Sample
from segfold.losses import StageLoss
from segfold.training.processes import Group

Sums = dict[str, Tensor]
Outputs = tuple[Tensor, dict[str, Tensor], Tensor | None]
"""Logits, further pixel logits, image logit."""
Forward = Callable[[Sample, int], Outputs]
"""A part of the batch and its number → the network's outputs."""
Targets = Callable[[Sample], tuple[Tensor, Tensor | None]]
"""A part of the batch → its target and the area that counts, on the device."""


def split(batch: Sample, parts: int) -> list[Sample]:
    """Parts of a batch, as equal as can be, the larger ones first."""
    pieces = {name: torch.as_tensor(value).tensor_split(parts) for name, value in batch.items()}
    whole = [{name: piece[i] for name, piece in pieces.items()} for i in range(parts)]
    return [part for part in whole if len(part["image"])]  # type: ignore[misc]


def backward(
    batch: Sample,
    parts: int,
    group: Group,
    network: nn.Module,
    forward: Forward,
    targets: Targets,
    loss: StageLoss,
    scale: Callable[[Tensor], Tensor] = lambda total: total,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Leaves the whole batch's gradients in ``network``; returns its loss and the parts of the loss, detached.

    Args:
        batch: this process's share.
        parts: how many forward passes to take for it.
        forward: see ``Forward``; it must give the same for the same part when called twice.
        targets: see ``Targets``.
        scale: applied to what is differentiated, such as a GradScaler's.

    Raises:
        SegfoldError: a loss that is not additive.
    """
    if parts == 1 and group.size == 1:
        total, values = loss(*forward(batch, 0), *targets(batch))
        scale(total).backward()
        return total.detach(), values
    pieces = split(batch, parts)
    whole: Sums | None = None
    if len(pieces) > 1 and not loss.linear:
        whole = group.added(_total(_dry_sums(network, forward, targets, loss, pieces)))
    seen: Sums = {}
    for number, piece in enumerate(pieces):
        outputs = forward(piece, number)
        sums = loss.sums(*outputs, *targets(piece))
        if whole is None:
            # In a linear loss only what the targets decide enters the gradients of the other parts.
            others = [_blank_sums(targets, loss, outputs, other) for other in pieces[1:]]
            whole = group.added(_total([sums, *others]))
        total, _ = loss.value({name: value + (whole[name] - value).detach() for name, value in sums.items()})
        scale(total).backward()
        seen = _total([seen, sums] if seen else [sums])
    group.add_gradients(network)
    total, values = loss.value(group.added(seen))
    return total.detach(), values


def _total(found: Iterable[Sums]) -> Sums:
    total: Sums = {}
    for sums in found:
        total = {name: total[name] + value.detach() if total else value.detach() for name, value in sums.items()}
    return total


@torch.no_grad()
def _dry_sums(
    network: nn.Module, forward: Forward, targets: Targets, loss: StageLoss, pieces: list[Sample]
) -> list[Sums]:
    # Batch norm's running statistics move with every pass in training mode; the dry pass leaves no trace.
    before = [buffer.clone() for buffer in network.buffers()]
    found = [loss.sums(*forward(piece, number), *targets(piece)) for number, piece in enumerate(pieces)]
    for buffer, value in zip(network.buffers(), before):
        buffer.copy_(value)
    return found


@torch.no_grad()
def _blank_sums(targets: Targets, loss: StageLoss, outputs: Outputs, piece: Sample) -> Sums:
    logits, aux, image = outputs
    count = len(piece["image"])

    def blank(tensor: Tensor) -> Tensor:
        return torch.zeros_like(tensor[:count])

    blank_aux = {name: blank(tensor) for name, tensor in aux.items()}
    return loss.sums(blank(logits), blank_aux, None if image is None else blank(image), *targets(piece))
