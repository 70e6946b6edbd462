"""The loss of a training stage: weighted mask losses on every pixel head, cross-entropy on image heads."""

import copy
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from segfold.errors import SegfoldError
from segfold.losses.base import GapLoss, Loss, MovingLoss, mean_sums, mean_value
from segfold.losses.classes import Classes, log_odds, one_hot
from segfold.losses.joint import Joint
from segfold.schema import build

_PLACES = {
    "bce": "pixel:BCE",
    "ce": "cross_entropy:CrossEntropy",
    "weighted": "weighted:WeightedBCE",
    "focal": "pixel:Focal",
    "bootstrapped": "bootstrapped:Bootstrapped",
    "dice": "region:Dice",
    "inverse_dice": "region:InverseDice",
    "jaccard": "region:Jaccard",
    "tversky": "region:Tversky",
    "lovasz": "lovasz:Lovasz",
    "lovasz_softmax": "lovasz_softmax:LovaszSoftmax",
    "boundary": "boundary:Boundary",
}
"""A loss's name in settings, its file in this folder, and its class there."""

LOSSES: dict[str, Callable[..., Loss]] = {
    name: resolve_name(f"segfold.losses.{place}") for name, place in _PLACES.items()
}

Over = Literal["nonempty", "all", "zeroed"]


@dataclass(frozen=True)
class HeadTerm:
    """How a further head enters the loss.

    Args:
        weight: factor of the head's loss, at least 0; 0 leaves the head alone.
        over: of a pixel head, the images in the mean. ``nonempty``: those whose mask is not empty (no such image: 0);
            ``all``: every image; ``zeroed``: empty images have loss 0 but count in the mean.
    """

    weight: float
    over: Over = "nonempty"


