"""The classes that a network's channels stand for, and maps of those of which each pixel has exactly one."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le
from torch import Tensor

from segfold.errors import SegfoldError

ClassWeights = Mapping[str, Annotated[float, Ge(0), Le(1e6)]]
"""By the classes' names; the others weigh 1."""


@dataclass(frozen=True)
class Classes:
    """What the channels of logits stand for.

    Args:
        names: of the C classes; () where they are not known yet: then settings that name classes are not looked at.
        exclusive: each pixel has exactly one of them (softmax); otherwise each is judged by itself (sigmoid).
        background: index of the class that is the background; None: all are objects.
    """

    names: tuple[str, ...] = ()
    exclusive: bool = False
    background: int | None = None

    def weights(self, given: Mapping[str, float] | None, setting: str) -> Tensor | None:
        """Weights of the classes (C float32), 1 where none is given; None where all weigh the same.

        Args:
            given: weights by name.
            setting: dotted path of ``given``, for messages.

        Raises:
            SegfoldError: a name that no class has, a single class, or weights of 0 alone.
        """
        if not given or not self.names:
            return None
        for name in given:
            if name not in self.names:
                near = difflib.get_close_matches(name, self.names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"use some of {', '.join(self.names)}"
                raise SegfoldError(f"{setting} names {name}, which is not a class: {hint}")
        if len(self.names) == 1:
            raise SegfoldError(
                f"{setting} is given but {self.names[0]} is the only class, and weights are of classes against each other: "
                "leave it out, or use loss.mask.weighted.positive"
            )
        weights = torch.tensor([given.get(name, 1.0) for name in self.names])
        if not weights.any():
            raise SegfoldError(f"{setting} is 0 for every class: give one a weight above 0")
        return weights


def one_hot(index: Tensor, classes: int) -> Tensor:
    """N×1×… class indices to N×C×… float32, 1 in the plane of a pixel's class."""
    shape = (index.shape[0], classes, *index.shape[2:])
    return torch.zeros(shape, device=index.device).scatter_(1, index.long(), 1.0)


def log_odds(logits: Tensor) -> Tensor:
    """Logits of each class against the rest: ``z_c - log Σ_{j ≠ c} exp(z_j)``, whose sigmoid is the softmax's probability.

    With two classes they are the differences of the two logits. Differentiable once.

    Args:
        logits: N×C×…, of at least two classes.
    """
    if logits.shape[1] < 2:
        raise ValueError(f"logits {tuple(logits.shape)} must be of two classes or more to exclude each other")
    odds: Tensor = _LogOdds.apply(logits)
    return odds


# The rest's share of a pixel is 1 - p_c. Where p_c > 1/2, of one class at most, that would lose all digits as p_c nears 1,
# so there the exponentials of the others are summed.
class _LogOdds(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        p = logits.softmax(dim=1)
        likely = p > 0.5
        others = logits.masked_fill(likely, -torch.inf).logsumexp(dim=1, keepdim=True)
        ctx.save_for_backward(logits, p, others)
        return torch.where(likely, logits - others, logits.log_softmax(dim=1).sub_((1 - p).log_()))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # odds_c grows by 1 with its own logit and falls with that of j by p_j / (1 - p_c), which for a likely c is the share
        # of j among the others. In place, for most of the time goes into new memory.
        logits, p, others = ctx.saved_tensors
        likely = p > 0.5
        of_likely = (gradient * likely).sum(dim=1, keepdim=True)
        within_others = (logits - others).exp_().masked_fill_(likely, 0.0)
        unlikely = (1 - p).reciprocal_().mul_(gradient).masked_fill_(likely, 0.0)
        unlikely -= unlikely.sum(dim=1, keepdim=True)
        return unlikely.mul_(p).sub_(within_others.mul_(of_likely)).add_(gradient)
