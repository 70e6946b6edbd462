"""The decoded pixels of a split on disk: built once, rebuilt when the source changes, read in a moment.

A cache is a folder ``cache/<split>-<key>`` of flat pixel files and ``index.json``; the key is a hash of what
the pixels were made of (names, sizes and times of files). It is built under another name and renamed when
whole, so what exists is whole.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from segfold.data.source import Source, masks_of, table_rows
from segfold.errors import SegfoldError
from segfold.layouts.ahead import map_files
from segfold.layouts.decode import image_of
from segfold.layouts.kinds import Kind, common_kind, convert_file, kind_of
from segfold.layouts.records import Record
from segfold.locks import alone_in


def cache_folder(root: Path) -> Path:
    """Where the decoded pixels of the data folder ``root`` are kept: in it, or below ``SEGFOLD_CACHE`` where that is set.

    Data may lie on a disk that cannot be written, or that is slower than another one.
    """
    elsewhere = os.environ.get("SEGFOLD_CACHE")
    if not elsewhere:
        return root / "cache"
    place = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]
    return Path(elsewhere).expanduser() / f"{root.name}-{place}"


def cached(
    source: Source, split: str, folder: Path, say: Callable[[str], None] = lambda text: None
) -> tuple[Path, dict[str, Any]]:
    """Returns the split's cache and its index, and builds them first where they are not there.

    Args:
        say: told when images are decoded, and what was noticed in them.

    Raises:
        SegfoldError: files that cannot be decoded or do not agree (all of them are counted, the first are
            named), or a full disk.
    """
    target = folder / f"{split}-{source.key}"
    index = _read_index(target)
    if index is not None:
        return target, index
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone_in(folder) as alone:
            index = _read_index(target)  # another process may have built it while this one waited
            if index is None:
                say(f"decoding {len(source.ids)} {split} images into {target}")
                index = _replace(source, folder, target)
                for note in index["notes"]:
                    say(f"{split} images: {note}")
                _clean(folder, split, target, alone)
    except OSError as error:
        raise SegfoldError(
            f"cannot write the image cache in {folder} ({error.strerror or error}): make room there, or set the "
            "environment variable SEGFOLD_CACHE to a folder that can be written"
        ) from error
    return target, index


def decoded_shapes(source: Source, split: str, folder: Path) -> tuple[list[str], np.ndarray] | None:
    """Ids and N×3 shapes of a split that is in the cache already; None of one that is not."""
    index = _read_index(folder / f"{split}-{source.key}")
    return None if index is None else (index["ids"], np.array(index["shapes"], np.int64).reshape(-1, 3))


def _read_index(target: Path) -> dict[str, Any] | None:
    try:
        index = json.loads((target / "index.json").read_bytes())
        sizes = {name: (target / name).stat().st_size for name in index["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return index if sizes == index["files"] else None


def _replace(source: Source, folder: Path, target: Path) -> dict[str, Any]:
    part = folder / f".{target.name}-{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        index = _build(source, part)
        shutil.rmtree(target, ignore_errors=True)  # there only when its index is damaged
        try:
            part.rename(target)
        except OSError:
            if _read_index(target) is None:
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return index


def _clean(folder: Path, split: str, target: Path, alone: bool) -> None:
    """Removes a split's earlier caches (maps of them stay valid) and what a killed builder left."""
    for old in [*folder.glob(f"{split}-*"), *(folder.glob(f".{split}-*.part") if alone else ())]:
        if old != target:
            shutil.rmtree(old, ignore_errors=True)


class _Decoded(NamedTuple):
    image: np.ndarray
    mask: np.ndarray | None
    instances: np.ndarray | None
    kind: Kind
    areas: list[int]
    foreground: int


def _build(source: Source, folder: Path) -> dict[str, Any]:
    competition, task = source.competition, source.competition.task
    rows = table_rows(source)

    def decode(record: Record) -> _Decoded:
        image = image_of(competition, [match.path for match in record.images])
        kind = kind_of(image)
        if source.split == "test":
            return _Decoded(image, None, None, kind, [], 0)
        mask, instances = masks_of(source, record, rows, (image.shape[0], image.shape[1]))
        return _Decoded(image, mask, instances, kind, task.areas(mask).tolist(), task.foreground(mask))

    def attempt(record: Record) -> _Decoded | SegfoldError:
        try:
            return decode(record)
        except SegfoldError as error:
            return error

    shapes: list[tuple[int, ...]] = []
    areas: list[int] = []  # image after image, of each class
    foreground: list[int] = []
    constant: list[bool] = []
    problems: list[str] = []
    kinds: dict[str, Kind] = {}
    names = ["images.bin", "masks.bin", *(["instances.bin"] if source.listing.instances else [])]
    hashes = {name: hashlib.sha256() for name in names}
    with ExitStack() as stack:
        files = [stack.enter_context((folder / name).open("wb")) for name in names]
        for name, found in zip(source.ids, map_files(attempt, source.listing.records.values())):
            if isinstance(found, SegfoldError):
                problems.append(str(found))
                continue
            kinds[name] = found.kind
            shapes.append(found.image.shape)
            constant.append(bool((found.image == found.image[0, 0]).all()))
            areas.extend(found.areas)
            foreground.append(found.foreground)
            for handle, array in zip(files, (found.image, found.mask, found.instances)):
                if array is not None:
                    _write(handle, array, hashes)
        for handle in files:
            handle.flush()
            os.fsync(handle.fileno())
    common = common_kind(kinds, source.competition.white) if kinds else None
    if common is not None:
        problems += [
            f"{source.listing.records[name].images[0].path} is {reason}: expected one kind"
            for name, reason in common.problems.items()
        ]
    if problems or common is None:
        raise SegfoldError(problems[0] if len(problems) == 1 else f"{len(problems)} files: {'; '.join(problems[:10])}")
    if any(shape[2] != common.channels for shape in shapes):
        shapes = convert_file(folder / "images.bin", shapes, common)
        with (folder / "images.bin").open("rb") as converted:
            hashes["images.bin"] = hashlib.file_digest(converted, "sha256")
    whole = hashlib.sha256(json.dumps([source.ids, shapes, common.dtype]).encode())
    for part in hashes.values():
        whole.update(part.digest())
    index = {
        "ids": source.ids,
        "shapes": shapes,
        "dtype": common.dtype,
        "areas": areas if source.split == "train" else None,
        "constant": constant,
        "notes": common.notes,
        "fingerprint": whole.hexdigest(),
        "files": {name: (folder / name).stat().st_size for name in hashes},
    }
    if source.split == "train" and len(task.classes) > 1:
        index["foreground"] = foreground
    (folder / "index.json").write_text(json.dumps(index))
    return index


def _write(handle: IO[bytes], array: np.ndarray, hashes: dict[str, Any]) -> None:
    data = np.ascontiguousarray(array).data
    handle.write(data)
    hashes[Path(handle.name).name].update(data)