class StageLoss:
    """Weighted sum of the losses of all heads of a network.

    What a further head is trained on is decided by the shape of its logits: N×C×H×W by the mask losses, N×S×C×H×W by their
    sum over the S maps, N×1 by the cross-entropy with "the mask is not empty".

    With e = 1 for an image whose mask is not empty within the valid area (a target above 0.5; of classes that exclude each
    other, a pixel that is not background), and ℓ the weighted sum of the mask losses on any pixel logits, a head of weight w
    adds ``w · ℓ(z | over)``, ``w · Σ_s ℓ(z_s | over)`` or ``w · BCE(a, e)`` to ``ℓ`` of the main logits.

    Three published forms of the TGS competition (reference: write-ups and code of the places named)::

        heads={"levels": HeadTerm(0.1, "nonempty"), "image": HeadTerm(0.05)}      # 9th: a head at every decoder level
        heads={"nonempty": HeadTerm(0.5, "nonempty"), "image": HeadTerm(0.05)}    # 4th: one head for non-empty images
        heads={"nonempty": HeadTerm(1.0, "zeroed"), "image": HeadTerm(1.0)}       # 1st: the same, its mean over all images

    The weights of the mask losses may move in a straight line over the stage, in every head alike::

        mask={"focal": (2, {}), "lovasz": (0, {"activation": "elu"})}, ramp={"focal": 0, "lovasz": 2}   # 2nd

    Of classes that exclude each other a loss that judges the classes of a pixel together, a ``Joint``, is given the logits; one
    that judges each class by itself, the logits of each class against the rest. So the probabilities of both are the softmax's.

    A ``StageLoss`` has the weights of one moment, at first those of the beginning; ``at`` gives it at another.

    Args:
        mask: losses by name, each with its weight and settings; applied to every pixel head.
        heads: further heads by name.
        ramp: weights of mask losses at the end of the stage; the others keep theirs.
        classes: names of the C classes, () if they are not known: settings that name classes are then not looked at.
        exclusive: whether each pixel has exactly one of them.
        background: index of the class that is the background, of exclusive classes; None: there is none.

    Attributes:
        mask: the mask losses that are computed, those with a weight above 0 at this moment.
        terms: the heads that are trained, those with a weight above 0.
        factors: of each part in the total at this moment.
        additive: whether ``value`` of added ``sums`` is exactly the loss of the images together, all stage long.
        linear: whether all mask losses are means over images, see ``Loss``, all stage long.
        wants_gaps: whether a mask loss weighs pixels by the gaps between objects, see ``GapLoss``, all stage long.
        classes: the classes.

    Raises:
        SegfoldError: an unknown loss, a beginning or an end without a mask loss, a setting that does not fit the classes.
    """

    def __init__(
        self,
        mask: Mapping[str, tuple[float, Mapping[str, Any]]],
        heads: Mapping[str, HeadTerm] | None = None,
        ramp: Mapping[str, float] | None = None,
        *,
        classes: Sequence[str] = (),
        exclusive: bool = False,
        background: int | None = None,
    ) -> None:
        self.classes = Classes(tuple(classes), exclusive, background)
        self.terms = {name: term for name, term in (heads or {}).items() if term.weight > 0}
        self._losses: dict[str, Loss] = {}
        self._spans = _spans(mask, ramp or {})
        for name, span in self._spans.items():
            if max(span) > 0:
                self._losses[name] = build_loss(name, self.classes, **mask[name][1])
        self.additive = all(loss.additive for loss in self._losses.values())
        self.linear = all(loss.linear for loss in self._losses.values())
        self.wants_gaps = any(isinstance(loss, GapLoss) and loss.wants_gaps for loss in self._losses.values())
        self._weigh(0.0)

    def at(self, done: float) -> "StageLoss":
        """The same loss with the weights that it has when a share ``done`` of the stage is over (0 to 1)."""
        if not 0 <= done <= 1:
            raise ValueError(f"a share of {done} of a stage is not within 0 and 1")
        moved = copy.copy(self)
        moved._weigh(done)
        return moved

    def _weigh(self, done: float) -> None:
        self.mask: dict[str, Loss] = {}
        self.factors: dict[str, float] = {}
        for name, loss in self._losses.items():
            start, end = self._spans[name]
            weight = end if done == 1 else start + done * (end - start)
            if weight > 0:
                self.mask[name] = loss.at(done) if isinstance(loss, MovingLoss) else loss
                self.factors[name] = weight
        self.factors |= {name: term.weight for name, term in self.terms.items()}

    def __call__(
        self,
        logits: Tensor,
        heads: Mapping[str, Tensor],
        target: Tensor,
        valid: Tensor | None = None,
        gaps: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one batch: the total, and its unweighted parts without gradient.

        Args:
            logits: N×C×H×W.
            heads: logits of the further heads by name, see the class; those without a weight are left alone.
            target: N×C×H×W in [0, 1]; or N×1×H×W indices of exclusive classes, below C also where they do not count.
            valid: N×1×H×W bool, the area that counts (None: all).
            gaps: as of ``GapLoss.sums``, for all heads.

        Raises:
            SegfoldError: a term has a weight but the network lacks its head.
        """
        return self.value(self.sums(logits, heads, target, valid, gaps))

    def sums(
        self,
        logits: Tensor,
        heads: Mapping[str, Tensor],
        target: Tensor,
        valid: Tensor | None = None,
        gaps: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Sums over the batch, to be added key by key over steps and processes. Arguments as in the call."""
        filled = self._filled(target, valid)
        planes = self._planes(logits, target)
        sums = {"images": torch.stack([filled.sum(), torch.ones_like(filled).sum()])}
        for name, found in self._mask_sums(logits, target, planes, valid, gaps).items():
            sums[f"mask/{name}"] = found
        for head, term in self.terms.items():
            if head not in heads:
                raise SegfoldError(
                    f"loss.heads.{head} is {term.weight:g} but the network has no head {head}: "
                    f"set loss.heads.{head}=0, or model.heads.{head}=true where the model has that setting"
                )
            given = heads[head]
            if given.ndim == 2:
                if given.shape != (len(filled), 1):
                    raise ValueError(f"logits {tuple(given.shape)} of head {head} must be one for each image")
                entropy = F.binary_cross_entropy_with_logits(given.float().flatten(), filled, reduction="none")
                sums[head] = mean_sums(entropy, torch.ones_like(filled))
                continue
            weight = None if term.over == "all" else filled
            for i, z in enumerate(given.unbind(dim=1) if given.ndim == 5 else [given]):
                for name, found in self._mask_sums(z, target, planes, valid, gaps, weight).items():
                    sums[f"{head}/{name}/{i}"] = found
        return sums

    def _filled(self, target: Tensor, valid: Tensor | None) -> Tensor:
        """1 for each image whose mask is not empty within the valid area, else 0 (N float32)."""
        if not self.classes.exclusive:
            inside = target > 0.5
        elif self.classes.background is None:
            inside = torch.ones_like(target[:, :1], dtype=torch.bool)
        elif target.shape[1] == 1:
            inside = target != self.classes.background
        else:
            inside = target[:, self.classes.background, None] < 0.5
        if valid is not None:
            inside = inside & valid
        return inside.flatten(1).any(dim=1).float()

    def _planes(self, logits: Tensor, target: Tensor) -> Tensor | None:
        """The target one-hot, or its shares, for losses that judge each class by itself; None where there are none."""
        if not self.classes.exclusive or all(isinstance(loss, Joint) for loss in self.mask.values()):
            return None
        return one_hot(target, logits.shape[1]) if target.shape[1] == 1 else target

    def _mask_sums(
        self,
        logits: Tensor,
        target: Tensor,
        planes: Tensor | None,
        valid: Tensor | None,
        gaps: Tensor | None,
        weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Sums of the mask losses on some pixel logits, by name."""
        odds = logits if planes is None else log_odds(logits.float())
        found = {}
        for name, loss in self.mask.items():
            seen, wanted = (logits, target) if planes is None or isinstance(loss, Joint) else (odds, planes)
            if isinstance(loss, GapLoss):
                found[name] = loss.sums(seen, wanted, valid, weight, gaps)
            else:
                found[name] = loss.sums(seen, wanted, valid, weight)
        return found

    def value(self, sums: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The total and its unweighted parts from (added) sums; ``total = Σ factors[part] · parts[part]``."""
        parts = {name: loss.value(sums[f"mask/{name}"]) for name, loss in self.mask.items()}
        for head, term in self.terms.items():
            if head in sums:
                parts[head] = mean_value(sums[head])
                continue
            losses = [
                self.factors[name] * loss.value(part)
                for name, loss in self.mask.items()
                for key, part in sums.items()
                if key.startswith(f"{head}/{name}/")
            ]
            parts[head] = torch.stack(losses).sum()
            if term.over == "zeroed":
                # Mean over non-empty images × their share = mean over all, with the empty ones at 0.
                parts[head] = parts[head] * mean_value(sums["images"])
        total = torch.stack([self.factors[name] * part for name, part in parts.items()]).sum()
        return total, {name: part.detach() for name, part in parts.items()}


def build_loss(name: str, classes: Classes | None = None, /, **settings: Any) -> Loss:
    """The loss ``LOSSES[name]`` of some classes with its settings.

    Raises:
        SegfoldError: a setting that it does not have, a value out of its range, or one that does not fit the classes.
    """
    loss = build(f"loss.mask.{name}", LOSSES[name], settings)
    return loss.among(classes) if classes is not None and isinstance(loss, Joint) else loss


def _spans(
    mask: Mapping[str, tuple[float, Mapping[str, Any]]], ramp: Mapping[str, float]
) -> dict[str, tuple[float, float]]:
    """Weights of the mask losses at the beginning and at the end of the stage."""
    for name in ramp:
        if name not in mask:
            raise SegfoldError(
                f"loss.mask.{name}.end is {ramp[name]} but loss.mask does not name {name}: "
                f"add loss.mask.{name}.weight, 0 to begin without it"
            )
    spans: dict[str, tuple[float, float]] = {}
    for name, (weight, _) in mask.items():
        if name not in LOSSES:
            near = difflib.get_close_matches(name, LOSSES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(LOSSES)}"
            raise SegfoldError(f"loss.mask names {name}, which is not a loss: {hint}")
        spans[name] = weight, ramp.get(name, weight)
    if not any(start > 0 for start, _ in spans.values()):
        raise SegfoldError("loss.mask holds no loss with a weight above 0: name one, such as loss.mask.bce=1")
    if not any(end > 0 for _, end in spans.values()):
        raise SegfoldError(
            "loss.mask holds no loss with a weight above 0 at the end of the stage: "
            "give one an end above 0, such as loss.mask.lovasz.end=1"
        )
    return spans
