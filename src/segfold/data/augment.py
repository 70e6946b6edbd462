"""Augmentation of an image together with its mask; the only module that imports albumentations.

The result is a function of (seed, epoch, index) and of nothing else: not of the process, the number of
workers, or what was augmented before. albumentations 2.0.8 by itself gives every worker the same stream and
repeats it each epoch. Its ``Compose.set_random_seed`` would give every *step* the same stream instead: with
``p=0.5`` each, all steps would apply or none. So the steps here share one stream and are called in turn.

The library is imported when a step is built, as it takes seconds and prediction does not need it.
"""

import functools
import os
import random
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import cv2
import numpy as np

from segfold.errors import SegfoldError


def sample_key(*parts: int | str) -> int:
    """64 bits that depend on every part, the same in every process and on every machine."""
    text = "/".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def hflip(*, p: float = 0.5) -> Any:
    """Mirrors left and right with probability `p`."""
    _check("hflip", p)
    return _library().HorizontalFlip(p=p)


def vflip(*, p: float = 0.5) -> Any:
    """Mirrors top and bottom with probability `p`."""
    _check("vflip", p)
    return _library().VerticalFlip(p=p)


def affine(*, shift: float = 0.1, scale: float = 0.1, rotate: float = 10.0, shear: float = 0.0, p: float = 0.5) -> Any:
    """Moves, zooms, turns and shears about the centre, each by a uniform draw; the outside is reflected.

    Args:
        shift: largest move along either axis, as a share of its length.
        scale: zoom between 1 - scale and 1 + scale, the same for both axes.
        rotate: largest angle in degrees.
        shear: largest angle in degrees, drawn for each axis.
        p: probability of the step.
    """
    _check("affine", p, shift=(shift, 1), scale=(scale, 0.9), rotate=(rotate, 180), shear=(shear, 45))
    return _affine_class()(
        translate_percent={"x": (-shift, shift), "y": (-shift, shift)},
        scale=(1 - scale, 1 + scale),
        keep_ratio=True,
        rotate=(-rotate, rotate),
        shear={"x": (-shear, shear), "y": (-shear, shear)},
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_LINEAR,
        border_mode=cv2.BORDER_REFLECT_101,
        p=p,
    )


def brightness(*, limit: float = 0.1, p: float = 0.5) -> Any:
    """Adds up to ±`limit` of the full range to every pixel."""
    _check("brightness", p, limit=(limit, 1))
    return _library().RandomBrightnessContrast((-limit, limit), (0.0, 0.0), p=p)


def contrast(*, limit: float = 0.1, p: float = 0.5) -> Any:
    """Multiplies every pixel by a factor between 1 - `limit` and 1 + `limit`."""
    _check("contrast", p, limit=(limit, 1))
    return _library().RandomBrightnessContrast((0.0, 0.0), (-limit, limit), p=p)


def gamma(*, limit: float = 0.2, p: float = 0.5) -> Any:
    """Raises every pixel, as a share of the full range, to a power from 1 / (1 + `limit`) to 1 + `limit`."""
    _check("gamma", p, limit=(limit, 10))
    return _library().RandomGamma((100 / (1 + limit), 100 * (1 + limit)), p=p)


AUGMENTATIONS: dict[str, Callable[..., Any]] = {
    "hflip": hflip,
    "vflip": vflip,
    "affine": affine,
    "brightness": brightness,
    "contrast": contrast,
    "gamma": gamma,
}


class Augmenter:
    """Applies steps to an image and its mask, at their original size.

    Args:
        steps: settings by name of the step, in the order of application.
        seed: of the experiment.

    Raises:
        SegfoldError: a setting out of its range, or a step that does not exist.
    """

    def __init__(self, steps: Mapping[str, Mapping[str, Any]], seed: int) -> None:
        unknown = sorted(set(steps) - set(AUGMENTATIONS))
        if unknown:
            raise SegfoldError(f"no augmentation {unknown[0]!r}; there are {', '.join(AUGMENTATIONS)}")
        self._settings = {name: dict(settings) for name, settings in steps.items()}
        self._seed = seed
        self._steps = [AUGMENTATIONS[name](**settings) for name, settings in self._settings.items()]

    def __reduce__(self) -> tuple[Any, ...]:
        # Steps may be of a class made at run time; a worker process that is spawned builds its own.
        return Augmenter, (self._settings, self._seed)

    def __call__(self, image: np.ndarray, mask: np.ndarray, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Augments one sample.

        Args:
            image: H×W×C, uint8 or uint16; not changed.
            mask: H×W uint8 of 0 and 1; not changed.
            epoch: number of the epoch.
            index: number of the sample in the epoch.

        Returns:
            Image and mask of the same shapes and types. Where no step applies they are the arguments.
        """
        if not self._steps:
            return image, mask
        key = sample_key("augment", self._seed, epoch, index)
        stream, generator = random.Random(key), np.random.default_rng(key)
        # albumentations takes the full range of float images to be 0…1 and knows no gamma of uint16.
        full = None if image.dtype == np.uint8 else np.iinfo(image.dtype).max
        data = {"image": image if full is None else image.astype(np.float32) / full, "mask": mask}
        for step in self._steps:
            step.set_random_state(generator, stream)
            data = step(**data)
        changed = data["image"]
        return changed if full is None else np.rint(changed * full).astype(image.dtype), data["mask"]


def _check(step: str, p: float, **limits: tuple[float, float]) -> None:
    for name, (value, most) in {"p": (p, 1.0), **limits}.items():
        if not 0 <= value <= most:
            raise SegfoldError(f"augment.{step}.{name} is {value}; it must be between 0 and {most:g}")


def _library() -> Any:
    # Otherwise the import asks the package index for a newer version.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations


@functools.cache
def _affine_class() -> Any:
    """albumentations' Affine, calling OpenCV directly: its own way there takes as long as the warp itself."""
    library = _library()

    class Affine(library.Affine):  # type: ignore[name-defined]
        def apply(self, img: np.ndarray, matrix: np.ndarray, **params: Any) -> np.ndarray:
            return _warp(img, matrix) if img.shape[2] in (2, 3, 4) else super().apply(img, matrix, **params)

        def apply_to_mask(self, mask: np.ndarray, matrix: np.ndarray, **params: Any) -> np.ndarray:
            return _warp(mask, matrix)

    return Affine


def _warp(array: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    size = array.shape[1], array.shape[0]
    # A mask of 0 and 1 stays binary: interpolated values are rounded to the nearer one.
    return cv2.warpAffine(array, matrix[:2], size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
