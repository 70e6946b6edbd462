"""Writing a probability store, so that a kill at any moment costs seconds and an older store stays until the end."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.disk import disk_errors, size_text, write_all
from segfold.errors import SegfoldError
from segfold.faults import fault
from segfold.files import read_json, write_atomic, write_json
from segfold.locks import Lock, alone_in
from segfold.store.codes import to_codes
from segfold.store.cost import Cost, write_cost
from segfold.store.reader import ProbabilityStore, image_path, open_store, plain_meta, read_entries, sampled_digest
from segfold.store.table import table_offsets, table_text

_VALUES = 1 << 19
"""Probabilities that are converted at once: 4 MB in the double precision that this takes."""


class StoreWriter:
    """Writes a store image by image; killed and started again with the same arguments, it goes on.

    A context manager. ``append`` the images ``ids[writer.count:]`` in that order, or ``append_rows`` strips of each from
    its top to its bottom and ``close_image``; then ``finish``. Until then any older store of the split stays as it is,
    and what is written waits in ``<split>.u16.part``.

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
        starts: npt.ArrayLike | int = 1,
    ) -> None:
        """
        Args:
            folder: ``fold<k>/pred/<weights>-<tta>``; made if need be.
            split: ``oof`` or ``test``.
            ids: (N,) texts, each once.
            shapes: (N, 3) channels, height and width of each image's probabilities.
            meta: what the codes are made with, JSON throughout: hash of the weights, TTA, sizing, data, …
            sync_seconds: how much work a kill may cost.
            starts: places in ``ids``, increasing from 0, at which images begin that are predicted together; a number: every
                so many images. A resumed start goes on at one of them, because the last bits of a prediction may depend
                on the images beside it.
        """
        self.folder, self.split = Path(folder), split
        self.ids = [str(image_id) for image_id in ids]
        self.shapes = np.asarray(shapes, np.int64).reshape(-1, 3)
        if len(set(self.ids)) != len(self.ids) or len(self.ids) != len(self.shapes):
            raise ValueError(f"{len(self.shapes)} shapes for {len(set(self.ids))} different ids of {len(self.ids)}")
        self.offsets = table_offsets(self.shapes)
        self.meta = plain_meta(meta)
        self.bytes_needed = int(self.offsets[-1]) * 2
        self.count = 0
        self._rows = 0  # of the image that is being written
        self._sync_seconds = sync_seconds
        self._starts = np.arange(0, len(self.ids), starts) if isinstance(starts, int) else np.asarray(starts, np.int64)
        if len(self.ids) and (self._starts[:1].tolist() != [0] or (np.diff(self._starts) <= 0).any()):
            raise ValueError(f"places where images begin that are predicted together: {self._starts}")
        self._part = self.folder / f"{split}.u16.part"
        self._image_part = self.folder / f"{split}.image.f32.part"
        self._progress = self.folder / f"{split}.part.json"
        self._image_logits: list[npt.NDArray[np.float32]] = []
        identity = json.dumps([self.meta, self.ids, self.shapes.tolist()], sort_keys=True)
        self._identity = hashlib.sha256(identity.encode()).hexdigest()
        self._lock = Lock(self.folder / f"{split}.lock", f"predicting {split}")
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
        if whole < len(self.ids):
            whole = int(self._starts[np.searchsorted(self._starts, whole, side="right") - 1])
        return whole if self._take_image_logits(progress, recorded, whole) else 0

    def _take_image_logits(self, progress: Mapping[str, Any], recorded: int, whole: int) -> bool:
        """Goes on from the image-level logits of the part. False where they are not those that were recorded."""
        if "views" not in progress:
            return True
        try:
            # It is written before its record, so it may hold more images.
            data = self._image_part.read_bytes()[: 4 * recorded * int(progress["views"])]
        except (OSError, TypeError, ValueError):
            return False
        if hashlib.sha256(data).hexdigest() != progress.get("image"):
            return False
        self._image_logits = list(np.frombuffer(data, "<f4").reshape(recorded, -1)[:whole])
        return True

    def append(self, image_id: str, probability: npt.NDArray[Any], image_logits: npt.ArrayLike | None = None) -> None:
        """Adds the next image, all of it; see ``append_rows`` and ``close_image``."""
        self._next(image_id)
        if probability.shape != tuple(self.shapes[self.count]):
            raise ValueError(f"{image_id}: shape {probability.shape}, announced as {tuple(self.shapes[self.count])}")
        self.append_rows(image_id, 0, probability)
        self.close_image(image_id, image_logits)

    def append_rows(self, image_id: str, top: int, planes: npt.NDArray[Any]) -> None:
        """Adds the next rows of the next image.

        Args:
            image_id: must be ``ids[count]``; ids travel with arrays.
            top: the first of the rows: 0, or where the rows before ended.
            planes: C×h×W, floats 0..1, or uint16 codes as they are.

        Raises:
            SegfoldError: the disk is full (whole images are kept for the next start), or a probability is not a number.
        """
        file = self._next(image_id)
        channels, height, width = self.shapes[self.count]
        if planes.ndim != 3 or planes.shape[::2] != (channels, width) or top + planes.shape[1] > height:
            announced = f"announced as {tuple(self.shapes[self.count])}"
            raise ValueError(f"{image_id}: shape {planes.shape} of the rows from {top}, {announced}")
        if top != self._rows:
            raise ValueError(f"{image_id}: rows from {top}, expected from {self._rows}")
        with disk_errors(self._part):
            for place, values in self._pieces(top, planes):
                try:
                    codes = values if values.dtype == np.uint16 else to_codes(values)
                except ValueError as error:
                    raise SegfoldError(
                        f"image {image_id}: {error}; the weights are broken, train the fold again"
                    ) from None
                file.seek(place * 2)  # over the rest of a write that failed
                write_all(file, np.ascontiguousarray(codes, "<u2").tobytes())
        self._rows += planes.shape[1]

    def _pieces(self, top: int, planes: npt.NDArray[Any]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Parts of a strip that lie in one piece in the file, and the place of each in codes."""
        start, (_, height, width) = int(self.offsets[self.count]), self.shapes[self.count].tolist()
        if planes.shape[1] == height and planes.size <= _VALUES:
            yield start, planes
            return
        step = max(_VALUES // width, 1)
        for channel, plane in enumerate(planes):
            for row in range(0, len(plane), step):
                yield start + (channel * height + top + row) * width, plane[row : row + step]

    def close_image(self, image_id: str, image_logits: npt.ArrayLike | None = None) -> None:
        """Ends the next image, of which all rows are there.

        Args:
            image_logits: (T,) image-level logits, as many of every image; None of a network that gives none.
        """
        self._next(image_id)
        if self._rows != self.shapes[self.count][1]:
            raise ValueError(f"{image_id}: {self._rows} rows of {self.shapes[self.count][1]} written")
        if self.count and (image_logits is None) != (not self._image_logits):
            raise ValueError(f"{image_id}: image-level logits of every image, or of none")
        fault("prediction")
        if image_logits is not None:
            self._image_logits.append(np.asarray(image_logits, np.float32).reshape(-1))
        self.count, self._rows = self.count + 1, 0
        if time.monotonic() - self._synced >= self._sync_seconds:
            self._sync()

    def _next(self, image_id: str) -> io.FileIO:
        """The file, into which this image comes next."""
        if self._file is None:
            raise ValueError("the writer is closed")
        if self.count == len(self.ids) or image_id != self.ids[self.count]:
            raise ValueError(f"image {image_id} is not the next one of {self._part}")
        return self._file

    def _sync(self) -> None:
        assert self._file is not None
        with disk_errors(self._part):
            os.fsync(self._file.fileno())
        progress: dict[str, Any] = {"identity": self._identity, "images": self.count}
        if self._image_logits:
            progress["views"] = len(self._image_logits[0])
            progress["image"] = self._write_image_logits(self._image_part)
        write_json(self._progress, progress)
        self._synced = time.monotonic()

    def _write_image_logits(self, path: Path) -> str:
        data = np.stack(self._image_logits).astype("<f4").tobytes()
        with write_atomic(path) as file:
            file.write(data)
        return hashlib.sha256(data).hexdigest()

    def finish(self, cost: Cost | None = None) -> ProbabilityStore:
        """Puts the store in place of any older one and opens it.

        Args:
            cost: what predicting an image took, where that was measured.
        """
        if self._file is None or self.count != len(self.ids):
            raise ValueError(f"{self.count} of {len(self.ids)} images written")
        self._sync()
        # From here on a stop must not record progress once more: the part may be gone.
        part, self._file = self._file, None
        part.close()
        path = self.folder / f"{self.split}.u16"
        table = table_text(self.ids, self.shapes, self.offsets).encode()
        entry: dict[str, Any] = {
            "meta": self.meta,
            "table": hashlib.sha256(table).hexdigest(),
            "bytes": self.bytes_needed,
            "sample": sampled_digest(self._part),
        }
        # The old entry goes first and the new one comes last: an entry never vouches for codes of another.
        self._write_entry(None)
        with disk_errors(path):
            self._part.replace(path)
        with write_atomic(self.folder / f"{self.split}.csv") as file:
            file.write(table)
        image = image_path(self.folder, self.split)
        if self._image_logits:
            entry |= {"images": len(self.ids), "image": self._write_image_logits(image)}
        else:
            image.unlink(missing_ok=True)
        write_cost(self.folder, self.split, cost)
        # Before the entry, for what is finished is not written again, and so not tidied.
        self._progress.unlink(missing_ok=True)
        self._image_part.unlink(missing_ok=True)
        self._write_entry(entry)
        store = open_store(self.folder, self.split, self.meta)
        assert store is not None
        return store

    def _write_entry(self, entry: dict[str, Any] | None) -> None:
        # meta.json is shared with the other split, which another process may be finishing.
        with alone_in(self.folder):
            entries = read_entries(self.folder)
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
