"""The table of a probability store: which images it holds, and where. Stores of the same images share one."""

import csv
import io
from collections.abc import Sequence
from functools import cached_property
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

_COLUMNS = ["id", "offset", "channels", "height", "width"]


class StoreTable:
    """What a store's table says.

    Attributes:
        ids: (N,) texts in the order of the store, which says nothing about the order of any other store.
        shapes: (N, 3) channels, height and width.
        offsets: (N,) place of each image's first code.
        sizes: (N,) how many codes each image has.
    """

    def __init__(self, text: str) -> None:
        _, *rows = csv.reader(io.StringIO(text, newline=""))
        numbers = np.array([row[1:] for row in rows], np.int64).reshape(-1, 4)
        self.ids = np.array([row[0] for row in rows], object)
        self.shapes, self.offsets = numbers[:, 1:], numbers[:, 0]
        self.sizes = self.shapes.prod(axis=1)
        for shared in (self.ids, self.shapes, self.offsets, self.sizes):
            shared.flags.writeable = False

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each id."""
        return {image_id: row for row, image_id in enumerate(self.ids)}


# The members of an ensemble predict the same images, so nearly all their tables are one.
_tables: WeakValueDictionary[str, StoreTable] = WeakValueDictionary()


def shared_table(digest: str, text: str) -> StoreTable:
    """The table of this text, read once while a store holds it.

    Args:
        digest: hash of the text.
    """
    found = _tables.get(digest)
    if found is None:
        found = _tables[digest] = StoreTable(text)
    return found


def table_offsets(shapes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N + 1,) places of each image's first code, and of the end, for (N, 3) channels, height and width."""
    return np.concatenate([[0], np.cumsum(shapes.prod(axis=1, dtype=np.int64))])


def table_text(ids: Sequence[str], shapes: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> str:
    """The text that ``StoreTable`` reads."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    rows.writerows(
        [image_id, offset, *shape] for image_id, offset, shape in zip(ids, offsets.tolist(), shapes.tolist())
    )
    return text.getvalue()
