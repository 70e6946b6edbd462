"""The probability store: predictions of one split by one set of weights, in a flat uint16 file.

A folder holds, for a split such as ``oof`` or ``test``::

    oof.u16     codes floor(65535 p + 1/2) of all images, one after the other, each C×H×W
    oof.csv     id, offset (in codes), channels, height, width
    meta.json   what the codes were made with, by split; a split's entry is written last

Images may differ in size. Nothing is held in memory but the table.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.errors import SegfoldError
from segfold.faults import fault
from segfold.files import disk_errors, read_json, size_text, write_all, write_atomic, write_json
from segfold.locks import FoldLock
from segfold.store_table import StoreTable, shared_table

TOP = 65535
HALF = 1 << 15
"""Code of the probability 0.5."""

_COLUMNS = ["id", "offset", "channels", "height", "width"]


def to_codes(probability: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    """Codes ``floor(65535 p + 1/2)``, exact for float16 and float32; values outside 0..1 are clipped.

    Raises:
        ValueError: a value is not a number.
    """
    # In double precision 65535 times a float32 is exact; in single precision half-way cases would round away.
    scaled = np.asarray(probability, np.float64) * TOP
    scaled += 0.5
    if np.isnan(scaled).any():
        raise ValueError("a probability is not a number")
    return np.clip(scaled, 0, TOP).astype(np.uint16)


def to_probability(codes: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Probabilities ``code / 65535``; ``to_codes`` takes them back to the same codes."""
    return np.asarray(codes, np.float32) / np.float32(TOP)


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(meta, sort_keys=True))


def _entries(folder: Path) -> dict[str, Any]:
    # An unreadable meta.json vouches for nothing: the split is predicted anew.
    try:
        entries = read_json(folder / "meta.json")
    except SegfoldError:
        return {}
    return entries if isinstance(entries, dict) else {}


def _offsets(shapes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(shapes.prod(axis=1, dtype=np.int64))])


@dataclass(frozen=True)
class ProbabilityStore:
    """A finished store. Opened by `open_store`; reads each image from disk when asked.

    Attributes:
        table: shared with every open store of the same images.
        meta: what the codes were made with.
    """

    path: Path
    table: StoreTable
    meta: dict[str, Any]

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
        codes = np.empty(self.shapes[row], "<u2")
        # Opened anew each time: a big ensemble has more stores than a process may hold open files.
        with self.path.open("rb", buffering=0) as file:
            file.seek(int(self.table.offsets[row]) * codes.itemsize)
            view = codes.reshape(-1).view(np.uint8).data
            while view.nbytes:
                count = file.readinto(view)
                if not count:
                    raise SegfoldError(f"{self.path} ends inside image {self.ids[row]}; delete it to predict it anew")
                view = view[count:]
        return codes.astype(np.uint16, copy=False)

    def probability(self, row: int) -> npt.NDArray[np.float32]:
        """C×H×W probabilities of one image."""
        return to_probability(self.codes(row))

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
    entry = _entries(folder).get(split)
    if not isinstance(entry, dict) or "meta" not in entry:
        return None
    if expect_meta is not None and entry["meta"] != _plain(expect_meta):
        return None
    path = folder / f"{split}.u16"
    try:
        table = (folder / f"{split}.csv").read_bytes()
        size = path.stat().st_size
    except OSError:
        return None
    digest = hashlib.sha256(table).hexdigest()
    if digest != entry.get("table") or size != entry.get("bytes"):
        return None  # copied in part, or mixed with files of another run
    return ProbabilityStore(path, shared_table(digest, table.decode()), entry["meta"])


