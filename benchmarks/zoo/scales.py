"""A made set in VOC's folders whose objects come at every scale: ``python -m benchmarks.zoo.scales FOLDER``.

All objects are rounded shapes of any two colours, whatever their class, which is the mark in them: what there is to tell
classes apart grows with the object, from two or three pixels to forty. Each octave of scales covers some 2 to 5 % of the
pixels, so that the score, which counts pixels, depends on all of them. The same seed gives the same images.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from segfold.errors import SegfoldError

CLASSES = ("background", "plain", "ring", "cross", "halves")
SMALLEST, LARGEST = 12, 180
"""Pixels of an object's sides."""

BANDS = ((12, 24, 10.0), (24, 48, 3.5), (48, 96, 1.0), (96, 180, 0.3))
"""Least and largest side, and how many of them an image has on average."""

APART = 4
"""Pixels between objects, and to the image's edge."""

_FINE = 8  # points a pixel's side of the smallest objects, so that their edges are smooth
_POINTS = 480  # along the side of a drawing, at most

Pixels = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Scene:
    """One image with its truth.

    Attributes:
        image: H×W×3.
        classes: H×W indices into ``CLASSES``.
        objects: H×W, a number an object from 1.
    """

    image: Pixels
    classes: Pixels
    objects: Pixels


def scene(rng: np.random.Generator) -> Scene:
    """An image of about 240×320 with several objects that do not touch, the largest placed first."""
    height, width = int(rng.integers(224, 257)), int(rng.integers(304, 337))
    canvas = _ground(rng, height, width)
    classes, objects = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    taken: list[Box] = []
    for side in sorted(_sides(rng), reverse=True):
        long, short = side, max(SMALLEST, round(side * rng.uniform(0.8, 1)))
        down, across = (long, short) if rng.random() < 0.5 else (short, long)
        place = _place(rng, (down, across), (height, width), taken)
        if place is None:
            continue
        top, left = place
        taken.append((top, left, down, across))
        kind = int(rng.integers(1, len(CLASSES)))
        inside, mark = _drawing(rng, kind, down, across)
        window = np.s_[top : top + down, left : left + across]
        colours = _colours(rng, canvas[window].mean(axis=(0, 1)))
        alone = colours[0] + mark[:, :, None] * (colours[1] - colours[0])
        canvas[window] += inside[:, :, None] * (alone - canvas[window])
        whole = inside >= 0.5
        classes[window][whole], objects[window][whole] = kind, len(taken)
    canvas += rng.normal(0, 3, canvas.shape)
    return Scene(canvas.clip(0, 255).astype(np.uint8), classes, objects)


def _sides(rng: np.random.Generator) -> Iterator[int]:
    for least, most, count in BANDS:
        for _ in range(rng.poisson(count) if count > 1 else int(rng.random() < count)):
            yield round(float(np.exp(rng.uniform(np.log(least), np.log(most)))))


def _ground(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float64]:
    """Colours that change slowly, with soft clouds."""
    corners = rng.uniform(60, 200) + rng.uniform(-25, 25, (2, 2, 3))
    clouds = rng.normal(0, 8, (6, 8, 3))
    slopes, soft = (cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR) for part in (corners, clouds))
    return np.asarray(slopes + soft, np.float64)


def _place(
    rng: np.random.Generator, size: tuple[int, int], shape: tuple[int, int], taken: list[Box]
) -> tuple[int, int] | None:
    """Top and left of a free place, None where forty tries find none."""
    room = [length - side - 2 * APART for length, side in zip(shape, size)]
    for _ in range(40 if min(room) >= 0 else 0):
        top, left = (APART + int(rng.integers(0, free + 1)) for free in room)
        if all(
            top + size[0] + APART <= other[0]
            or other[0] + other[2] + APART <= top
            or left + size[1] + APART <= other[1]
            or other[1] + other[3] + APART <= left
            for other in taken
        ):
            return top, left
    return None


def _colours(rng: np.random.Generator, ground: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of the shape and of its mark, (2, 3): each stands out from what it lies on, whatever the class."""
    found: list[npt.NDArray[np.float64]] = []
    under = ground
    while len(found) < 2:
        colour = rng.uniform(0, 255, 3)
        if np.abs(colour - under).max() >= 90 and np.abs(colour - under).mean() >= 50:
            found.append(colour)
            under = colour
    return np.array(found)


def _drawing(
    rng: np.random.Generator, kind: int, height: int, width: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Shares of each pixel that the shape and its mark cover, H×W in 0…1, of a box that the shape fills."""
    fine = max(1, min(_FINE, _POINTS // max(height, width)))
    rows, columns = ((np.arange(side * fine) + 0.5) / (side * fine) * 2 - 1 for side in (height, width))
    y, x = np.meshgrid(rows, columns, indexing="ij")
    power = rng.uniform(1.8, 3.5)  # from round to nearly square
    radius = (np.abs(x) ** power + np.abs(y) ** power) ** (1 / power)
    angle = rng.uniform(0, np.pi)
    along, beside = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    mark = {
        "plain": np.zeros_like(x, bool),
        "ring": (radius > 0.35) & (radius < 0.7),
        "cross": (np.minimum(np.abs(along), np.abs(beside)) < 0.2) & (radius < 0.8),
        "halves": along > 0,
    }[CLASSES[kind]]

    def covered(drawn: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        return np.asarray(drawn.reshape(height, fine, width, fine).mean(axis=(1, 3)), np.float64)

    inside = radius <= 1
    return covered(inside), covered(mark & inside)


def generate(folder: Path, *, train: int = 600, validation: int = 150, test: int = 8, seed: int = 0) -> None:
    """Write the set into ``folder``, which appears whole or not at all: images, SegmentationClass, SegmentationObject, lists.

    Raises:
        SegfoldError: the folder is there already.
    """
    if folder.exists():
        raise SegfoldError(f"{folder} is there already, nothing was generated: remove it, or name another folder")
    rng, first = np.random.default_rng(seed), 0
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        for part in ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
            (staging / part).mkdir(parents=True)
        for split, count in (("train", train), ("val", validation), ("test", test)):
            names = [f"{number:06d}" for number in range(first, first + count)]
            first += count
            for name in names:
                made = scene(rng)
                _write(staging / "JPEGImages" / f"{name}.jpg", made.image[:, :, ::-1], cv2.IMWRITE_JPEG_QUALITY, 95)
                if split != "test":
                    _write(staging / "SegmentationClass" / f"{name}.png", made.classes)
                    _write(staging / "SegmentationObject" / f"{name}.png", made.objects)
            lines = "".join(f"{name}\n" for name in names)
            (staging / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(lines)
        staging.replace(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write(path: Path, pixels: Pixels, *options: int) -> None:
    path.write_bytes(cv2.imencode(path.suffix, pixels, options)[1].tobytes())


if __name__ == "__main__":
    try:
        generate(Path(sys.argv[1]))
    except SegfoldError as error:
        sys.exit(f"error: {error}")
