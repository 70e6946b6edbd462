"""The settings of a stage's loss: which losses on the masks, and what the model's further heads weigh beside them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import Field, create_model, field_validator, model_validator

from segfold.losses import LOSSES, HeadTerm, Over, StageLoss
from segfold.models.heads import HEADS, head_summary
from segfold.schema import NamedMap, Settings, Weight, named_map, said

_ONCE_BESIDE_MASK = ("levels", "nonempty", "image")
"""Heads that stood directly under ``loss`` before there was ``loss.heads``; configs of old runs have them there."""


class HeadLoss(Settings):
    """A further head's share of the loss; a number stands for ``{weight: number}``.

    Attributes:
        weight: factor of the head's loss; with 0 it is not trained.
    """

    weight: Weight

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return {"weight": value} if isinstance(value, int | float) else value


class PixelHeadLoss(HeadLoss):
    """A further pixel head's share of the loss, and the images that it is trained on.

    Attributes:
        weight: factor of the head's loss; with 0 it is not trained.
        over: images in the mean: ``nonempty`` (those with foreground), ``all``, or ``zeroed``, where empty images have
            loss 0 but count.
    """

    over: Over = "nonempty"


class _HeadLosses(NamedMap):
    @field_validator("*")
    @classmethod
    def _used(cls, head: HeadLoss | None) -> HeadLoss | None:
        return None if head is None or head.weight == 0 else head


def _head_losses() -> Any:
    """Settings model of ``loss.heads``: each head of the models by its name, pixel heads first; one of weight 0 is not used."""
    forms = {"pixels": PixelHeadLoss, "image": HeadLoss}
    ordered = sorted(HEADS, key=lambda name: (HEADS[name].of == "image", name))
    fields: dict[str, Any] = {
        name: (forms[HEADS[name].of] | None, Field(default=None, description=head_summary(name))) for name in ordered
    }
    return create_model("heads", __base__=_HeadLosses, **fields)


if TYPE_CHECKING:
    MaskLosses: TypeAlias = NamedMap
    HeadLosses: TypeAlias = NamedMap
else:
    MaskLosses = named_map("mask", LOSSES, weighted=True, check=lambda name, settings: LOSSES[name](**settings))
    HeadLosses = _head_losses()


class LossTerms(Settings):
    """A stage's loss: ``mask`` on the main logits, the same form on further pixel heads, cross-entropy on image heads.

    Attributes:
        mask: the losses of the pixel heads, with their weights; a number is a weight.
        heads: what the model's further heads weigh; a number is a weight.
        unpadded: pixels of the border around an image do not count.
    """

    mask: MaskLosses
    heads: HeadLosses = HeadLosses()
    unpadded: bool = True

    @model_validator(mode="before")
    @classmethod
    def _heads_in_one_place(cls, values: Any) -> Any:
        old = [name for name in _ONCE_BESIDE_MASK if isinstance(values, Mapping) and name in values]
        heads = values.get("heads", {}) if old else None
        if not isinstance(heads, Mapping):
            return values
        if twice := [name for name in old if name in heads]:
            found = ", ".join(f"{name} and heads.{name}" for name in twice)
            raise ValueError(f"found {found}, which are the same; write loss.heads.{twice[0]} alone")
        kept = {name: value for name, value in values.items() if name not in old}
        return {**kept, "heads": {**heads, **{name: values[name] for name in old}}}

    @field_validator("mask")
    @classmethod
    def _some(cls, mask: Any) -> Any:
        if not mask.items():
            raise ValueError(f"no loss is named; name at least one of {', '.join(LOSSES)}")
        return mask

    @model_validator(mode="after")
    def _can_be_made(self) -> "LossTerms":
        said(self.build)
        return self

    def build(
        self, *, classes: Sequence[str] = (), exclusive: bool = False, background: int | None = None
    ) -> StageLoss:
        """The loss, with the weights of the stage's beginning. Arguments as of ``StageLoss``.

        Raises:
            SegfoldError: it begins or ends without a mask loss, or a setting does not fit the classes.
        """
        mask, ramp = {}, {}
        for name, chosen in self.mask.items():
            values = chosen.model_dump()
            end = values.pop("end")
            mask[name] = (values.pop("weight"), values)
            if end is not None:
                ramp[name] = end
        heads = {name: HeadTerm(**head.model_dump()) for name, head in self.heads.items()}
        return StageLoss(mask, heads, ramp, classes=classes, exclusive=exclusive, background=background)
