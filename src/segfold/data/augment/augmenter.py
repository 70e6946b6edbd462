"""The augmentation of one sample: steps by name, applied in turn.

The result is a function of (seed, epoch, index) and of nothing else: not of the process, the number of
workers, or what was augmented before. albumentations 2.0.8 by itself gives every worker the same stream and
repeats it each epoch. Its ``Compose.set_random_seed`` would give every *step* the same stream instead: with
``p=0.5`` each, all steps would apply or none. So the steps here share one stream and are called in turn.
"""

import random
from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Any

import numpy as np

from segfold.data.keys import sample_key
from segfold.errors import SegfoldError
from segfold.resize import Shape
from segfold.schema import build
from segfold.tasks import FOREGROUND, MapKind

_PLACES = {
    "hflip": "geometric:hflip",
    "vflip": "geometric:vflip",
    "affine": "geometric:affine",
    "shear": "geometric:shear",
    "crop": "geometric:crop",
    "elastic": "geometric:elastic",
    "grid_distortion": "geometric:grid_distortion",
    "brightness": "pixel:brightness",
    "contrast": "pixel:contrast",
    "gamma": "pixel:gamma",
    "invert": "pixel:invert",
    "blur": "pixel:blur",
    "noise": "pixel:noise",
    "cutout": "pixel:cutout",
    "elastic_grid": "elastic_grid:elastic_grid",
}
"""A step's name in settings, its file in this folder, and its builder there."""

AUGMENTATIONS: dict[str, Callable[..., Any]] = {
    name: resolve_name(f"segfold.data.augment.{place}") for name, place in _PLACES.items()
}


class Augmenter:
    """Applies steps to an image and its mask, at their original size, or to a window of a larger image.

    Args:
        steps: settings by name of the step, in the order of application.
        seed: of the experiment.
        kind: of the masks: a task, or ``OBJECTS`` for maps of objects.

    Raises:
        SegfoldError: a setting out of its range, or a step that does not exist.
    """

    def __init__(self, steps: Mapping[str, Mapping[str, Any]], seed: int, kind: MapKind = FOREGROUND) -> None:
        unknown = sorted(set(steps) - set(AUGMENTATIONS))
        if unknown:
            raise SegfoldError(f"no augmentation {unknown[0]!r}; there are {', '.join(AUGMENTATIONS)}")
        self._settings = {name: dict(settings) for name, settings in steps.items()}
        self._seed, self._kind = seed, kind
        self._steps = [
            build(f"augment.{name}", AUGMENTATIONS[name], settings) for name, settings in self._settings.items()
        ]
        for step in self._steps:
            if hasattr(step, "mask_fill"):
                step.mask_fill = kind.fill

    def __reduce__(self) -> tuple[Any, ...]:
        # Steps may be of a class made at run time; a worker process that is spawned builds its own.
        return Augmenter, (self._settings, self._seed, self._kind)

    def of(self, kind: MapKind) -> "Augmenter":
        """The same steps for other maps: a step draws without a look at what image and mask hold, so it draws the same."""
        return Augmenter(self._settings, self._seed, kind)

    def context(self, shape: Shape) -> Shape:
        """Rows and columns on each side of a window of this shape that its augmentation may look at.

        At most as many as its longer side has: what a step moves in from farther away is reflected, and has no class where
        classes exclude each other.
        """
        return self._contexts(shape)[0]

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, epoch: int, index: int | str, context: Shape = (0, 0)
    ) -> tuple[np.ndarray, np.ndarray]:
        """Augments one sample.

        Args:
            image: H×W×C, uint8 or uint16; not changed.
            mask: H×W as masks of the kind are; not changed.
            epoch: number of the epoch.
            index: number, or another name, of the sample in the epoch.
            context: rows and columns that image and mask have on each side of the window that is wanted.

        Returns:
            Image and mask of the same types, of the window alone; where no step applies to them as they are, the arguments.
        """
        window = mask.shape[0] - 2 * context[0], mask.shape[1] - 2 * context[1]
        if not self._steps:
            return _within(image, window, (0, 0)), _within(mask, window, (0, 0))
        key = sample_key("augment", self._seed, epoch, index)
        stream, generator = random.Random(key), np.random.default_rng(key)
        # albumentations takes the full range of float images to be 0…1 and knows no gamma of uint16.
        full = None if image.dtype == np.uint8 else np.iinfo(image.dtype).max
        data = {"image": image if full is None else image.astype(np.float32) / full}
        data["mask"] = self._kind.spread(mask)
        for step, needed in zip(self._steps, self._contexts(window)[1:], strict=True):
            kept = min(needed[0], context[0]), min(needed[1], context[1])
            if hasattr(step, "reach"):
                step.context, step.kept = context, kept
            step.set_random_state(generator, stream)
            data = {name: _within(part, window, kept) for name, part in step(**data).items()}
            context = kept
        changed, moved = data["image"], self._kind.gathered(data["mask"])
        return changed if full is None else np.rint(changed * full).astype(image.dtype), moved

    def _contexts(self, shape: Shape) -> list[Shape]:
        """The context that a window needs before each step, and that it has after the last one: none."""
        found = [(0, 0)]
        for step in reversed(self._steps):
            rows, columns = step.reach(shape, found[-1]) if hasattr(step, "reach") and step.p > 0 else found[-1]
            found.append((min(rows, max(shape)), min(columns, max(shape))))
        return found[::-1]


def _within(array: np.ndarray, window: Shape, context: Shape) -> np.ndarray:
    """The window in the middle of an array, with so many rows and columns on each side; the array itself if that is all."""
    rows, columns = (length + 2 * around for length, around in zip(window, context, strict=True))
    if array.shape[:2] == (rows, columns):
        return array
    top, left = (array.shape[0] - rows) // 2, (array.shape[1] - columns) // 2
    return array[top : top + rows, left : left + columns]
