"""A small grey picture of each image, and some numbers of it: what shift and near-duplicates are looked for in."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from segfold.cores import cores
from segfold.data.images import ImageSet
from segfold.data.look import shrunk

Floats = npt.NDArray[np.float32]

SIDE = 32
"""Height and width of a small picture."""

STATISTICS = (
    "height",
    "width",
    "mean grey",
    "contrast",
    "darkest percent",
    "median grey",
    "brightest percent",
    "commonest grey",
    "entropy",
    "top less bottom",
    "left less right",
    "border less middle",
    "changes across",
    "changes down",
    "fine grain",
    "coarse share",
    "red less grey",
    "blue less grey",
    "colourfulness",
)
"""Of every image: sides in pixels; greys and their differences in shares of white; the share of the commonest of 256 greys;
the entropy of their histogram in bits; the mean step from a pixel to the next; the mean of the absolute Laplacian; what
share of the variance the small picture keeps; colours against grey, 0 of a grey image."""

_STRIP = 256  # images of which the numbers are told at once


@dataclass(frozen=True)
class Measures:
    """Of the N images of a split, in its order.

    Attributes:
        names: of the S columns: ``STATISTICS``, then the competition's tables.
        values: N×S.
        small: N×32×32 grey pictures, 0 to 1.
    """

    names: tuple[str, ...]
    values: Floats
    small: Floats


def measures_of(images: ImageSet, on_image: Callable[[int], None] = lambda done: None) -> Measures:
    """Measures every image of a split once; threads share the work.

    Images longer than 2,048 pixels are measured on every so many-th row and column.

    Args:
        on_image: told how many images are done.
    """
    values = np.zeros((len(images), len(STATISTICS)), np.float32)
    small = np.zeros((len(images), SIDE, SIDE), np.float32)

    def measure(row: int) -> None:
        height, width = images.images.shapes[row, :2].tolist()
        small[row], numbers = measured(shrunk(images.images.reader(row)))
        values[row] = height, width, *numbers

    with ThreadPoolExecutor(cores()) as pool:
        for row, _ in enumerate(pool.map(measure, range(len(images)))):
            if row % _STRIP == _STRIP - 1:
                on_image(row + 1)
    on_image(len(images))
    tables = images.extra.reindex(images.ids).to_numpy(np.float32).reshape(len(images), -1)
    names = (*STATISTICS, *map(str, images.extra.columns))
    return Measures(names, np.hstack([values, tables]), small)


def measured(image: np.ndarray) -> tuple[Floats, list[float]]:
    """The small picture of an image H×W×C, uint8 or uint16, and its ``STATISTICS`` but the sides."""
    white = np.iinfo(image.dtype).max
    colours = image.shape[2] >= 3
    picture = np.ascontiguousarray(image[:, :, :3] if colours else image[:, :, 0])
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if colours else picture, image.dtype)
    height, width = grey.shape
    shares = grey.astype(np.float32) / white
    small = np.asarray(cv2.resize(shares, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)
    coarse = (grey // 257).astype(np.uint8) if white > 255 else grey
    counts = cv2.calcHist([coarse], [0], None, [256], [0, 256]).ravel() / coarse.size
    reached = np.cumsum(counts)
    low, middle, high = (int(np.searchsorted(reached, share)) / 255 for share in (0.01, 0.5, 0.99))
    mean, spread = (float(each[0, 0]) for each in cv2.meanStdDev(shares))
    used = counts[counts > 0]
    edge = max(1, min(height, width) // 16)
    inside = shares[edge : height - edge, edge : width - edge]
    area = height * width - inside.size
    border = (float(shares.sum()) - float(inside.sum())) / max(area, 1)
    red = blue = vivid = 0.0
    if colours:
        each = cv2.split(picture)
        highest, lowest = cv2.max(cv2.max(*each[:2]), each[2]), cv2.min(cv2.min(*each[:2]), each[2])
        vivid = float(cv2.mean(cv2.subtract(highest, lowest))[0]) / white
        if vivid:  # else what is left of rounding would tell one grey image from another
            red, blue = (float(cv2.mean(plane)[0]) / white - mean for plane in (each[0], each[2]))
    numbers: list[float] = [
        mean,
        spread,
        low,
        middle,
        high,
        float(counts.max()),
        float(-(used * np.log2(used)).sum()),
        float(shares[: height // 2].mean() - shares[height - height // 2 :].mean()) if height > 1 else 0.0,
        float(shares[:, : width // 2].mean() - shares[:, width - width // 2 :].mean()) if width > 1 else 0.0,
        border - (float(inside.mean()) if inside.size else border),
        float(cv2.absdiff(shares[:, 1:], shares[:, :-1]).mean()) if width > 1 else 0.0,
        float(cv2.absdiff(shares[1:], shares[:-1]).mean()) if height > 1 else 0.0,
        float(np.abs(cv2.Laplacian(shares, cv2.CV_32F)).mean()),
        float(small.var() / max(spread**2, 1e-12)) if spread > 1e-6 else 0.0,
        red,
        blue,
        vivid,
    ]
    return small, numbers
