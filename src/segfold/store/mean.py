"""The mean of what several sets of weights of a fold, its snapshots say, predict together."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from segfold.errors import SegfoldError


class Probabilities(Protocol):
    """What is read of a store: ids, their rows, (N, 3) channels, height and width, and the codes of a row."""

    @property
    def ids(self) -> npt.NDArray[np.object_]: ...

    @property
    def rows(self) -> Mapping[str, int]: ...

    @property
    def shapes(self) -> npt.NDArray[np.int64]: ...

    def __len__(self) -> int: ...

    def codes(self, row: int) -> npt.NDArray[np.uint16]:
        """C×H×W codes."""

    def codes_of(self, rows: Sequence[int]) -> npt.NDArray[np.uint16]:
        """Codes of several images, one after the other in one array."""

    def code_rows(self, row: int, top: int, bottom: int) -> npt.NDArray[np.uint16]:
        """C×h×W codes of the rows from ``top`` to ``bottom``."""

    def nonempty(self, row: int) -> int | None:
        """Code of the probability that the image's mask is not empty; None of networks without an image head."""


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
        self.ids, self.rows, self.shapes = first.ids, first.rows, first.shapes

    def __len__(self) -> int:
        return len(self.ids)

    def codes(self, row: int) -> npt.NDArray[np.uint16]:
        """C×H×W codes, rounded half up."""
        return self._mean(store.codes(row) for store in self.stores)

    def codes_of(self, rows: Sequence[int]) -> npt.NDArray[np.uint16]:
        """Codes of several images, one after the other in one array, rounded half up."""
        return self._mean(store.codes_of(rows) for store in self.stores)

    def code_rows(self, row: int, top: int, bottom: int) -> npt.NDArray[np.uint16]:
        """C×h×W codes of the rows from ``top`` to ``bottom``, rounded half up."""
        return self._mean(store.code_rows(row, top, bottom) for store in self.stores)

    def _mean(self, codes: Iterable[npt.NDArray[np.uint16]]) -> npt.NDArray[np.uint16]:
        first, *others = codes
        total, count = first.astype(np.uint32), len(self.stores)
        for part in others:
            total += part
        return ((2 * total + count) // (2 * count)).astype(np.uint16)

    def nonempty(self, row: int) -> int | None:
        """Rounded mean of the stores' codes; None where one has none."""
        found = [store.nonempty(row) for store in self.stores]
        known = [code for code in found if code is not None]
        if len(known) < len(found):
            return None
        return (2 * sum(known) + len(known)) // (2 * len(known))
