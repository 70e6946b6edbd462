"""The table of a probability store: which images it holds, and where. Stores of the same images share one."""

import csv
import io
from functools import cached_property
from weakref import WeakValueDictionary

import numpy as np


class StoreTable:
    """What a store's table says.

    Attributes:
        ids: (N,) texts in the order of the store, which says nothing about the order of any other store.
        shapes: (N, 3) channels, height and width.
        offsets: (N,) place of each image's first code.
    """

    def __init__(self, text: str) -> None:
        _, *rows = csv.reader(io.StringIO(text, newline=""))
        numbers = np.array([row[1:] for row in rows], np.int64).reshape(-1, 4)
        self.ids = np.array([row[0] for row in rows], object)
        self.shapes, self.offsets = numbers[:, 1:], numbers[:, 0]
        for shared in (self.ids, self.shapes, self.offsets):
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
