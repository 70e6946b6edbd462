"""Which images an epoch draws, in which order, and which process gets them."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from torch.utils.data import Sampler

from segfold.data.keys import sample_key
from segfold.errors import SegfoldError

Key: TypeAlias = tuple[int, int, int]
"""Of a training sample: the epoch, its position, and the draw, a number that no other sample of the epoch has."""


def row_chances(
    areas: np.ndarray,
    constant: np.ndarray,
    *,
    nonempty: float | None = None,
    area: float = 0.0,
    skip_constant: bool = False,
) -> np.ndarray:
    """How likely each training image is to be drawn, for ``EpochSampler``.

    Args:
        areas: N, share of foreground pixels of each image.
        constant: N, whether all pixels of an image have one value.
        nonempty: share of the drawn images that have foreground; None for the share that there is (the second
            place of the TGS competition drew weighted samples; so far as known, with no gain measured alone).
        area: an image with foreground is drawn in proportion to its area to this power: above 0 favours large
            areas, below 0 small ones. How many are drawn with and without foreground does not change.
        skip_constant: never draw constant images. They may still be validated on.

    Returns:
        N float64 of mean 1 over the images that may be drawn; exactly 0 for those that may not.

    Raises:
        SegfoldError: nothing is left to draw, or not from what ``nonempty`` asks for.

    Example:
        >>> row_chances(np.array([0, 0, 0, 0.5]), np.zeros(4, bool), nonempty=0.5).round(3)
        array([0.667, 0.667, 0.667, 2.   ])
    """
    kept = ~constant.astype(bool) if skip_constant else np.ones(len(areas), bool)
    if not kept.any():
        raise SegfoldError("sample.skip_constant leaves no training image: all are of a single value; set it to false")
    filled, empty = kept & (areas > 0), kept & ~(areas > 0)
    chances = kept.astype(np.float64)
    if area != 0:
        with np.errstate(over="ignore"):
            powers = areas[filled].astype(np.float64) ** area
        if not np.isfinite(powers).all():
            raise SegfoldError(f"sample.area is {area:g}, beyond what can be computed; use a power between -10 and 10")
        chances[filled] = powers / powers.mean()
    if nonempty is not None:
        if not 0 <= nonempty <= 1:
            raise SegfoldError(f"sample.nonempty is {nonempty:g}; it is a share between 0 and 1")
        for group, share, name in ((filled, nonempty, "foreground"), (empty, 1 - nonempty, "no foreground")):
            if share > 0 and not group.any():
                raise SegfoldError(
                    f"sample.nonempty is {nonempty:g}, but no training image has {name}: leave sample.nonempty out"
                )
            chances[group] *= share * kept.sum() / max(chances[group].sum(), np.finfo(float).tiny)
    return chances


def draws(chances: np.ndarray) -> int:
    """Number of images that an epoch draws by these chances: as many as there are with a chance above 0."""
    return int(np.count_nonzero(chances))


class EpochSampler(Sampler[list[Key]]):
    """Batches of keys of one epoch, for a loader's ``batch_sampler``.

    The order follows from (seed, epoch) and the chances alone, so an epoch that was left in the middle goes on with
    the batches that it would have had. Without chances, and with chances that are all equal or 0, it is a
    permutation; else positions are drawn with replacement. A longer epoch goes on with further permutations, a shorter
    one is the beginning of a permutation. An image that comes twice is augmented twice, as its draws differ.

    Args:
        length: number of positions.
        batch_size: positions a batch, over all processes; a last batch that is not full is left out.
        chances: how likely each position is drawn, at least 0; None for each one once.
        images: length of the epoch; None for as many as there are positions with a chance above 0.
        seed: of the experiment.
        epoch: number of the epoch.
        start: number of the first batch: how many batches of this epoch have been seen before.
        rank: number of this process, which gets the keys ``rank``, ``rank + world``, … of each batch.
        world: number of processes.

    Raises:
        SegfoldError: there is not one batch in an epoch, or a batch cannot be shared out evenly.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        chances: np.ndarray | None = None,
        images: int | None = None,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if chances is not None and not (len(chances) == length and np.isfinite(chances).all() and (chances >= 0).all()):
            raise ValueError(f"chances of {length} positions must be as many finite numbers of at least 0")
        if batch_size % world:
            raise SegfoldError(
                f"batch_size {batch_size} cannot be shared out evenly among {world} processes: set a multiple of {world}"
            )
        if not 0 <= rank < world:
            raise ValueError(f"process {rank} of {world}")
        self._all = length
        self._positions = np.arange(length) if chances is None else np.flatnonzero(chances)
        self._length = len(self._positions) if images is None else images
        self._batches = self._length // batch_size
        if self._batches == 0 or not len(self._positions):
            raise SegfoldError(
                f"{self._length} training images are fewer than a batch of {batch_size}: lower batch_size"
            )
        self._chances = chances
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = epoch
        self._start = start
        self._rank, self._world = rank, world

    def __len__(self) -> int:
        return max(self._batches - self._start, 0)

    def __iter__(self) -> Iterator[list[Key]]:
        keys = self._keys()
        for batch in range(self._start, self._batches):
            first = batch * self._batch_size
            yield keys[first : first + self._batch_size][self._rank :: self._world]

    def _keys(self) -> list[Key]:
        stream = np.random.default_rng(sample_key("order", self._seed, self._epoch))
        kept = self._positions
        chances = np.ones(len(kept)) if self._chances is None else self._chances[kept]
        # Chances that are equal but for rounding mean no choice.
        if chances.max() > chances.min() * (1 + 1e-9):
            drawn = stream.choice(kept, self._length, p=chances / chances.sum()).tolist()
            return [(self._epoch, position, draw) for draw, position in enumerate(drawn)]
        keys: list[Key] = [
            (self._epoch, position, position) for position in kept[stream.permutation(len(kept))].tolist()
        ]
        while len(keys) < self._length:
            again = kept[stream.permutation(len(kept))].tolist()
            # Of the first permutation each draw is the number of its position.
            keys += [(self._epoch, position, draw) for draw, position in enumerate(again, self._all + len(keys))]
        return keys[: self._length]
