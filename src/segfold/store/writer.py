"""Writing a probability store, so that a kill at any moment costs seconds and an older store stays until the end."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.disk import disk_errors, size_text, write_all
from segfold.errors import SegfoldError
from segfold.faults import fault
from segfold.files import read_json, write_atomic, write_json
from segfold.locks import Lock, alone_in
from segfold.store.reader import (
    ProbabilityStore,
    image_path,
    open_store,
    plain_meta,
    read_entries,
    sampled_digest,
    to_codes,
)
from segfold.store.table import table_offsets, table_text


class StoreWriter:
    """Writes a store image by image; killed and started again with the same arguments, it goes on.

    A context manager. ``append`` the images ``ids[writer.count:]`` in that order, then ``finish``. Until then any
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
        self.offsets = table_offsets(self.shapes)
        self.meta = plain_meta(meta)
        self.bytes_needed = int(self.offsets[-1]) * 2
        self.count = 0
        self._sync_seconds, self._batch = sync_seconds, batch
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
        whole = whole if whole == len(self.ids) else whole - whole % self._batch
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
        """Adds the next image.

        Args:
            image_id: must be ``ids[count]``; ids travel with arrays.
            probability: C×H×W, floats 0..1, or uint16 codes as they are.
            image_logits: (T,) image-level logits, as many of every image; None of a network that gives none.

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
        if self.count and (image_logits is None) != (not self._image_logits):
            raise ValueError(f"{image_id}: image-level logits of every image, or of none")
        start = int(self.offsets[self.count]) * 2
        with disk_errors(self._part):
            self._file.seek(start)  # over the rest of a write that failed
            write_all(self._file, np.ascontiguousarray(codes, "<u2").tobytes())
        fault("prediction")
        if image_logits is not None:
            self._image_logits.append(np.asarray(image_logits, np.float32).reshape(-1))
        self.count += 1
        if time.monotonic() - self._synced >= self._sync_seconds:
            self._sync()

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

    def finish(self) -> ProbabilityStore:
        """Puts the store in place of any older one and opens it."""
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
