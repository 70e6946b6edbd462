"""Samples for the network: torch data sets over an `ImageSet`, and the order in which they come.

A training sample is asked for by (epoch, position), so that everything random about it follows from the seed
and those two numbers, and workers that live on from epoch to epoch need no message.
"""

import random
from collections.abc import Iterator, Sequence
from typing import TypedDict

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from segfold.data.augment import Augmenter, sample_key
from segfold.data.images import ImageSet
from segfold.data.sizing import Sizing
from segfold.errors import SegfoldError

CHANNELS = ("image", "y")
"""What the network's input can be made of: the image's own channels; the height in the image, 0 at its top
and 255 at its bottom (phalanx's depth channel, T §1)."""

# A sample is too small to share among threads, and OpenCV's threads do not survive the fork of a worker.
cv2.setNumThreads(0)


class Sample(TypedDict):
    """A training sample, or with a leading axis a batch.

    Attributes:
        image: C×H×W of 0…255: uint8, or float32 with channels beside "image" or images of 16 bits.
        mask: 1×H×W uint8 of 0 and 1.
        valid: 1×H×W bool, false in the padded border.
        row: index into the `ImageSet`.
    """

    image: Tensor
    mask: Tensor
    valid: Tensor
    row: int


class PredictionSample(TypedDict):
    """An image to predict, and its index into the `ImageSet`; see `Sample`."""

    image: Tensor
    row: int


class TrainingSet(Dataset[Sample]):
    """Augmented samples with their masks, by (epoch, position).

    Args:
        images: a split with masks.
        rows: indices into `images` to train on; one that comes twice is augmented twice.
        sizing: to the network's input.
        augmenter: applied at the original size, so that `valid` stays a rectangle; None for none.
        random_offset: place padded images anywhere in the input rather than in its centre.
        channels: of `CHANNELS`, in the order of the network's input.
        seed: of the experiment.

    Raises:
        SegfoldError: an unknown channel, or no masks.
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
    ) -> None:
        if images.masks is None:
            raise SegfoldError("a split without masks cannot be trained on; use the train split")
        self._images, self._masks = images.images, images.masks
        self._rows = np.asarray(rows, np.int64)
        self._sizing = sizing
        self._augmenter = augmenter
        self._random_offset = random_offset
        self._channels = _checked(channels)
        self._seed = seed

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, position = key
        row = int(self._rows[position])
        image, mask = self._images[row], self._masks[row]
        shape = (image.shape[0], image.shape[1])
        if self._augmenter is not None:
            image, mask = self._augmenter(image, mask, epoch, position)
        offset = self._offset(shape, epoch, position) if self._random_offset else None
        return Sample(
            image=_tensor(image, self._channels, self._sizing, offset),
            mask=torch.from_numpy(self._sizing.mask(mask, offset))[None],
            valid=torch.from_numpy(self._sizing.valid(shape, offset))[None],
            row=row,
        )

    def _offset(self, shape: tuple[int, int], epoch: int, position: int) -> tuple[int, int]:
        most_top, most_left = self._sizing.slack(shape)
        stream = random.Random(sample_key("offset", self._seed, epoch, position))
        return stream.randint(0, most_top), stream.randint(0, most_left)


class PredictionSet(Dataset[PredictionSample]):
    """The images of `rows` in their order, centred and not augmented.

    Raises:
        SegfoldError: an unknown channel.
    """

    def __init__(
        self, images: ImageSet, rows: np.ndarray, sizing: Sizing, channels: Sequence[str] = ("image",)
    ) -> None:
        self._images = images.images
        self._rows = np.asarray(rows, np.int64)
        self._sizing = sizing
        self._channels = _checked(channels)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> PredictionSample:
        row = int(self._rows[position])
        return PredictionSample(image=_tensor(self._images[row], self._channels, self._sizing, None), row=row)


class EpochSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, position) of one epoch, for a loader's `batch_sampler`.

    The order is a permutation that follows from (seed, epoch) alone, so an epoch that was left in the middle
    goes on with the batches that it would have had.

    Args:
        length: number of positions.
        batch_size: positions a batch.
        seed: of the experiment.
        epoch: number of the epoch.
        start: number of the first batch: how many batches of this epoch have been seen before.
        drop_last: leave out a last batch that is not full.

    Raises:
        SegfoldError: there is not one batch in an epoch.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
        drop_last: bool = True,
    ) -> None:
        self._batches = length // batch_size if drop_last else -(-length // batch_size)
        if self._batches == 0:
            raise SegfoldError(f"{length} training images are fewer than a batch of {batch_size}: lower batch_size")
        self._length = length
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = epoch
        self._start = start

    def __len__(self) -> int:
        return max(self._batches - self._start, 0)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        stream = np.random.default_rng(sample_key("order", self._seed, self._epoch))
        order = stream.permutation(self._length).tolist()
        for batch in range(self._start, self._batches):
            first = batch * self._batch_size
            yield [(self._epoch, position) for position in order[first : first + self._batch_size]]


def _checked(channels: Sequence[str]) -> tuple[str, ...]:
    unknown = [channel for channel in channels if channel not in CHANNELS]
    if unknown or not channels:
        raise SegfoldError(f"input.channels is {list(channels)}; name one or more of {', '.join(CHANNELS)}")
    return tuple(channels)


def _tensor(image: np.ndarray, channels: tuple[str, ...], sizing: Sizing, offset: tuple[int, int] | None) -> Tensor:
    """The network's input C×H×W, 0…255, for an image H×W×C."""
    if image.dtype == np.uint16:
        image = image.astype(np.float32) / 257  # 65535 becomes 255
    if channels != ("image",):
        # Made after augmentation, whose changes of brightness are not meant for the ramp.
        planes = {"image": image.astype(np.float32, copy=False), "y": _ramp(image.shape[0], image.shape[1])}
        image = np.concatenate([planes[channel] for channel in channels], axis=2)
    return torch.from_numpy(sizing.image(image, offset)).permute(2, 0, 1)


def _ramp(height: int, width: int) -> np.ndarray:
    column = np.linspace(0, 255, height, dtype=np.float32)
    return np.broadcast_to(column[:, None, None], (height, width, 1))
