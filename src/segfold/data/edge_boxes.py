"""Boxes that may hold an object, by the contours that lie whole in them: EdgeBoxes on the gradients of an image."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from segfold.data.geometry.window import Window, WindowReader
from segfold.errors import SegfoldError
from segfold.resize import stretched

SEARCHED = 1 << 18, 1 << 20
"""Pixels of the largest image that is searched as it is, by the smallest box that is asked for: a box of 1,000 pixels, the
published least, is small enough, and what is asked of the machine grows with the square of the image's side."""

_SMALL_BOX = 1000  # pixels
_MOST_BEGUN = 1 << 24  # boxes that a search begins with: OpenCV holds them all
_BAND = 1 << 22  # pixels of a large image that are read at once
_SIGMA = 1.5  # of the blur, in pixels
_TIE = np.float32(1.001)  # gradients that differ by less are alike: an edge between two pixels lies in one of them
_LEAST_AREA = 16  # pixels; OpenCV divides by the half perimeter of its boxes, which is 0 of smaller ones

Found = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]
"""Boxes N×4 (top, left, height, width), each in its image, and N scores that do not rise; one box at least."""


@dataclass(frozen=True)
class ProposalSettings:
    """How boxes are searched; ``segfold.settings.boxes.Proposals`` says what each is, and its range."""

    count: int
    step: float
    overlap: float
    least_score: float
    least_area: float
    most_aspect: float


def edge_boxes(image: np.ndarray | WindowReader, settings: ProposalSettings) -> Found:
    """The boxes of an image that most contours lie in as a whole, the best first: Zitnick and Dollár, ECCV 2014.

    Edges are the gradients of the blurred image, thinned to one pixel, in place of the published structured forest: its
    model is not free to ship. They are taken in relation to the image's steepest, so brightness and contrast of the whole
    do not matter. Of an image that is larger than ``SEARCHED`` says a smaller copy is searched. Noise of as many thin edges
    as pixels makes the search some hundred times slower.

    Args:
        image: H×W×C of any number type, or what reads its windows. Of the channels the one with the steepest gradient
            counts, pixel by pixel; what is no number counts as 0.

    Returns:
        At most ``settings.count`` boxes; the whole image, with score 0, where nothing is found.

    Raises:
        SegfoldError: OpenCV has no contributed modules; or the steps are so fine that memory would not do.
    """
    height, width = image.shape[:2]
    edges, angles = edges_of(image, settings)
    boxes, scores = searched(edges, angles, settings)
    if not len(boxes):
        return np.array([[0, 0, height, width]], np.int32), np.zeros(1, np.float32)
    if edges.shape != (height, width):
        boxes = _enlarged(boxes, edges.shape, (height, width))
    return boxes, scores


