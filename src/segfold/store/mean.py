"""Stores made of others: gated by the image head, and the mean of what the snapshots of a fold predict together."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from segfold.errors import SegfoldError
from segfold.store.reader import ProbabilityStore


class Probabilities(Protocol):
    """What is read of a store: ids, their rows, and the codes of a row."""

    @property
    def ids(self) -> npt.NDArray[np.object_]: ...

    @property
    def rows(self) -> Mapping[str, int]: ...

    def __len__(self) -> int: ...

    def codes(self, row: int) -> npt.NDArray[np.uint16]:
        """C×H×W codes."""


class GatedStore:
    """A store with the images emptied that its network's image head holds for empty.

    Args:
        store: of a network with an image head.
        gate: an image whose mean probability of not being empty, over its views, is less is 0 everywhere.

    Raises:
        SegfoldError: the network has no image head.
    """

    def __init__(self, store: ProbabilityStore, gate: float) -> None:
        if store.image_logits is None:
            raise SegfoldError(f"predict.gate is {gate:g} but the network has no image head; set predict.gate=0")
        self.store, self.ids, self.rows = store, store.ids, store.rows
        logits = store.image_logits.astype(np.float64)
        self.kept = (1 / (1 + np.exp(-logits))).mean(axis=1) >= gate

    def __len__(self) -> int:
        return len(self.ids)

    def codes(self, row: int) -> npt.NDArray[np.uint16]:
        """C×H×W codes."""
        codes = self.store.codes(row)
        return codes if self.kept[row] else np.zeros_like(codes)


class MeanStore:
    """Rounded mean of the codes of stores that hold the same images in the same order.

    Raises:
        SegfoldError: the stores hold other images.
    """

    def __init__(self, stores: Sequence[Probabilities]) -> None:
        first, *others = stores
        if any(not np.array_equal(first.ids, other.ids) for other in others):
            raise SegfoldError("predictions of different images cannot be averaged; delete the fold's pred folder")
        self.stores = list(stores)
        self.ids, self.rows = first.ids, first.rows

    def __len__(self) -> int:
        return len(self.ids)

    def codes(self, row: int) -> npt.NDArray[np.uint16]:
        """C×H×W codes, rounded half up."""
        count = len(self.stores)
        total = sum((store.codes(row).astype(np.int64) for store in self.stores), np.int64(0))
        return np.asarray((2 * total + count) // (2 * count), np.uint16)
