"""The gradient of one batch that is computed in parts: in turn (accumulation), by several processes, or both.

A loss need not be a mean over images (batch Dice is a ratio of sums, a head may count only non-empty images), so the
gradient of the whole is not the mean of the parts' gradients. Every loss is ``value(sums)`` with sums that add up
over images: with the sums S of the whole batch at hand, the gradient of ``value(s + (S - s) without gradient)`` for
the sums s of one part is exactly that part's share.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from segfold.data.dataset import Sample
from segfold.losses import StageLoss
from segfold.models import Output
from segfold.training.processes import Group

Sums = dict[str, Tensor]


class Target(NamedTuple):
    """What the outputs for a part are compared with, on the device; see ``StageLoss``."""

    mask: Tensor
    valid: Tensor | None = None
    gaps: Tensor | None = None


class Forward(Protocol):
    """What a batch goes through."""

    network: nn.Module

    def outputs(self, part: Sample, number: int) -> Output:
        """The network's outputs for part ``number``; the same for the same part when called twice."""

    def target(self, part: Sample) -> Target:
        """The target of a part."""


class Parts:
    """A batch in parts, whose gradients add up to those of the whole batch, over all processes.

    Iterate over the numbered parts. For each, make the outputs, ask for its ``loss`` and go backward from that; then
    ``total`` brings the processes together.

    Args:
        batch: this process's share.
        count: how many forward passes to take for it.

    Raises:
        SegfoldError: of a loss that is not additive; raised by ``loss`` or before the first part.
    """

    def __init__(self, batch: Sample, count: int, group: Group, loss: StageLoss, forward: Forward) -> None:
        self._group, self._loss, self._forward = group, loss, forward
        self._alone = count == 1 and group.size == 1
        self._parts = [batch] if self._alone else split(batch, count)
        self._whole: Sums | None = None
        self._seen: Sums = {}
        self._found: tuple[Tensor, dict[str, Tensor]] | None = None

    def __iter__(self) -> Iterator[tuple[int, Sample]]:
        if len(self._parts) > 1 and not self._loss.linear:
            self._whole = self._group.added(_total(self._dry_sums()))
        return enumerate(self._parts)

    def loss(self, part: Sample, output: Output) -> Tensor:
        """A scalar with the gradient of this part's share in the loss of the whole batch."""
        sums = _sums(self._loss, output, self._forward.target(part))
        if self._alone:
            total, terms = self._loss.value(sums)
            self._found = total.detach(), terms
            return total
        if self._whole is None:
            # In a linear loss only what the targets decide enters the gradients of the other parts.
            others = [self._blank_sums(output, other) for other in self._parts[1:]]
            self._whole = self._group.added(_total([sums, *others]))
        total, _ = self._loss.value(
            {name: value + (self._whole[name] - value).detach() for name, value in sums.items()}
        )
        self._seen = _total([self._seen, sums] if self._seen else [sums])
        return total

    def total(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The whole batch's loss and its terms, detached; its gradients are then in the network."""
        if self._found is not None:
            return self._found
        self._group.add_gradients(self._forward.network)
        total, terms = self._loss.value(self._group.added(self._seen))
        return total.detach(), terms

    @torch.no_grad()
    def _dry_sums(self) -> list[Sums]:
        # Batch norm's running statistics move with every pass in training mode; the dry pass leaves no trace.
        buffers = list(self._forward.network.buffers())
        before = [buffer.clone() for buffer in buffers]
        found = [
            _sums(self._loss, self._forward.outputs(part, number), self._forward.target(part))
            for number, part in enumerate(self._parts)
        ]
        for buffer, value in zip(buffers, before):
            buffer.copy_(value)
        return found

    @torch.no_grad()
    def _blank_sums(self, output: Output, part: Sample) -> Sums:
        count = len(part["image"])

        def blank(tensor: Tensor) -> Tensor:
            return torch.zeros_like(tensor[:count])

        heads = {name: blank(tensor) for name, tensor in output.heads.items()}
        return _sums(self._loss, Output(blank(output.logits), heads), self._forward.target(part))


def split(batch: Sample, count: int) -> list[Sample]:
    """Parts of a batch, as equal as can be, the larger ones first."""
    pieces = {name: torch.as_tensor(value).tensor_split(count) for name, value in batch.items()}
    whole = [{name: piece[i] for name, piece in pieces.items()} for i in range(count)]
    return [part for part in whole if len(part["image"])]  # type: ignore[misc]


def _sums(loss: StageLoss, output: Output, target: Target) -> Sums:
    return loss.sums(output.logits, output.heads, *target)


def _total(found: Iterable[Sums]) -> Sums:
    total: Sums = {}
    for sums in found:
        total = {name: total[name] + value.detach() if total else value.detach() for name, value in sums.items()}
    return total
