"""The image-level head of networks that have no other head beside the main one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from segfold.errors import SegfoldError
from segfold.models.heads import ImageHead


@dataclass(frozen=True)
class ImageOnly:
    """Heads beside the main one; a stage's loss says what they weigh.

    Attributes:
        image: one logit an image, above 0 where its mask is not empty.
    """

    image: bool = False

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


NO_HEADS = ImageOnly()


def optional_image_head(heads: ImageOnly | Mapping[str, Any], channels: int, hidden: int) -> ImageHead | None:
    """The image head on a deepest feature of so many ``channels``, if it is asked for.

    Raises:
        SegfoldError: ``hidden`` leaves the head no channel.
    """
    heads = ImageOnly(**heads) if isinstance(heads, Mapping) else heads
    if not heads.image:
        return None
    if hidden < 1:
        raise SegfoldError(f"model.head_channels is {hidden}; model.heads.image needs at least 1")
    return ImageHead(channels, hidden, dropout=0.0)
