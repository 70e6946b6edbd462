"""The dense CRF of an image, on one thread, against Krähenbühl's code, and against 60 ms for the images of TGS."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.measure import Effort, Row, interleave, rate, spread
from segfold.post import Seen
from segfold.post.crf import CRF
from segfold.store.codes import to_codes, to_probability

LARGE, CLASSES = (375, 500), 21
SMALL = (101, 101)
LIMIT = 0.06
"""Seconds that a small image may take."""
PACKAGE = "pydensecrf"
LEAST_SAME = 0.97
"""Share of the pixels that get the same class; both are approximations of the same filter."""

Picture = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    large = picture(LARGE if not effort.quick else (75, 100), CLASSES)
    small = picture(SMALL, 2)
    own = {"ours": ours(small, True)}
    own["ours"]()
    taken = rate(1, interleave(own, least=effort.least(21), seconds=effort.seconds(2))["ours"])
    found = [Row("crf-limit", 1e3 / taken, 1e3 * LIMIT, "ms, an RGB image of 101², one class", 1.0, "lower")]
    if find_spec(PACKAGE) is None:
        print(f"crf-101, crf-500: n/a here, no package {PACKAGE}; pydensecrf2 builds with Cython 0.29")
        return found
    for name, (image, codes), target in (("crf-101", small, None), ("crf-500", large, 0.5)):
        same = check((image, codes))
        things = {"ours": ours((image, codes), len(codes) == 2), "peer": peer((image, codes))}
        for thing in things.values():
            thing()
        times = interleave(things, least=effort.least(7), seconds=effort.seconds(8))
        height, width, _ = image.shape
        found.append(
            Row(
                name,
                rate(1, times["ours"]),
                rate(1, times["peer"]),
                f"images/s of {width}×{height}, {len(codes)} classes, {CRF().iterations} steps",
                target,
                notes=(spread(times), f"the same class in {same:.2%} of the pixels"),
            )
        )
    return found


def picture(shape: tuple[int, int], classes: int) -> Picture:
    """An image of smooth shades and fine noise in cells of like colour, and a network's doubtful codes of the cells' classes."""
    rng = np.random.default_rng(0)
    cells = 60
    seeds = rng.random((cells, 2)) * shape
    places = np.indices(shape).transpose(1, 2, 0)
    nearest = np.stack([((places - seed) ** 2).sum(axis=-1) for seed in seeds]).argmin(axis=0)
    shades = cv2.GaussianBlur(rng.normal(size=(*shape, 3)), (0, 0), shape[1] / 25)
    image = rng.integers(40, 216, (cells, 3))[nearest] + 15 * shades / shades.std() + rng.normal(0, 2, shades.shape)
    true = (np.arange(cells) % classes)[nearest]
    scores = []
    for index in range(classes):
        noise = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), 2)
        scores.append(6 * cv2.GaussianBlur((true == index).astype(float), (0, 0), 3) + 1.5 * noise / noise.std())
    exponents = np.exp(scores)
    codes = to_codes((exponents / exponents.sum(axis=0)).astype(np.float32))
    return image.clip(0, 255).astype(np.uint8), codes


def ours(drawn: Picture, alone: bool) -> Callable[[], npt.NDArray[np.uint16]]:
    """The step, ready to be called, of a class against its complement or of all at once."""
    image, codes = drawn
    if alone:
        return lambda: CRF()(codes[1], Seen(lambda: image))
    return lambda: CRF().together(codes, Seen(lambda: image))


def peer(drawn: Picture) -> Callable[[], npt.NDArray[np.float32]]:
    from benchmarks.peers.pydensecrf_planes import mean_field

    image, codes = drawn
    step, planes = CRF(), to_probability(codes)
    appearance = step.appearance, step.position_sigma, step.colour_sigma
    return lambda: mean_field(image, planes, appearance, (step.smoothness, step.smoothness_sigma), step.iterations)


def check(drawn: Picture) -> float:
    """Share of the pixels to which both give one class; asserts that it is nearly all of them."""
    same = float((ours(drawn, False)().argmax(axis=0) == peer(drawn)().argmax(axis=0)).mean())
    assert same >= LEAST_SAME, f"only {same:.2%} of the pixels get the same class"
    return same
