"""What a network is shown of images that it predicts: a torch data set over an ``ImageSet``, view by view."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from segfold.data.channels import PLACED, InputPlanes
from segfold.data.geometry.symmetry import TRANSFORMS
from segfold.data.geometry.view import View
from segfold.data.image_views import ImageViews
from segfold.data.images import ImageSet
from segfold.resize import Shape

# A sample is too small to share among threads, and OpenCV's threads do not survive the fork of a worker.
cv2.setNumThreads(0)

Key: TypeAlias = tuple[int, int]
"""Of a sample: position of the image, and number of its view."""


class PredictionSample(NamedTuple):
    """A view of an image, as the network is shown it.

    Attributes:
        image: C×H×W of 0…255: uint8, or float32 with channels beside "image" or images of 16 bits; where the input has
            planes that a symmetry would turn with the image, a list of such, one for each symmetry of the view.
        position: of the image.
        view: number of the view.
    """

    image: Tensor | list[Tensor]
    position: int
    view: int


class PredictionSet(Dataset[PredictionSample]):
    """Views of images, not augmented.

    Planes that say where a pixel lies are made after the symmetries of a view, as they are in training: in an image
    that is upside down, the first row is the top one.

    Args:
        images: a split.
        views: of images of the split.
        channels: of the network's input.

    Raises:
        SegfoldError: an unknown channel, or an image without a depth.
    """

    def __init__(self, images: ImageSet, views: ImageViews, channels: Sequence[str] = ("image",)) -> None:
        self._images = images.images
        self.views = views
        self._planes = InputPlanes(images, channels)
        self._placed = bool(set(channels) & set(PLACED))

    @property
    def sample_bytes(self) -> int:
        """Of the largest sample."""
        plan = self.views.plan
        pixels = max(height * width for height, width in plan.frames)
        return pixels * self._planes.bytes_a_pixel * (len(plan.tta) if self._placed else 1)

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, key: Key) -> PredictionSample:
        position, number = key
        row, shape = int(self.views.rows[position]), self.views.shape(position)
        view = self.views.of(position)[number]
        pixels = view.read(self._images.reader(row))
        if not self._placed:
            image = self._planes(pixels, row, view.sizing, None, around=view.around)
            return PredictionSample(torch.from_numpy(image).permute(2, 0, 1), position, number)
        seen = [self._seen(pixels, row, view, name, shape) for name in view.symmetries]
        return PredictionSample(seen, position, number)

    def _seen(self, pixels: np.ndarray, row: int, view: View, symmetry: str, shape: Shape) -> Tensor:
        """The network's input for a turned view: what the symmetry makes of the view's own, planes aside."""
        transform = TRANSFORMS[symmetry]
        sizing = view.sizing.turned if transform.swaps_axes else view.sizing
        placed = transform.window(view.sizing.window(view.window.shape), view.sizing.given)
        image = self._planes(
            np.ascontiguousarray(transform.image(pixels)),
            row,
            sizing,
            (placed.top, placed.left),
            (transform.window(view.seen, shape).top, transform.shape(shape)[0]),
            view.around,
        )
        return torch.from_numpy(image).permute(2, 0, 1)
