"""The proposals of a set's images: found once, kept beside the pixels that they were found in."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from segfold.data.edge_boxes import Found, ProposalSettings, edge_boxes
from segfold.data.images import ImageSet
from segfold.files import write_atomic
from segfold.layouts.ahead import map_files
from segfold.locks import alone_in

METHOD = 1
"""Of ``edge_boxes``: with another number what was kept is found anew, and what was predicted by it is predicted anew."""

_BLOCK = 16  # rows in a file: as many are lost, at most, when the process is killed


def _nothing(*_: object) -> None:
    pass


class Proposals:
    """Boxes that may hold an object, of each image of a set.

    They are kept in a folder ``proposals-<key>`` of the cache that the set's pixels lie in, some rows a file, each whole or
    absent, and go with that cache when the images change. A set whose pixels lie in no file, or in a folder that cannot
    be written, has them in memory. Any number of processes may use one folder at once.

    Args:
        images: whose images are searched.
        settings: how; what was found in another way is left alone.
        say: told when many are to be found.
        on_image: called after each row that ``prepare`` has seen to.
    """

    def __init__(
        self,
        images: ImageSet,
        settings: ProposalSettings,
        say: Callable[[str], None] = _nothing,
        on_image: Callable[[], None] = _nothing,
    ) -> None:
        self.images, self._settings, self._say, self._on_image = images, settings, say, on_image
        self._folder = _folder_of(images.images.path, settings)
        self._memory: dict[int, Found] = {}
        self._read: tuple[int, dict[int, Found]] = (-1, {})

    def of(self, row: int) -> Found:
        """Boxes and scores of an image; see ``edge_boxes``. Finds and keeps them where that has not been done.

        Raises:
            SegfoldError: see ``edge_boxes``; or the disk is full.
        """
        block = row // _BLOCK
        if self._read[0] != block or row not in self._read[1]:
            self._read = (block, self._kept(block))
        if row not in self._read[1]:
            self._keep(block, {row: self._find(row)})
            self._read = (block, self._kept(block))
        return self._read[1][row]

    def prepare(self, rows: Iterable[int]) -> None:
        """Finds what is not there yet of these rows' proposals, on a thread for each core.

        Another process that prepares the same set waits, and then finds them there.

        Raises:
            SegfoldError: see ``of``.
        """
        wanted = sorted({int(row) for row in rows})
        with self._alone():
            missing = [row for row in wanted if row not in self._there(row)]
            for _ in range(len(wanted) - len(missing)):
                self._on_image()
            if not missing:
                return
            self._say(
                f"finding proposals in {len(missing)} images" + (f", kept in {self._folder}" if self._folder else "")
            )
            found = zip(missing, map_files(self._find, missing))
            for block, group in groupby(found, lambda pair: pair[0] // _BLOCK):
                self._keep(block, dict(self._told(group)))

    def _told(self, found: Iterable[tuple[int, Found]]) -> Iterator[tuple[int, Found]]:
        for pair in found:
            yield pair
            self._on_image()

    def _there(self, row: int) -> dict[int, Found]:
        """What is kept of a row's block, read once for rows in their order."""
        block = row // _BLOCK
        if self._read[0] != block:
            self._read = (block, self._kept(block))
        return self._read[1]

    def _find(self, row: int) -> Found:
        return edge_boxes(self.images.images.reader(row), self._settings)

    def _alone(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext() if self._folder is None else alone_in(self._folder)

    def _kept(self, block: int) -> dict[int, Found]:
        """What is kept of a block's rows; nothing of a file that is damaged."""
        first = block * _BLOCK
        found = {row: self._memory[row] for row in range(first, first + _BLOCK) if row in self._memory}
        if self._folder is None:
            return found
        try:
            with np.load(_file_of(self._folder, block), allow_pickle=False) as file:
                rows, ends = file["rows"].tolist(), np.cumsum(file["counts"])[:-1]
                boxes, scores = np.split(file["boxes"], ends), np.split(file["scores"], ends)
        except (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile):
            return found
        return dict(zip(rows, zip(boxes, scores)))

    def _keep(self, block: int, found: dict[int, Found]) -> None:
        if self._folder is None:
            self._memory.update(found)
            return
        # Two processes that keep one block at the same time may lose rows of each other, which are found anew.
        kept = {**self._kept(block), **found}
        boxes, scores = zip(*kept.values())
        with write_atomic(_file_of(self._folder, block)) as file:
            np.savez(
                file,
                rows=np.array(list(kept), np.int64),
                counts=np.array([len(each) for each in boxes], np.int64),
                boxes=np.concatenate(boxes),
                scores=np.concatenate(scores),
            )
        self._read = (-1, {})

    def __getstate__(self) -> dict[str, Any]:
        # Who is told of progress lives in one process.
        return {**self.__dict__, "_say": _nothing, "_on_image": _nothing}


def _folder_of(pixels: Path | None, settings: ProposalSettings) -> Path | None:
    """Where proposals are kept; None where they cannot be."""
    if pixels is None:
        return None
    key = hashlib.sha256(json.dumps([METHOD, asdict(settings)]).encode()).hexdigest()[:8]
    folder = pixels.parent / f"proposals-{key}"
    writable = os.access(folder if folder.exists() else folder.parent, os.W_OK)
    return folder if writable else None


def _file_of(folder: Path, block: int) -> Path:
    return folder / f"{block:06d}.npz"
