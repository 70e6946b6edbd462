"""What the network's input is made of: the image's own channels, and planes beside them."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.window import Border, places
from segfold.data.images import ImageSet
from segfold.errors import SegfoldError
from segfold.layouts.table import shorten

Channel = Literal["image", "y", "image_y", "depth"]
CHANNELS: tuple[Channel, ...] = get_args(Channel)
"""The image's own channels; the height in the image, 0 at its top and 255 at its bottom; the image times that height
as a share; and one value an image, its depth by the competition's table of that name. The first three are the
planes I, y and I·y of the first place of the TGS competition (T §2)."""

PLACED = ("y", "image_y")
"""Channels that depend on where in the image a pixel lies."""


class InputPlanes:
    """Makes the network's input of an image of a set.

    Args:
        images: the set.
        channels: of ``CHANNELS``, in the order of the network's input.

    Raises:
        SegfoldError: an unknown channel, or an image without a depth.
    """

    def __init__(self, images: ImageSet, channels: Sequence[str]) -> None:
        unknown = [channel for channel in channels if channel not in CHANNELS]
        if unknown or not channels:
            raise SegfoldError(f"input.channels is {list(channels)}; name one or more of {', '.join(CHANNELS)}")
        self._channels = tuple(channels)
        own = int(images.images.shapes[:, 2].max(initial=1))
        self._count = sum(own if channel == "image" else 1 for channel in channels)
        self.whole = self._channels == ("image",) and images.images.dtype == np.uint8
        """Whether inputs are of whole numbers, one byte each."""
        self._depths = _depths(images) if "depth" in channels else None

    @property
    def bytes_a_pixel(self) -> int:
        """Of the network's input."""
        return self._count * (1 if self.whole else 4)

    def __call__(
        self,
        image: np.ndarray,
        row: int,
        sizing: Sizing,
        offset: tuple[int, int] | None,
        rows: tuple[int, int] | None = None,
        around: int = 0,
    ) -> np.ndarray:
        """The network's input.

        Args:
            image: H×W×C, uint8 or uint16, augmented or not; a whole image or a window of one.
            row: of the image in its set.
            sizing: to the network's input.
            offset: where the image is placed.
            rows: of a window, the number of its first row in the whole image, below 0 where it begins above it, and how
                many rows the whole image has; None for a whole image.
            around: see ``Sizing.image``.

        Returns:
            height×width×channels of 0…255: uint8 of an image of 8 bits alone, else float32.
        """
        if image.dtype == np.uint16:
            image = image.astype(np.float32) / 257  # 65535 becomes 255
        if self._channels == ("image",):
            return sizing.image(image, offset, around)
        ramp = _ramp(image.shape[0], rows or (0, image.shape[0]), sizing.border)[:, None, None]
        # Made after augmentation, whose changes of brightness are not meant for the planes.
        planes = [self._plane(name, image, ramp) for name in self._channels]
        sized = sizing.image(np.concatenate(planes, axis=2), offset, around)
        if self._depths is not None:
            sized[:, :, self._place(image.shape[2])] = self._depths[row]
        return sized

    def _plane(self, name: str, image: np.ndarray, ramp: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        match name:
            case "image":
                return image.astype(np.float32, copy=False)
            case "y":
                return np.broadcast_to(ramp, (height, width, 1))
            case "image_y":
                return image.mean(axis=2, keepdims=True, dtype=np.float32) * (ramp / 255)
            case _:  # depth: filled in at the network's size, as a border of zeros has a depth too
                return np.zeros((height, width, 1), np.float32)

    def _place(self, own: int) -> int:
        """Where the depth lies in the network's input, for images of so many channels."""
        before = self._channels[: self._channels.index("depth")]
        return sum(own if name == "image" else 1 for name in before)


def _ramp(height: int, rows: tuple[int, int], border: Border) -> np.ndarray:
    """How far down the whole image each row of a window lies, 0 at its top and 255 at its bottom: (height,) float32.

    Beyond the image it goes on as the image does, by the border's rule.
    """
    first, whole = rows
    found = places(first, height, whole, border)
    ramp = np.linspace(0, 255, whole, dtype=np.float32)
    return np.where(found < 0, np.float32(0), ramp[found])


def _depths(images: ImageSet) -> np.ndarray:
    """Depth of each image, 0…255 between the limits of the whole table: the same in training and in prediction."""
    if "depth" not in images.extra.columns or "depth" not in images.limits:
        raise SegfoldError(
            "input.channels names depth, but the competition has no table 'depth': add it to its file under tables, "
            "or take depth out of input.channels"
        )
    depths = images.extra["depth"].reindex(images.ids).to_numpy(dtype=np.float64)
    missing = [str(name) for name in images.ids[np.isnan(depths)]]
    if missing:
        raise SegfoldError(
            f"no depth of {shorten(missing)}: add them to the table, or take depth out of input.channels"
        )
    least, most = images.limits["depth"]
    return (255 * (depths - least) / max(most - least, np.finfo(float).tiny)).clip(0, 255).astype(np.float32)