class StoreWriter:
    """Writes a store image by image; killed and started again with the same arguments, it goes on.

    A context manager. `append` the images ``ids[writer.count:]`` in that order, then `finish`. Until then any
    older store of the split stays as it is, and what is written waits in ``<split>.u16.part``.

    Attributes:
        count: whole images written so far, more than 0 after a resumed start.
        bytes_needed: size of the finished file.
    """

    def __init__(
        self,
        folder: Path | str,
        split: str,
        ids: Sequence[str] | npt.NDArray[np.object_],
        shapes: npt.ArrayLike,
        meta: Mapping[str, Any],
        sync_seconds: float = 2.0,
        batch: int = 1,
    ) -> None:
        """
        Args:
            folder: ``fold<k>/pred/<weights>-<tta>``; made if need be.
            split: ``oof`` or ``test``.
            ids: (N,) texts, each once.
            shapes: (N, 3) channels, height and width of each image's probabilities.
            meta: what the codes are made with, JSON throughout: hash of the weights, TTA, sizing, data, …
            sync_seconds: how much work a kill may cost.
            batch: images that are predicted together. A resumed start goes on at the first image of one, because
                the last bits of a prediction may depend on the images beside it.
        """
        self.folder, self.split = Path(folder), split
        self.ids = [str(image_id) for image_id in ids]
        self.shapes = np.asarray(shapes, np.int64).reshape(-1, 3)
        if len(set(self.ids)) != len(self.ids) or len(self.ids) != len(self.shapes):
            raise ValueError(f"{len(self.shapes)} shapes for {len(set(self.ids))} different ids of {len(self.ids)}")
        self.offsets = _offsets(self.shapes)
        self.meta = _plain(meta)
        self.bytes_needed = int(self.offsets[-1]) * 2
        self.count = 0
        self._sync_seconds, self._batch = sync_seconds, batch
        self._part = self.folder / f"{split}.u16.part"
        self._progress = self.folder / f"{split}.part.json"
        identity = json.dumps([self.meta, self.ids, self.shapes.tolist()], sort_keys=True)
        self._identity = hashlib.sha256(identity.encode()).hexdigest()
        self._lock = FoldLock(self.folder / f"{split}.lock", f"predicting {split}")
        self._file: io.FileIO | None = None

    def __enter__(self) -> "StoreWriter":
        self._lock.__enter__()
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        self.count = self._whole_images()
        done = int(self.offsets[self.count]) * 2
        here = self._part.stat().st_size if self._part.exists() else 0
        free = shutil.disk_usage(self.folder).free
        if free < self.bytes_needed - max(here, done):
            raise SegfoldError(
                f"{self._part} needs {size_text(self.bytes_needed - done)}, the disk has {size_text(free)}; "
                "free some space and run again"
            )
        with disk_errors(self._part):
            self._file = io.FileIO(os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+")
            self._file.truncate(done)
            # Written before the first image, so that a foreign part never passes for ours.
            self._sync()

    def _whole_images(self) -> int:
        if not self._part.is_file():
            return 0
        try:
            progress = read_json(self._progress)
            if progress["identity"] != self._identity:
                return 0
            recorded = int(progress["images"])
        except (SegfoldError, KeyError, TypeError, ValueError):
            return 0
        # A part that is shorter than its record (a lost disk cache) counts for what it holds.
        held = int(np.searchsorted(self.offsets, self._part.stat().st_size // 2, side="right")) - 1
        whole = max(0, min(recorded, held, len(self.ids)))
        return whole if whole == len(self.ids) else whole - whole % self._batch

    def append(self, image_id: str, probability: npt.NDArray[Any]) -> None:
        """Adds the next image.

        Args:
            image_id: must be ``ids[count]``; ids travel with arrays.
            probability: C×H×W, floats 0..1, or uint16 codes as they are.

        Raises:
            SegfoldError: the disk is full (what was written is kept for the next start), or a probability is
                not a number.
        """
        if self._file is None:
            raise ValueError("the writer is closed")
        if self.count == len(self.ids) or image_id != self.ids[self.count]:
            raise ValueError(f"image {image_id} is not the next one of {self._part}")
        if probability.shape != tuple(self.shapes[self.count]):
            raise ValueError(f"{image_id}: shape {probability.shape}, announced as {tuple(self.shapes[self.count])}")
        try:
            codes = probability if probability.dtype == np.uint16 else to_codes(probability)
        except ValueError as error:
            raise SegfoldError(f"image {image_id}: {error}; the weights are broken, train the fold again") from None
        start = int(self.offsets[self.count]) * 2
        with disk_errors(self._part):
            self._file.seek(start)  # over the rest of a write that failed
            write_all(self._file, np.ascontiguousarray(codes, "<u2").tobytes())
        fault("prediction")
        self.count += 1
        if time.monotonic() - self._synced >= self._sync_seconds:
            self._sync()

    def _sync(self) -> None:
        assert self._file is not None
        with disk_errors(self._part):
            os.fsync(self._file.fileno())
        write_json(self._progress, {"identity": self._identity, "images": self.count})
        self._synced = time.monotonic()

    def finish(self) -> ProbabilityStore:
        """Puts the store in place of any older one and opens it."""
        if self._file is None or self.count != len(self.ids):
            raise ValueError(f"{self.count} of {len(self.ids)} images written")
        self._sync()
        path = self.folder / f"{self.split}.u16"
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(_COLUMNS)
        rows.writerows(
            [image_id, offset, *shape]
            for image_id, offset, shape in zip(self.ids, self.offsets.tolist(), self.shapes.tolist())
        )
        table = text.getvalue().encode()
        entry = {"meta": self.meta, "table": hashlib.sha256(table).hexdigest(), "bytes": self.bytes_needed}
        # The old entry goes first and the new one comes last: an entry never vouches for codes of another.
        self._write_entry(None)
        with disk_errors(path):
            self._part.replace(path)
        with write_atomic(self.folder / f"{self.split}.csv") as file:
            file.write(table)
        self._write_entry(entry)
        self._progress.unlink(missing_ok=True)
        self._file.close()
        self._file = None
        store = open_store(self.folder, self.split, self.meta)
        assert store is not None
        return store

    def _write_entry(self, entry: dict[str, Any] | None) -> None:
        # meta.json is shared with the other split, which another process may be finishing.
        with FoldLock(self.folder / "meta.lock", "finishing a prediction here", wait=True):
            entries = _entries(self.folder)
            if entry is None and self.split not in entries:
                return
            entries.pop(self.split, None)
            write_json(self.folder / "meta.json", entries | ({self.split: entry} if entry else {}))

    def close(self) -> None:
        """Leaves what is written for the next start, and lets others write."""
        if self._file is not None:
            with contextlib.suppress(SegfoldError, OSError):
                self._sync()
            self._file.close()
            self._file = None
        self._lock.__exit__()
