"""Samples for the network: torch data sets over an ``ImageSet``.

A training sample is asked for by (epoch, position, draw), so that everything random about it
follows from the seed and those numbers, and workers that live on from epoch to epoch need no message.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from segfold.data.augment import Augmenter
from segfold.data.augment.mixing import MIXES, MaskedImage
from segfold.data.channels import PLACED, InputPlanes
from segfold.data.crops import Crops
from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.symmetry import TRANSFORMS, Transform
from segfold.data.geometry.window import Window, cut
from segfold.data.images import ImageSet
from segfold.data.keys import sample_key
from segfold.data.sampling import Key
from segfold.errors import SegfoldError
from segfold.schema import build

__all__ = ["PredictionSample", "PredictionSet", "Sample", "TrainingSet"]

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
    """

    image: Tensor
    mask: Tensor
    valid: Tensor
    row: int


class PredictionSample(TypedDict):
    """An image to predict, and its index into the ``ImageSet``; see ``Sample``.

    Attributes:
        image: C×H×W; where the input has planes that a transform would turn with the image, T×C×H×W, one for each of
            the transforms of test-time augmentation.
    """

    image: Tensor
    row: int


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

    Raises:
        SegfoldError: an unknown channel or mix, a setting out of its range, or no masks.
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
    ) -> None:
        if images.masks is None:
            raise SegfoldError("a split without masks cannot be trained on; use the train split")
        unknown = sorted(set(mix or {}) - set(MIXES))
        if unknown:
            raise SegfoldError(f"no mix of samples {unknown[0]!r}; there are {', '.join(MIXES)}")
        self._images, self._masks, self._task = images.images, images.masks, images.task
        self._rows = np.asarray(rows, np.int64)
        self._sizing = sizing
        self._augmenter = augmenter
        self._crops = crops
        self._random_offset = random_offset
        self._planes = InputPlanes(images, channels)
        self._seed = seed
        self._mixes = {name: build(f"augment.{name}", MIXES[name], settings) for name, settings in (mix or {}).items()}
        self._soft = any(chosen.soft for chosen in self._mixes.values())
        self._chances = np.cumsum(np.ones(len(self._rows)) if chances is None else chances)

    @property
    def sample_bytes(self) -> int:
        """Of one sample."""
        values = self._planes.bytes_a_pixel * (4 if self._soft and self._planes.whole else 1)
        planes = len(self._task.classes)
        mask = 4 * planes if self._soft else 1 if self._task.exclusive else planes
        return self._sizing.height * self._sizing.width * (values + mask + 1)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Key) -> Sample:
        epoch, position, draw = key
        row = int(self._rows[position])
        pixels = self._pixels(row, epoch, draw)
        for name, mix in self._mixes.items():
            stream = random.Random(sample_key(name, self._seed, epoch, draw))
            if mix.applies(stream):
                partner = self._pixels(self._partner(stream), epoch, f"{draw}/{name}")
                pixels = mix(pixels, partner, stream)
        target = pixels.mask.transpose(2, 0, 1) if self._soft else self._task.target(pixels.mask)
        return Sample(
            image=torch.from_numpy(pixels.image).permute(2, 0, 1),
            mask=torch.from_numpy(target),
            valid=torch.from_numpy(pixels.valid)[None],
            row=row,
        )

    def _pixels(self, row: int, epoch: int, draw: int | str) -> MaskedImage:
        """One augmented image, or a crop of it, at the network's size."""
        shape = (int(self._images.shapes[row, 0]), int(self._images.shapes[row, 1]))
        window, around = Window(0, 0, *shape), 0
        if self._crops is not None:
            stream = random.Random(sample_key("crop", self._seed, epoch, draw))
            window, around = self._crops.window(row, self._masks, stream), self._crops.around
        seen = window.grown(around)
        image, mask = self._augmented(row, seen, epoch, draw)
        mask = mask[around : around + window.height, around : around + window.width]
        offset = self._offset(window.shape, epoch, draw) if self._random_offset else None
        image = self._planes(image, row, self._sizing, offset, (seen.top, shape[0]), around)
        mask = self._sizing.mask(mask, offset, self._task)
        valid = self._sizing.valid(window.shape, offset)
        if (counted := self._task.valid(mask)) is not None:
            valid &= counted
        if self._soft:
            return MaskedImage(image.astype(np.float32), self._task.shares(mask), valid)
        return MaskedImage(image, mask, valid)

    def _augmented(self, row: int, seen: Window, epoch: int, draw: int | str) -> tuple[np.ndarray, np.ndarray]:
        """A window of an image, with what moves into it from around, and its mask."""
        context = (0, 0)
        if self._augmenter is not None and self._crops is not None:
            context = self._augmenter.context(seen.shape)
        read = seen.grown(*context)
        # Augmentation mirrors an image at its edge; the margin around a window goes on as the input's border does.
        border = self._sizing.border if self._sizing.margin else "reflect"
        image, mask = cut(self._images[row], read, border), cut(self._masks[row], read, border, self._task.fill)
        if self._augmenter is None:
            return image, mask
        return self._augmenter(image, mask, epoch, draw, context)

    def _offset(self, shape: tuple[int, int], epoch: int, draw: int | str) -> tuple[int, int]:
        most_top, most_left = self._sizing.slack(shape)
        stream = random.Random(sample_key("offset", self._seed, epoch, draw))
        return stream.randint(0, most_top), stream.randint(0, most_left)

    def _partner(self, stream: random.Random) -> int:
        target = stream.random() * self._chances[-1]
        position = int(np.searchsorted(self._chances, target, side="right"))
        return int(self._rows[min(position, len(self._rows) - 1)])


