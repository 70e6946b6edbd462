"""Pixels that are near and alike in colour mostly have one class: probabilities are drawn to the edges of the image."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le

from segfold.errors import SegfoldError
from segfold.post.gaussians import Filter, PlaneFilter, PointFilter
from segfold.post.lattice import Floats
from segfold.post.mean_field import gathered, mean_field, mean_field_of_two
from segfold.post.step import Codes, MaskSizes, ProbabilityStep, Seen
from segfold.store.codes import to_codes, to_probability

Weight = Annotated[float, Ge(0), Le(1000)]
Deviation = Annotated[float, Ge(0.5), Le(1000)]
PlaneDeviation = Annotated[float, Ge(0.1), Le(100)]

_SIDE = math.sqrt(500 * 375)
"""Of the images of Pascal VOC, for which the published deviations in pixels are."""


class CRF(ProbabilityStep):
    """A fully connected CRF (Krähenbühl and Koltun, NIPS 2011): any two pixels of unlike classes cost something, the more
    the nearer and the more alike in colour they are; and, by a second kernel, the nearer they are whatever their colours.

    Kernels are normalised from both sides, as pydensecrf's are by default. Colours are of 0 to 255, of 16 bits as well; what
    an image has in equal channels counts once, so a grey image is the same in one channel and in three.

    Args:
        appearance: weight of the kernel of position and colour.
        position_sigma: its deviation in pixels.
        colour_sigma: its deviation in steps of 255, of each channel.
        smoothness: weight of the kernel of position alone.
        smoothness_sigma: its deviation in pixels.
        iterations: steps of mean field.
    """

    costly: ClassVar[bool] = True
    open_ended: ClassVar[bool] = False

    def __init__(
        self,
        *,
        appearance: Weight = 5.0,
        position_sigma: Deviation = 20.0,
        colour_sigma: Deviation = 3.0,
        smoothness: Weight = 3.0,
        smoothness_sigma: PlaneDeviation = 3.0,
        iterations: Annotated[int, Ge(1), Le(100)] = 10,
    ) -> None:
        self.appearance, self.position_sigma, self.colour_sigma = appearance, position_sigma, colour_sigma
        self.smoothness, self.smoothness_sigma, self.iterations = smoothness, smoothness_sigma, iterations

    @classmethod
    def grid(cls, sizes: MaskSizes) -> Sequence[Mapping[str, Any]]:
        """A weak one, DeconvNet's, one of DeepLab's range and pydensecrf's, with pixels as shares of the largest image's side."""
        scale = math.sqrt(sizes.pixels) / _SIDE
        return [
            {
                "appearance": appearance,
                "position_sigma": min(max(round(position * scale, 1), 0.5), 1000.0),
                "colour_sigma": colour,
                "smoothness": smoothness,
                "smoothness_sigma": min(max(round(3 * scale, 1), 0.1), 100.0),
                "iterations": iterations,
            }
            for appearance, position, colour, smoothness, iterations in (
                (1.0, 20, 3.0, 1.0, 5),
                (5.0, 20, 3.0, 3.0, 10),
                (5.0, 50, 6.0, 3.0, 10),
                (10.0, 80, 13.0, 3.0, 5),
            )
        ]

    def __call__(self, codes: Codes, seen: Seen) -> Codes:
        """H×W codes of a class against its complement."""
        gather = gathered(self._filters(seen, codes.shape))
        found = mean_field_of_two(to_probability(codes).reshape(-1, 1), gather, self.iterations)
        return to_codes(found).reshape(codes.shape)

    def together(self, codes: Codes, seen: Seen) -> Codes:
        gather = gathered(self._filters(seen, codes.shape[1:]))
        planes = np.ascontiguousarray(to_probability(codes).reshape(len(codes), -1).T)
        found = mean_field(planes, gather, self.iterations)
        return to_codes(np.ascontiguousarray(found.T)).reshape(codes.shape)

    def _filters(self, seen: Seen, shape: tuple[int, ...]) -> list[tuple[float, Filter]]:
        """The kernels with their weights; those of the settings before stay with the image."""
        deviations = self.position_sigma, self.colour_sigma, self.smoothness_sigma
        if seen.kept.get("crf", (None,))[0] != deviations:
            image = _of_255(seen.image())
            if image.shape[:2] != shape:
                raise SegfoldError(f"crf: an image of {image.shape[:2]} was predicted as {shape}; predict it anew")
            near = PlaneFilter(shape, self.smoothness_sigma)
            seen.kept["crf"] = deviations, PointFilter(points(image, *deviations[:2])), near
        _, alike, near = seen.kept["crf"]
        return [(self.appearance, alike), (self.smoothness, near)]


def points(image: npt.NDArray[Any], position_sigma: float, colour_sigma: float) -> Floats:
    """N×d of the N pixels, in deviations: rows, columns, and channels that differ from each other.

    Args:
        image: H×W×C of 0 to 255. Channels of one value count for nothing; where all others are equal one of them stays.
    """
    height, width = image.shape[:2]
    colours = image.reshape(height * width, -1).astype(np.float32)
    colours = colours[:, (colours != colours[:1]).any(axis=0)]
    if (colours == colours[:, :1]).all():
        colours = colours[:, :1]
    places = np.indices((height, width), np.float32).reshape(2, -1).T
    return np.concatenate([places / np.float32(position_sigma), colours / np.float32(colour_sigma)], axis=1)


def _of_255(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return image / np.float32(257) if image.dtype == np.uint16 else image
