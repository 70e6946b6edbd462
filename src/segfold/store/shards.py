"""Shards: parts of a store that processes or machines predict apart, and how they are joined to the bytes of one.

A shard lies in ``shards/<split>-<i>of<n>`` beside the store that it will be a part of, and is a store of its own, whose
meta says beside everything else which shard of which list of images it is. Nothing else binds it to the folder, so it may
be copied there from another machine. Shards are joined once they hold a list's images all together, and then removed.
"""

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.errors import SegfoldError
from segfold.locks import Lock, alone_in
from segfold.observer import SILENT, Observer
from segfold.store.cost import Cost
from segfold.store.reader import ProbabilityStore, open_store
from segfold.store.writer import StoreWriter

_VALUES = 1 << 21
"""Codes of an image that are copied at once."""


@dataclass(frozen=True)
class Shard:
    """Share ``number``, from 1, of ``count``."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"shard {self}: expected one from 1 to {self.count}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def folder(self, place: Path, split: str) -> Path:
        """Where it lies beside a store in ``place``."""
        return _shards(place) / f"{split}-{self.number}of{self.count}"

    def meta(self, meta: Mapping[str, Any], listed: str) -> dict[str, Any]:
        """What its codes are made with: as the store's, and of which list they are a shard.

        Args:
            listed: see ``list_digest``.
        """
        return {**meta, "shard": str(self), "of": listed}


def shares(count: int, starts: npt.ArrayLike, pixels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """(count + 1,) the first image of each shard of a list, and the end; shards that are more than units hold nothing.

    Args:
        starts: (U,) the first image of each unit, which is in one shard as a whole.
        pixels: (N,) size of each image; every shard ends at the unit that is nearest to its share of their sum.
    """
    sizes = np.asarray(pixels, np.int64)
    ends = np.append(np.asarray(starts, np.int64), len(sizes))
    before, units = np.concatenate([[0], np.cumsum(sizes)])[ends], len(ends) - 1
    bounds = [0]
    for number in range(1, count + 1):
        least = min(bounds[-1] + 1, units)
        most = max(units - (count - number), least)
        nearest = int(np.abs(before * count - before[-1] * number).argmin())
        bounds.append(min(max(nearest, least), most))
    return ends[bounds]


def list_digest(ids: Iterable[str]) -> str:
    """Hash of a list of images, by which a shard knows whose it is."""
    return hashlib.sha256(json.dumps([str(image_id) for image_id in ids]).encode()).hexdigest()


def _shards(place: Path) -> Path:
    return place / "shards"


def held(place: Path) -> contextlib.AbstractContextManager[bool]:
    """Keeps others from beginning, joining or removing shards of the stores of a fold; they wait."""
    return alone_in(place.parent)


def join_shards(
    place: Path,
    split: str,
    ids: npt.NDArray[np.object_],
    meta: Mapping[str, Any],
    observer: Observer = SILENT,
) -> ProbabilityStore | None:
    """The store of a list of images from its shards, which are removed; None where they are not all there and finished.

    Killed and called again, it goes on. Of processes that call it at once, one joins and the others wait for it.

    Args:
        place: folder of the store.
        meta: what its codes must be made with.

    Raises:
        SegfoldError: no space for the joined store, or another process is writing it.
    """
    if not _shards(place).is_dir():
        return None
    with held(place):
        ready = open_store(place, split, meta)
        if ready is not None and np.array_equal(ready.ids, ids):
            _remove(place, split)
            return ready
        stores = _whole(place, split, ids, meta)
        if stores is None:
            return None
        images = [(store, row) for store in stores for row in range(len(store))]
        with StoreWriter(place, split, ids, np.concatenate([store.shapes for store in stores]), meta) as writer:
            for store, row in images[writer.count :]:
                _copy(store, row, writer)
                observer.predicting(f"joining {place} {split}", writer.count, len(ids))
            joined = writer.finish(Cost.joined(store.cost for store in stores))
        _remove(place, split)
        return joined


def _copy(store: ProbabilityStore, row: int, writer: StoreWriter) -> None:
    image_id, (channels, height, width) = store.ids[row], store.shapes[row].tolist()
    step = max(_VALUES // (channels * width), 1)
    for top in range(0, height, step):
        writer.append_rows(image_id, top, store.code_rows(row, top, min(top + step, height)))
    writer.close_image(image_id, None if store.image_logits is None else store.image_logits[row])


def _whole(
    place: Path, split: str, ids: npt.NDArray[np.object_], meta: Mapping[str, Any]
) -> list[ProbabilityStore] | None:
    """Finished shards of one count that hold the list together."""
    listed, by_count = list_digest(ids), dict[int, list[Shard]]()
    for shard, _ in _found(place, split):
        by_count.setdefault(shard.count, []).append(shard)
    for shards in by_count.values():
        opened = (open_store(shard.folder(place, split), split, shard.meta(meta, listed)) for shard in shards)
        stores = [store for store in opened if store is not None]
        if stores and np.array_equal(np.concatenate([store.ids for store in stores]), ids):
            return stores
    return None


def _found(place: Path, split: str) -> Iterator[tuple[Shard, Path]]:
    """The shards of a split that have a folder, finished or not, by count and number."""
    named = re.compile(re.escape(split) + "-([1-9][0-9]{0,8})of([1-9][0-9]{0,8})")
    with contextlib.suppress(OSError):
        matches = [(named.fullmatch(path.name), path) for path in _shards(place).iterdir()]
        numbers = [(int(match[2]), int(match[1]), path) for match, path in matches if match is not None]
        yield from ((Shard(number, count), path) for count, number, path in sorted(numbers) if number <= count)


def remove_shards(place: Path, split: str) -> None:
    """Removes the shards of a store that is whole, whatever they are of, but those that a process is predicting."""
    if _shards(place).is_dir():
        with held(place):
            _remove(place, split)


def _remove(place: Path, split: str) -> None:
    for _, folder in _found(place, split):
        with contextlib.suppress(SegfoldError), Lock(folder / f"{split}.lock"):
            shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        _shards(place).rmdir()
