"""From an image of any size to the network's input, and exactly back.

Two ways are in use for the same competition (T §2: equal alone, useful together): *pad* keeps the pixels
and adds a border, *resize* stretches the whole image. The winner did both in turn: 101 → 192 or 202 by
stretching, then → 224 or 256 by a border. Masks are resized bilinearly and thresholded: taking
the TGS masks to 128×128 and back scores above 0.999 that way, and 0.934 with the nearest pixel. Whatever shrinks by
more than 2 is averaged over areas instead, where bilinear interpolation would skip pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from segfold.data.geometry.window import Border, Window
from segfold.errors import SegfoldError
from segfold.resize import Shape, stretched
from segfold.tasks import FOREGROUND, MapKind

# ``edge`` repeats the last pixel; ``reflect`` mirrors without repeating it.
_BORDERS = {"reflect": cv2.BORDER_REFLECT_101, "edge": cv2.BORDER_REPLICATE, "zero": cv2.BORDER_CONSTANT}


@dataclass(frozen=True)
class Sizing:
    """How images of any size become inputs of one size.

    An ``offset`` (top, left) places a padded image; None centres it, the odd pixel going to the bottom and the
    right. An image, its mask, its valid area and the restoring of its prediction need the same offset.

    Attributes:
        height: of the network's input.
        width: of the network's input.
        fit: add a border, or stretch the image to the whole input.
        border: what a padded border holds.
        resize: height and width to stretch an image to before it is padded; None keeps its own.
        scale: factors on height and width of an image before it is padded, where there is no ``resize``.
        margin: pixels on each side of the input that the network sees and says nothing of. Images are placed in what is
            left (``given``), and masks and predictions are of that size.

    Raises:
        SegfoldError: a ``resize`` that is larger than the input, or has no border to come after it.

    Example:
        >>> Sizing(128, 128, "pad").window((101, 101))
        Window(top=13, left=13, height=101, width=101)
        >>> Sizing(256, 256, "pad", resize=(202, 202)).window((101, 101))
        Window(top=27, left=27, height=202, width=202)
    """

    height: int
    width: int
    fit: Literal["pad", "resize"] = "pad"
    border: Border = "reflect"
    resize: Shape | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    margin: int = 0

    def __post_init__(self) -> None:
        if min(self.given) < 1:
            raise SegfoldError(
                f"a network input of {self.height}×{self.width} leaves nothing inside a margin of {self.margin}: set a larger "
                "input.size"
            )
        if self.resize is None:
            return
        height, width = self.resize
        if self.fit == "resize":
            raise SegfoldError(
                "input.resize is for input.fit=pad, where a border follows; with input.fit=resize leave it out: "
                "images are stretched to input.size"
            )
        if not (1 <= height <= self.given[0] and 1 <= width <= self.given[1]):
            raise SegfoldError(
                f"input.resize of {height}×{width} does not fit into a network input of {self._room}: "
                "set a smaller input.resize or a larger input.size"
            )

    @property
    def given(self) -> Shape:
        """Height and width of what the network says something of: the input without its margin."""
        return self.height - 2 * self.margin, self.width - 2 * self.margin

    @property
    def turned(self) -> "Sizing":
        """For images whose rows are this one's columns."""
        resize = None if self.resize is None else self.resize[::-1]
        return replace(self, height=self.width, width=self.height, resize=resize, scale=self.scale[::-1])

    @property
    def filled(self) -> "Sizing":
        """To the same input, which an image is stretched to fill, whatever its shape."""
        return replace(self, fit="resize", resize=None, scale=(1.0, 1.0))

    def larger(self, factor: float) -> "Sizing":
        """To an input of so many times the height and width, in which an image is as much larger."""

        def grown(shape: Shape) -> Shape:
            return max(1, round(factor * shape[0])), max(1, round(factor * shape[1]))

        height, width = grown(self.given)
        return replace(
            self,
            height=height + 2 * self.margin,
            width=width + 2 * self.margin,
            resize=None if self.resize is None else grown(self.resize),
            scale=(self.scale[0] * factor, self.scale[1] * factor),
        )

    @property
    def _room(self) -> str:
        """For messages."""
        margin = f" with a margin of {self.margin}" if self.margin else ""
        return f"{self.height}×{self.width}{margin}"

    def slack(self, shape: Shape) -> Shape:
        """Largest valid offset (top, left) of an image of this shape: (0, 0) leaves no choice.

        Raises:
            SegfoldError: the image is larger than the input and would have to be padded.
        """
        if self.fit == "resize":
            return 0, 0
        height, width = self._scaled(shape)
        if height > self.given[0] or width > self.given[1]:
            raise SegfoldError(
                f"an image of {height}×{width} does not fit into a network input of {self._room}: set input.fit=resize, "
                "input.resize or a larger input.size, or input.crop to train and predict by parts of it"
            )
        return self.given[0] - height, self.given[1] - width

    def check(self, ids: Sequence[str] | np.ndarray, shapes: np.ndarray, what: str) -> None:
        """Refuses images of which one would fail when it is read.

        Args:
            ids: N ids.
            shapes: N×2 or more, height and width first.
            what: the images are called.

        Raises:
            SegfoldError: an image, which is named, is larger than the input and would have to be padded.
        """
        if self.fit == "resize" or self.resize is not None:
            return
        sized = np.maximum(np.rint(shapes[:, :2] * np.array(self.scale)), 1)
        large = np.flatnonzero((sized[:, 0] > self.given[0]) | (sized[:, 1] > self.given[1]))
        if not len(large):
            return
        height, width = shapes[large[0], :2]
        others = "" if len(large) == 1 else f" ({len(large)} of {len(shapes)} are too large)"
        try:
            self.slack((int(height), int(width)))
        except SegfoldError as error:
            raise SegfoldError(f"{what} {ids[large[0]]}: {error}{others}") from None

    def window(self, shape: Shape, offset: tuple[int, int] | None = None) -> Window:
        """Where an image of this shape lies in the input without its margin; with ``fit="resize"``, everywhere.

        Raises:
            SegfoldError: the image is larger than the input and would have to be padded.
            ValueError: the offset puts a part of the image outside.
        """
        most_top, most_left = self.slack(shape)
        top, left = (most_top // 2, most_left // 2) if offset is None else offset
        if not (0 <= top <= most_top and 0 <= left <= most_left):
            raise ValueError(f"offset {offset} for an image of {shape} in {self.height}×{self.width}")
        if self.fit == "resize":
            return Window(0, 0, *self.given)
        return Window(int(top), int(left), *self._scaled(shape))

    def image(self, array: np.ndarray, offset: tuple[int, int] | None = None, around: int = 0) -> np.ndarray:
        """The network's input for an image, or for a window of one.

        Args:
            array: H×W×C of uint8, uint16 or float32.
            offset: see the class.
            around: pixels on each side of the array that lie around the image or window. They come into the margin, which
                else goes on as the border does.

        Returns:
            height×width×C of the same type; never a view of ``array``.
        """
        shape = array.shape[0] - 2 * around, array.shape[1] - 2 * around
        window = self.window(shape, offset)
        sized, seen = array, window
        if around:
            seen = window.grown(self.margin)
        if self._stretches:
            sized = stretched(sized, seen.shape)
        if seen.shape != (self.height, self.width) or self.fit == "pad":
            sized = self._padded(sized, seen.moved(self.margin, self.margin), (self.height, self.width))
        return sized if sized.ndim == 3 else sized[:, :, np.newaxis]  # OpenCV drops a single channel

    def mask(self, array: np.ndarray, offset: tuple[int, int] | None = None, kind: MapKind = FOREGROUND) -> np.ndarray:
        """A mask at the network's size.

        The border of a padded mask continues the mask as the image's border continues the image, or holds what its
        kind has for pixels that do not count. It is made up, so losses and scores leave it out with ``valid``.

        Args:
            array: H×W as masks of the kind are.
            offset: see the class.
            kind: a task, or ``OBJECTS`` for maps of objects.

        Returns:
            Of the ``given`` size and of the same type.
        """
        sized = np.asarray(array, kind.dtype)
        window = self.window((array.shape[0], array.shape[1]), offset)
        if self._stretches:
            sized = kind.resized(sized, window.shape)
        return self._padded(sized, window, self.given, kind.fill) if self.fit == "pad" else sized

    def valid(self, shape: Shape, offset: tuple[int, int] | None = None) -> np.ndarray:
        """Which pixels of the ``given`` size come from the image: bool."""
        found = np.zeros(self.given, bool)
        found[self.window(shape, offset).slices] = True
        return found

    def restore(self, prob: np.ndarray, shape: Shape, offset: tuple[int, int] | None = None) -> np.ndarray:
        """Takes a prediction back to the image's own size: crops it, or resizes probabilities as images are.

        Args:
            prob: … and the ``given`` height and width.
            shape: height and width of the original image.
            offset: the one that the image was placed with.

        Returns:
            …×H×W; a view of ``prob`` if it was padded alone, else float32.
        """
        if prob.shape[-2:] != self.given:
            raise ValueError(f"prediction of {prob.shape} for an input of {self._room}")
        rows, columns = self.window(shape, offset).slices
        inside = prob[..., rows, columns]
        if not self._stretches:
            return inside
        planes = inside.reshape(-1, *inside.shape[-2:]).astype(np.float32, copy=False)
        restored = np.empty((len(planes), *shape), np.float32)
        for plane, target in zip(planes, restored, strict=True):
            target[...] = stretched(plane, shape)
        return restored.reshape(*prob.shape[:-2], *shape)

    @property
    def _stretches(self) -> bool:
        return self.fit == "resize" or self.resize is not None or self.scale != (1.0, 1.0)

    def _scaled(self, shape: Shape) -> Shape:
        """Height and width of an image once it is stretched."""
        if self.fit == "resize":
            return self.given
        if self.resize is not None or self.scale == (1.0, 1.0):
            return self.resize or shape
        return max(1, round(shape[0] * self.scale[0])), max(1, round(shape[1] * self.scale[1]))

    def _padded(self, array: np.ndarray, window: Window, shape: Shape, fill: int | None = None) -> np.ndarray:
        """An array in a larger one of this shape, where it fills a window; around it the border goes on, or is filled."""
        if fill is not None or self.border == "zero":  # OpenCV fills constant borders of at most four channels
            padded = np.full((*shape, *array.shape[2:]), fill or 0, array.dtype)
            padded[window.slices] = array
            return padded
        bottom = shape[0] - window.top - window.height
        right = shape[1] - window.left - window.width
        return cv2.copyMakeBorder(array, window.top, bottom, window.left, right, _BORDERS[self.border])
