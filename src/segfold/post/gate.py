"""An image head says whether there is anything at all, which the pixels one by one do not know."""

from collections.abc import Mapping, Sequence
from typing import Any

from segfold.post.step import EmptyingStep, MaskSizes, Seen
from segfold.ranges import Share
from segfold.store.codes import to_codes


class Gate(EmptyingStep):
    """Empties the masks of images that the image heads hold for empty (4th place of TGS Salt and others).

    Args:
        least: probability of not being empty that an image needs, the weighted mean over views, folds and runs.
    """

    open_ended = False

    def __init__(self, *, least: Share = 0.5) -> None:
        self.code = int(to_codes(least))

    @classmethod
    def grid(cls, sizes: MaskSizes) -> Sequence[Mapping[str, Any]]:
        """Every twentieth."""
        return [{"least": twentieth / 20} for twentieth in range(1, 20)]

    def keeps(self, seen: Seen) -> bool:
        """Whether the probability is reached; without an image head every image stays."""
        return seen.nonempty is None or seen.nonempty >= self.code
