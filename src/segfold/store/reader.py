"""The probability store: predictions of one split by one set of weights, in a flat uint16 file.

A folder holds, for a split such as ``oof`` or ``test``::

    oof.u16        codes floor(65535 p + 1/2) of all images, one after the other, each C×H×W
    oof.csv        id, offset (in codes), channels, height, width
    oof.image.f32  image-level logits N×T, one for each of T views of an image; only of a network that gives them
    oof.seconds.json   what an image took to predict; only where that was measured
    meta.json      what the codes were made with, by split; a split's entry is written last

Images may differ in size. Nothing is held in memory but the table and the image-level logits.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.errors import SegfoldError
from segfold.files import read_json
from segfold.store.codes import to_codes, to_probability
from segfold.store.cost import Cost, read_cost
from segfold.store.table import StoreTable, shared_table

_PIECES, _PIECE = 32, 4096  # number of pieces, and bytes of each


def plain_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What ``meta`` reads as from ``meta.json``."""
    return json.loads(json.dumps(meta, sort_keys=True))


def read_entries(folder: Path) -> dict[str, Any]:
    """``meta.json`` by split; none where it cannot be read, which vouches for nothing: the split is predicted anew."""
    try:
        entries = read_json(folder / "meta.json")
    except SegfoldError:
        return {}
    return entries if isinstance(entries, dict) else {}


