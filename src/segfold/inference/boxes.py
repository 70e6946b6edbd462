"""Where the boxes come from that images are predicted by."""

from collections.abc import Callable

import numpy as np

from segfold.data.image_views import BoxSource
from segfold.data.images import ImageSet
from segfold.data.proposals import Proposals
from segfold.inference.manner import PredictionSettings


def boxes_of(
    images: ImageSet,
    rows: np.ndarray,
    manner: PredictionSettings,
    say: Callable[[str], None] = lambda text: None,
    on_image: Callable[[], None] = lambda: None,
) -> BoxSource | None:
    """The proposals of some images, found and kept now where they are not there yet; None where none are asked for.

    Args:
        on_image: called for each image whose proposals are there.

    Raises:
        SegfoldError: see ``segfold.data.proposals.Proposals``.
    """
    if manner.boxes is None or manner.proposals is None:
        return None
    found = Proposals(images, manner.proposals, say, on_image)
    found.prepare(rows)
    return found
