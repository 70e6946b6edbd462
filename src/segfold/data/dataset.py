"""Training samples: a torch data set over an ``ImageSet``.

A sample is asked for by (epoch, position, draw), so that everything random about it
follows from the seed and those numbers, and workers that live on from epoch to epoch need no message.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from segfold.data.augment import Augmenter
from segfold.data.augment.mixing import MIXES, MaskedImage
from segfold.data.boxes import TrainingBoxes
from segfold.data.channels import InputPlanes
from segfold.data.crops import Crops
from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.window import Window, cut
from segfold.data.images import ImageSet
from segfold.data.keys import sample_key
from segfold.data.pixel_store import PixelStore
from segfold.data.sampling import Key
from segfold.errors import SegfoldError
from segfold.losses.gaps import object_gaps
from segfold.resize import Shape
from segfold.schema import build
from segfold.tasks import OBJECTS

# A sample is too small to share among threads, and OpenCV's threads do not survive the fork of a worker.
cv2.setNumThreads(0)


class Sample(TypedDict):
    """A training sample, or with a leading axis a batch. All samples of a data set have the same types.

    Attributes:
        image: C×H×W of 0…255: uint8, or float32 with channels beside "image", images of 16 bits, or mixup.
        mask: the task's target: C×H×W uint8 of 0 and 1, or 1×H×W of class indices; with mixup C×H×W float32 from 0 to 1.
        valid: 1×H×W bool, false in the padded border and where the mask does not count; of mixed samples see
            ``segfold.data.augment.mixing``.
        row: index into the ``ImageSet``; of a mixed sample, that of the first image.
        gaps: 1×H×W float32, ``object_gaps`` of the objects within the valid area, infinite outside it; only where asked for.
    """

    image: Tensor
    mask: Tensor
    valid: Tensor
    row: int
    gaps: NotRequired[Tensor]


class TrainingSet(Dataset[Sample]):
    """Augmented samples with their masks, by (epoch, position, draw).

    Args:
        images: a split with masks.
        rows: indices into ``images`` to train on; one that comes twice is augmented twice.
        sizing: to the network's input.
        augmenter: applied at the original size, so that ``valid`` stays a rectangle; None for none.
        random_offset: place padded images anywhere in the input rather than in its centre.
        channels: of ``segfold.data.channels.CHANNELS``, in the order of the network's input.
        seed: of the experiment.
        mix: settings by name of ``MIXES``; applied in turn to augmented samples at the network's size. Each has a
            partner of its own, drawn from ``rows`` and augmented by a key of its own.
        chances: how likely each of ``rows`` is drawn as a partner, as for ``EpochSampler``; None for all alike.
        crops: windows that are read and augmented, with what lies around them, in place of whole images; ``sizing`` is
            then theirs. None for whole images.
        boxes: what is read, augmented and stretched in place of whole images; ``rows`` are then its own, ``sizing`` fills the
            input, and masks are of its task. What lies beyond an image does not count. None for whole images, or crops.
        gaps: whether samples have ``gaps``. The objects go where the image goes; what moves in from outside has none.

    Raises:
        SegfoldError: an unknown channel or mix, a setting out of its range, or no masks.
        ValueError: crops and boxes at once; gaps of images without maps of objects, or of mixed samples.
    """

    def __init__(
        self,
        images: ImageSet,
        rows: np.ndarray,
        sizing: Sizing,
        augmenter: Augmenter | None,
        random_offset: bool,
        channels: Sequence[str] = ("image",),
        seed: int = 0,
        mix: Mapping[str, Mapping[str, Any]] | None = None,
        chances: np.ndarray | None = None,
        crops: Crops | None = None,
        boxes: TrainingBoxes | None = None,
        gaps: bool = False,
    ) -> None:
        if images.masks is None:
            raise SegfoldError("a split without masks cannot be trained on; use the train split")
        unknown = sorted(set(mix or {}) - set(MIXES))
        if unknown:
            raise SegfoldError(f"no mix of samples {unknown[0]!r}; there are {', '.join(MIXES)}")
        if crops is not None and boxes is not None:
            raise ValueError("crops and boxes at once")
        self._images, self._masks = images.images, images.masks
        self._task = images.task if boxes is None else boxes.task
        self._rows = np.asarray(rows, np.int64)
        self._sizing = sizing
        self._augmenter = augmenter
        self._crops, self._boxes = crops, boxes
        self._random_offset = random_offset
        self._planes = InputPlanes(images, channels)
        self._seed = seed
        self._mixes = {name: build(f"augment.{name}", MIXES[name], settings) for name, settings in (mix or {}).items()}
        self._soft = any(chosen.soft for chosen in self._mixes.values())
        self._objects = images.instances if gaps else None
        if gaps and (self._objects is None or self._mixes):
            raise ValueError("gaps need a map of objects for each image, and samples that are not mixed")
        follows = gaps or (boxes is not None and self._task.fill is None)
        self._object_augmenter = None if augmenter is None or not follows else augmenter.of(OBJECTS)
        self._chances = np.cumsum(np.ones(len(self._rows)) if chances is None else chances)

    @property
    def sample_bytes(self) -> int:
        """Of one sample."""
        values = self._planes.bytes_a_pixel * (4 if self._soft and self._planes.whole else 1)
        planes = len(self._task.classes)
        mask = 4 * planes if self._soft else 1 if self._task.exclusive else planes
        rows, columns = self._sizing.given
        gap = 0 if self._objects is None else 4
        return self._sizing.height * self._sizing.width * values + rows * columns * (mask + 1 + gap)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Key) -> Sample:
        epoch, position, draw = key
        pixels = self._pixels(position, epoch, draw)
        for name, mix in self._mixes.items():
            stream = random.Random(sample_key(name, self._seed, epoch, draw))
            if mix.applies(stream):
                partner = self._pixels(self._partner(stream), epoch, f"{draw}/{name}")
                pixels = mix(pixels, partner, stream)
        target = pixels.mask.transpose(2, 0, 1) if self._soft else self._task.target(pixels.mask)
        sample = Sample(
            image=torch.from_numpy(pixels.image).permute(2, 0, 1),
            mask=torch.from_numpy(target),
            valid=torch.from_numpy(pixels.valid)[None],
            row=int(self._rows[position]),
        )
        if self._objects is not None:
            gaps = self._gaps(self._objects, pixels.valid, position, epoch, draw)
            sample["gaps"] = torch.from_numpy(gaps)[None]
        return sample

    def _pixels(self, position: int, epoch: int, draw: int | str) -> MaskedImage:
        """One augmented image, or a part of it, at the network's size."""
        row = int(self._rows[position])
        window, around, offset = self._place(position, epoch, draw)
        seen = window.grown(around)
        image, mask = self._augmented(position, seen, epoch, draw)
        image = self._planes(image, row, self._sizing, offset, (seen.top, int(self._images.shapes[row, 0])), around)
        mask = self._sizing.mask(_inner(mask, around), offset, self._task)
        valid = self._sizing.valid(window.shape, offset)
        if (counted := self._task.valid(mask)) is not None:
            valid &= counted
        elif self._boxes is not None:
            valid &= self._inside(row, window, epoch, draw)
        if self._soft:
            return MaskedImage(image.astype(np.float32), self._task.shares(mask), valid)
        return MaskedImage(image, mask, valid)

    def _gaps(
        self, objects: PixelStore, valid: np.ndarray, position: int, epoch: int, draw: int | str
    ) -> npt.NDArray[np.float32]:
        """The gaps between the objects of a sample, at the network's size."""
        window, around, offset = self._place(position, epoch, draw)
        seen = window.grown(around)
        read = seen.grown(*self._context(seen))
        held = cut(objects[int(self._rows[position])], read, fill=OBJECTS.fill)
        if self._boxes is not None:
            held = self._boxes.objects(position, held, read)
        moved = self._moved(held, seen, epoch, draw)
        found = object_gaps(np.where(valid, self._sizing.mask(_inner(moved, around), offset, OBJECTS), 0))
        return np.where(valid, found, np.float32(np.inf))

    def _inside(self, row: int, window: Window, epoch: int, draw: int | str) -> npt.NDArray[np.bool_]:
        """Where a box shows its image, not what is made up beyond, at the network's size."""
        shape = (int(self._images.shapes[row, 0]), int(self._images.shapes[row, 1]))
        read = window.grown(*self._context(window))
        if read.inside(shape) == read:
            return np.ones(self._sizing.given, bool)
        held = cut(np.broadcast_to(np.uint16(1), shape), read, fill=OBJECTS.fill)
        return np.asarray(self._sizing.mask(self._moved(held, window, epoch, draw), None, OBJECTS) > 0)

    def _moved(self, held: np.ndarray, seen: Window, epoch: int, draw: int | str) -> np.ndarray:
        """A map of objects, with what lies around a window, as augmentation moves the window's mask."""
        if self._object_augmenter is None:
            return held
        # What is drawn depends on no pixel of the image.
        blank = np.zeros((*held.shape, 1), np.uint8)
        return self._object_augmenter(blank, held, epoch, draw, self._context(seen))[1]

    def _place(self, position: int, epoch: int, draw: int | str) -> tuple[Window, int, Shape | None]:
        """The window of an image, the pixels that are seen on each side of it, and where it lies in the input."""
        row = int(self._rows[position])
        if self._boxes is not None:
            stream = random.Random(sample_key("box", self._seed, epoch, draw))
            return self._boxes.window(position, stream), 0, None
        window, around = Window(0, 0, int(self._images.shapes[row, 0]), int(self._images.shapes[row, 1])), 0
        if self._crops is not None:
            stream = random.Random(sample_key("crop", self._seed, epoch, draw))
            window, around = self._crops.window(row, self._masks, stream), self._crops.around
        return window, around, self._offset(window.shape, epoch, draw) if self._random_offset else None

    def _augmented(self, position: int, seen: Window, epoch: int, draw: int | str) -> tuple[np.ndarray, np.ndarray]:
        """A window of an image, with what moves into it from around, and its mask."""
        row = int(self._rows[position])
        context = self._context(seen)
        read = seen.grown(*context)
        # Augmentation mirrors an image at its edge; a box, or the margin around a window, goes on as the input's border does.
        border = self._sizing.border if self._boxes is not None or self._sizing.margin else "reflect"
        image = cut(self._images.reader(row), read, border)
        mask = cut(self._masks[row], read, border, self._task.fill)
        if self._boxes is not None:
            mask = self._boxes.mask(position, mask, read)
        if self._augmenter is None:
            return image, mask
        return self._augmenter(image, mask, epoch, draw, context)

    def _context(self, seen: Window) -> Shape:
        """Rows and columns on each side of a window that augmentation may move in."""
        if self._augmenter is None or (self._crops is None and self._boxes is None):
            return 0, 0
        return self._augmenter.context(seen.shape)

    def _offset(self, shape: Shape, epoch: int, draw: int | str) -> Shape:
        most_top, most_left = self._sizing.slack(shape)
        stream = random.Random(sample_key("offset", self._seed, epoch, draw))
        return stream.randint(0, most_top), stream.randint(0, most_left)

    def _partner(self, stream: random.Random) -> int:
        """The position of a mixed sample's second image."""
        target = stream.random() * self._chances[-1]
        return min(int(np.searchsorted(self._chances, target, side="right")), len(self._rows) - 1)


def _inner(mask: np.ndarray, around: int) -> np.ndarray:
    """A map without so many pixels on each side."""
    return mask[around : mask.shape[0] - around, around : mask.shape[1] - around]
