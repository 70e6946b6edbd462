"""An image of a single value shows nothing: black tiles of a survey, blank slides."""

from collections.abc import Mapping, Sequence
from typing import Any

from segfold.post.step import EmptyingStep, MaskSizes, Seen


class Constant(EmptyingStep):
    """Empties the mask of an image whose pixels all have one value."""

    open_ended = False

    def __init__(self) -> None:
        pass

    @classmethod
    def grid(cls, sizes: MaskSizes) -> Sequence[Mapping[str, Any]]:
        """It has no settings."""
        return [{}]

    def keeps(self, seen: Seen) -> bool:
        """Whether the image has more than one value."""
        image = seen.image()
        return bool((image != image[0, 0]).any())
