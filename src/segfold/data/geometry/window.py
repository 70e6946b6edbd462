"""Windows of an image, and the pixels in them; beyond the image the border goes on as a rule says."""

from typing import Literal, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from segfold.resize import Shape

Border = Literal["reflect", "edge", "zero"]
"""``reflect`` mirrors an image without repeating its edge, ``edge`` repeats it, ``zero`` is 0."""

_BORDERS = {"reflect": cv2.BORDER_REFLECT_101, "edge": cv2.BORDER_REPLICATE}


class Window(NamedTuple):
    """A rectangle of pixels, of an image or of a network's input; it may reach beyond."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index the last two axes of an array with."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @property
    def shape(self) -> Shape:
        """Height and width."""
        return self.height, self.width

    def grown(self, rows: int, columns: int | None = None) -> "Window":
        """With so many pixels more on each side; ``columns`` None for as many as rows."""
        across = rows if columns is None else columns
        return Window(self.top - rows, self.left - across, self.height + 2 * rows, self.width + 2 * across)

    def scaled(self, factor: float) -> "Window":
        """With sides so many times as long, to the nearest that keep its centre where it is.

        Example:
            >>> Window(10, 10, 20, 20).scaled(1.2)
            Window(top=8, left=8, height=24, width=24)
        """
        rows, columns = (max(round(length * (factor - 1) / 2), -((length - 1) // 2)) for length in self.shape)
        return self.grown(rows, columns)

    def inside(self, shape: Shape) -> "Window":
        """The part that lies in an image of this shape; nothing, if none does."""
        top, left = max(self.top, 0), max(self.left, 0)
        bottom, right = min(self.top + self.height, shape[0]), min(self.left + self.width, shape[1])
        return Window(top, left, max(bottom - top, 0), max(right - left, 0))

    def moved(self, rows: int, columns: int) -> "Window":
        """Further down and to the right by so many pixels."""
        return Window(self.top + rows, self.left + columns, self.height, self.width)


class WindowReader(Protocol):
    """An image of which windows can be read without the rest."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels."""

    def window(self, window: Window) -> np.ndarray:
        """The pixels of a window that lies in the image: height×width×C."""


def cut(
    image: np.ndarray | WindowReader, window: Window, border: Border = "reflect", fill: int | None = None
) -> np.ndarray:
    """The pixels of a window, as if the image went on beyond its border.

    Only the rows and columns that are needed are read.

    Args:
        image: H×W or H×W×C, or what reads its windows.
        border: how the image goes on.
        fill: value of all that lies beyond the image, whatever ``border`` says; None for none.

    Returns:
        height×width or height×width×C of the same type; it may be a view of ``image``.

    Example:
        >>> cut(np.arange(6).reshape(2, 3), Window(-1, 1, 3, 3))
        array([[4, 5, 4],
               [1, 2, 1],
               [4, 5, 4]])
    """
    shape = (image.shape[0], image.shape[1])
    inside = window.inside(shape)
    if inside == window:
        return _read(image, window)
    if fill is not None or border == "zero":
        target = np.full((*window.shape, *image.shape[2:]), fill or 0, image.dtype)  # type: ignore[union-attr]
        if inside.height and inside.width:
            target[inside.moved(-window.top, -window.left).slices] = _read(image, inside)
        return target
    beyond = (
        inside.top - window.top,
        window.top + window.height - inside.top - inside.height,
        inside.left - window.left,
        window.left + window.width - inside.left - inside.width,
    )
    if max(beyond[:2]) < inside.height and max(beyond[2:]) < inside.width:
        # All that is mirrored lies in the window, and OpenCV copies it a row at a time.
        part = _read(image, inside)
        if part.dtype in (np.uint8, np.uint16, np.float32):
            return cv2.copyMakeBorder(part, *beyond, _BORDERS[border]).reshape(*window.shape, *part.shape[2:])
    rows = places(window.top, window.height, shape[0], border)
    columns = places(window.left, window.width, shape[1], border)
    top, left = int(rows.min()), int(columns.min())
    read = _read(image, Window(top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1))
    return read[np.ix_(rows - top, columns - left)]


def places(first: int, count: int, length: int, border: Border) -> npt.NDArray[np.int64]:
    """Where ``count`` pixels of an axis from ``first`` on come from in an image of ``length``; -1 beyond a border of zeros."""
    wanted = np.arange(first, first + count)
    if border == "zero":
        return np.where((wanted >= 0) & (wanted < length), wanted, -1)
    if border == "edge" or length == 1:
        return wanted.clip(0, length - 1)
    period = 2 * (length - 1)
    wanted = wanted % period
    return np.minimum(wanted, period - wanted)


def _read(image: np.ndarray | WindowReader, window: Window) -> np.ndarray:
    if isinstance(image, np.ndarray):
        rows, columns = window.slices
        return image[rows, columns]
    return image.window(window)