def sampled_digest(path: Path) -> str:
    """Hash of pieces spread over a file: tells one run's codes from another's, which are as long, in a moment.

    Single codes that changed in between are not seen; that would take reading all of a file of gigabytes.
    """
    last = max(0, path.stat().st_size - _PIECE)
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        for number in range(_PIECES):
            file.seek(last * number // (_PIECES - 1))
            digest.update(file.read(_PIECE))
    return digest.hexdigest()


@dataclass(frozen=True)
class ProbabilityStore:
    """A finished store. Opened by ``open_store``; reads each image from disk when asked.

    Attributes:
        table: shared with every open store of the same images.
        meta: what the codes were made with.
        image_logits: (N, T) float32, above 0 where an image is held for not empty, one for each of T views of it;
            None of a network without an image head.
    """

    path: Path
    table: StoreTable
    meta: dict[str, Any]
    image_logits: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ids(self) -> npt.NDArray[np.object_]:
        """(N,) texts in the order of the store, which says nothing about the order of any other store."""
        return self.table.ids

    @property
    def shapes(self) -> npt.NDArray[np.int64]:
        """(N, 3) channels, height and width."""
        return self.table.shapes

    @property
    def rows(self) -> dict[str, int]:
        """Row of each id."""
        return self.table.rows

    def codes(self, row: int) -> npt.NDArray[np.uint16]:
        """C×H×W codes of one image, a fresh array.

        Raises:
            SegfoldError: the file is shorter than its table says.
        """
        row = range(len(self))[row]
        return self._read(np.empty(self.shapes[row], "<u2"), [int(self.table.offsets[row])])

    def codes_of(self, rows: Sequence[int]) -> npt.NDArray[np.uint16]:
        """Codes of several images, one after the other in one array, with few calls where they are stored in this order.

        Raises:
            SegfoldError: the file is shorter than its table says.
        """
        if not rows:
            return np.empty(0, np.uint16)
        places, sizes = self.table.offsets[rows], self.table.sizes[rows]
        begins = np.flatnonzero(np.concatenate([[True], places[1:] != places[:-1] + sizes[:-1]]))
        codes = np.empty(int(sizes.sum()), "<u2")
        ends = np.add.reduceat(sizes, begins)
        with self.path.open("rb", buffering=0) as file:
            filled = 0
            for place, size in zip(places[begins].tolist(), ends.tolist()):
                self._fill(file, codes[filled : filled + size], place)
                filled += size
        return codes.astype(np.uint16, copy=False)

    def code_rows(self, row: int, top: int, bottom: int) -> npt.NDArray[np.uint16]:
        """C×h×W codes of some rows of one image, a fresh array: ``codes(row)[:, top:bottom]``, and nothing else is read.

        Args:
            top: the first of the rows, from 0.
            bottom: where they end, at most H.

        Raises:
            SegfoldError: the file is shorter than its table says.
        """
        row = range(len(self))[row]
        channels, height, width = self.shapes[row].tolist()
        if not 0 <= top <= bottom <= height:
            raise IndexError(f"rows {top} to {bottom} of {height}")
        places = [int(self.table.offsets[row]) + (channel * height + top) * width for channel in range(channels)]
        return self._read(np.empty((channels, bottom - top, width), "<u2"), places)

    def _read(self, codes: npt.NDArray[np.uint16], places: Sequence[int]) -> npt.NDArray[np.uint16]:
        """Fills an array with pieces of the file that begin at these places, in codes, and are of equal length."""
        # Opened anew each time: a big ensemble has more stores than a process may hold open files.
        with self.path.open("rb", buffering=0) as file:
            for place, part in zip(places, codes.reshape(len(places), -1), strict=True):
                self._fill(file, part, place)
        return codes.astype(np.uint16, copy=False)

    def _fill(self, file: FileIO, codes: npt.NDArray[np.uint16], place: int) -> None:
        """Reads what stands from a place on, in codes."""
        file.seek(place * codes.itemsize)
        view = codes.view(np.uint8).data
        while view.nbytes:
            count = file.readinto(view)
            if not count:
                end = place + codes.size - view.nbytes // codes.itemsize
                image_id = self.ids[np.searchsorted(self.table.offsets, end, side="right") - 1]
                raise SegfoldError(f"{self.path} ends inside image {image_id}; delete it to predict it anew")
            view = view[count:]

    def probability(self, row: int) -> npt.NDArray[np.float32]:
        """C×H×W probabilities of one image."""
        return to_probability(self.codes(row))

    @cached_property
    def cost(self) -> Cost | None:
        """What predicting an image took; None where nobody measured it."""
        return read_cost(self.path.parent, self.path.stem)

    @property
    def seconds_an_image(self) -> float | None:
        """What predicting an image took by the clock; None where nobody measured it."""
        return None if self.cost is None else self.cost.seconds

    def nonempty(self, row: int) -> int | None:
        """Code of the probability that an image's mask is not empty, the mean over its views; None without an image head."""
        return None if self._nonempty is None else int(self._nonempty[row])

    @cached_property
    def _nonempty(self) -> npt.NDArray[np.uint16] | None:
        if self.image_logits is None:
            return None
        return to_codes((1 / (1 + np.exp(-self.image_logits.astype(np.float64)))).mean(axis=1))

    def __iter__(self) -> Iterator[tuple[str, npt.NDArray[np.uint16]]]:
        for row, image_id in enumerate(self.ids):
            yield image_id, self.codes(row)


def open_store(folder: Path | str, split: str, expect_meta: Mapping[str, Any] | None) -> ProbabilityStore | None:
    """The finished store of ``split``, or None if it is absent, damaged, or made with anything else.

    Args:
        folder: ``fold<k>/pred/<weights>-<tta>``.
        split: ``oof`` or ``test``.
        expect_meta: what the codes must have been made with, every key of it; None takes any finished store,
            for readers that only show it.
    """
    folder = Path(folder)
    entry = read_entries(folder).get(split)
    if not isinstance(entry, dict) or "meta" not in entry:
        return None
    if expect_meta is not None and entry["meta"] != plain_meta(expect_meta):
        return None
    path = folder / f"{split}.u16"
    try:
        table = (folder / f"{split}.csv").read_bytes()
        digest = hashlib.sha256(table).hexdigest()
        # Else copied in part, or mixed with files of another run or split.
        if digest != entry.get("table") or path.stat().st_size != entry.get("bytes"):
            return None
        if sampled_digest(path) != entry.get("sample"):
            return None
        logits = None
        if entry.get("image") is not None:
            data = image_path(folder, split).read_bytes()
            if hashlib.sha256(data).hexdigest() != entry["image"]:
                return None
            logits = np.frombuffer(data, "<f4").reshape(entry["images"], -1)
    except (OSError, KeyError, TypeError, ValueError):
        return None
    return ProbabilityStore(path, shared_table(digest, table.decode()), entry["meta"], logits)


def image_path(folder: Path, split: str) -> Path:
    """The file of a store's image-level logits."""
    return folder / f"{split}.image.f32"