def edges_of(
    image: np.ndarray | WindowReader, settings: ProposalSettings
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """What ``edge_boxes`` searches in an image, or in a copy of it, h×w.

    Returns:
        How steep each pixel of a thin edge is, 0 to 1 and 0 off the edges; and the angle across it, 0 to π.
    """
    small = _shrunk(image, _most_pixels(settings))
    steepest, across, down = (np.zeros(small.shape[:2], np.float32) for _ in range(3))
    for channel in range(small.shape[2]):
        blurred = cv2.GaussianBlur(np.ascontiguousarray(small[:, :, channel]), (0, 0), _SIGMA)
        x, y = (cv2.Sobel(blurred, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
        steep = np.sqrt(x * x + y * y)  # OpenCV's magnitude differs in the last bit with where arrays lie in memory
        higher = steep > steepest
        for target, values in ((steepest, steep), (across, x), (down, y)):
            np.copyto(target, values, where=higher)
    most = float(steepest.max())
    if most == 0:
        return steepest, across
    return _thinned(steepest, across, down) / most, np.arctan2(down, across) % np.float32(np.pi)


def searched(edges: npt.NDArray[np.float32], angles: npt.NDArray[np.float32], settings: ProposalSettings) -> Found:
    """The boxes of edges, as ``edges_of`` gives them, and their scores: N×4 and N, of which there may be none."""
    if not edges.any():
        return np.zeros((0, 4), np.int32), np.zeros(0, np.float32)
    least = max(_LEAST_AREA, settings.least_area * edges.size)
    if (begun := _begun(edges.shape, least, settings)) > _MOST_BEGUN:
        raise SegfoldError(
            f"the search for proposals in {edges.shape[0]}×{edges.shape[1]} pixels would begin with {begun:,} boxes: expected "
            f"at most {_MOST_BEGUN:,}; set a smaller proposals.step or proposals.most_aspect, or a larger proposals.least_area"
        )
    search = _search_module().createEdgeBoxes(
        alpha=settings.step,
        beta=settings.overlap,
        minScore=settings.least_score,
        maxBoxes=settings.count,
        maxAspectRatio=settings.most_aspect,
        minBoxArea=least,
    )
    boxes, scores = search.getBoundingBoxes(edges, angles)
    # Of none found OpenCV gives empty tuples, and without suppression it gives more than were asked for.
    corners = np.array(boxes, np.int32).reshape(-1, 4)[: settings.count]
    return _inside(corners, edges.shape), np.array(scores, np.float32).reshape(-1)[: settings.count]


def _most_pixels(settings: ProposalSettings) -> int:
    few, many = SEARCHED
    return int(np.clip(_SMALL_BOX / max(settings.least_area, _SMALL_BOX / many), few, many))


def _shrunk(image: np.ndarray | WindowReader, most: int) -> npt.NDArray[np.float32]:
    """The image, or a copy of at most about ``most`` pixels, with its darkest value at 0 and its brightest at 1."""
    height, width = image.shape[:2]
    scale = min(1.0, (most / (height * width)) ** 0.5)
    if scale == 1:
        return _normalised(image if isinstance(image, np.ndarray) else image.window(Window(0, 0, height, width)))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    # Bands of whole rows of the copy: the original need not fit into memory.
    step = max(1, int(_BAND / width * scale))
    bands = []
    for first in range(0, rows, step):
        last = min(first + step, rows)
        top, bottom = first * height // rows, -(-last * height // rows)
        band = image[top:bottom] if isinstance(image, np.ndarray) else image.window(Window(top, 0, bottom - top, width))
        bands.append(stretched(_numbers(band), (last - first, columns)).reshape(last - first, columns, -1))
    return _normalised(np.concatenate(bands))


def _numbers(pixels: np.ndarray) -> npt.NDArray[np.float32]:
    numbers = pixels.astype(np.float32)
    if np.issubdtype(pixels.dtype, np.floating) and not np.isfinite(numbers).all():
        numbers[~np.isfinite(numbers)] = 0
    return numbers


def _normalised(pixels: np.ndarray) -> npt.NDArray[np.float32]:
    numbers = _numbers(pixels)
    # Halves: the range of the largest floats is beyond the largest float.
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        return np.zeros_like(numbers)
    half = np.float32(0.5)
    return (numbers * half - np.float32(low / 2)) / np.float32(high / 2 - low / 2)


def _thinned(
    steep: npt.NDArray[np.float32], across: npt.NDArray[np.float32], down: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Gradients above those a pixel further up and down the slope, and 0 in place of the others: H×W."""
    length = np.where(steep > 0, steep, 1)
    rows, columns = np.indices(steep.shape, np.float32)
    x, y = across / length, down / length
    ahead, behind = (
        cv2.remap(steep, columns + side * x, rows + side * y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for side in (1, -1)
    )
    return np.where((steep * _TIE >= ahead) & (steep > behind * _TIE), steep, np.float32(0))


def _begun(shape: tuple[int, ...], least: float, settings: ProposalSettings) -> int:
    """About how many boxes OpenCV begins with: of each size and form as many as overlap their neighbours by ``step``."""
    step, side = settings.step, least**0.5
    forms = int(np.log(settings.most_aspect) / (2 * np.log((1 + step) / (2 * step))))
    sizes = max(0, int(np.ceil(2 * np.log(max(shape) / side) / -np.log(step))))
    aspects = ((1 + step) / (2 * step)) ** np.arange(-forms, forms + 1)
    sides = side * step ** (-np.arange(sizes)[:, None] / 2)
    places = np.ones((sizes, len(aspects)))
    for length, each in zip(shape, (sides / aspects, sides * aspects)):
        stride = np.maximum(2, each * (1 - step) / (1 + step))
        places *= np.ceil(np.maximum(0, length - each + stride) / stride)
    return int(places.sum())


def _inside(corners: npt.NDArray[np.int32], shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """What OpenCV's boxes, whose pixels are counted from 1, hold within their own outline: objects end at their edges.

    An outline that lies on the image's border has no edge there, and is of the object.
    """
    first = corners[:, 1::-1] - 1
    last = first + corners[:, :1:-1]
    end = np.array(shape, np.int32)
    low = np.minimum(np.where(first > 0, first + 1, 0), end - 1)
    high = np.maximum(np.where(last < end - 1, last, end), low + 1)
    return np.concatenate([low, high - low], axis=1)


def _search_module() -> Any:
    if not hasattr(cv2, "ximgproc"):
        raise SegfoldError(
            f"OpenCV {cv2.__version__} has no ximgproc, which finds proposals: run `pip install --force-reinstall "
            f"--no-deps opencv-contrib-python-headless` at the version of the other OpenCV packages"
        )
    return cv2.ximgproc


def _enlarged(boxes: npt.NDArray[np.int32], small: tuple[int, ...], shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Boxes of a copy in the image that it was made of."""
    first = boxes[:, :2] * np.array(shape) // np.array(small)
    last = -(-(boxes[:, :2] + boxes[:, 2:]) * np.array(shape) // np.array(small))
    return np.concatenate([first, last - first], axis=1).astype(np.int32)