class PredictionSet(Dataset[PredictionSample]):
    """The images of ``rows`` in their order, centred and not augmented.

    Planes that say where a pixel lies are made after the transforms of ``tta``, as they are in training: in an image
    that is upside down, the first row is the top one.

    Raises:
        SegfoldError: an unknown channel, or an image without a depth.
    """

    def __init__(
        self,
        images: ImageSet,
        rows: np.ndarray,
        sizing: Sizing,
        channels: Sequence[str] = ("image",),
        tta: Sequence[str] = (),
    ) -> None:
        self._images = images.images
        self._rows = np.asarray(rows, np.int64)
        self._sizing = sizing
        self._planes = InputPlanes(images, channels)
        self._turned = tuple(tta) if set(channels) & set(PLACED) else ()
        swapping = [name for name in self._turned if TRANSFORMS[name].swaps_axes]
        if swapping and sizing.height != sizing.width:
            raise SegfoldError(
                f"predict.tta has {swapping[0]}, which with input.channels {', '.join(channels)} needs a square input; "
                f"take it out, or set input.size to one number (now {sizing.height}×{sizing.width})"
            )

    @property
    def sample_bytes(self) -> int:
        """Of one sample."""
        return self._sizing.height * self._sizing.width * self._planes.bytes_a_pixel * max(len(self._turned), 1)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> PredictionSample:
        row = int(self._rows[position])
        if not self._turned:
            image = self._planes(self._images[row], row, self._sizing, None)
            return PredictionSample(image=torch.from_numpy(image).permute(2, 0, 1), row=row)
        return PredictionSample(
            image=torch.stack([self._seen(row, TRANSFORMS[name]) for name in self._turned]), row=row
        )

    def _seen(self, row: int, transform: Transform) -> Tensor:
        """The network's input for a transformed image: what the transform makes of the centred one, planes aside."""
        image, sizing = self._images[row], self._sizing
        valid = transform.forward(torch.from_numpy(sizing.valid((image.shape[0], image.shape[1]))))
        offset = int(valid.any(1).byte().argmax()), int(valid.any(0).byte().argmax())
        # Torch moves no uint16, but does not mind what the bits of an int16 mean.
        pixels = torch.from_numpy(image.view(np.int16 if image.dtype == np.uint16 else image.dtype).copy())
        turned = transform.forward(pixels.permute(2, 0, 1)).permute(1, 2, 0).contiguous().numpy().view(image.dtype)
        if transform.swaps_axes and sizing.resize is not None:
            sizing = replace(sizing, resize=sizing.resize[::-1])
        return torch.from_numpy(self._planes(turned, row, sizing, offset)).permute(2, 0, 1)
