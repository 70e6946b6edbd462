"""The decoded pixels of a split on disk: built once, rebuilt when the source changes, read in a moment.

A cache is a folder ``cache/<split>-<key>`` of flat pixel files and ``index.json``; the key is a hash of what
the pixels were made of (names, sizes and times of files). It is built under another name and renamed when
whole, so what exists is whole.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from segfold.data.source import Source, masks_of, table_rows
from segfold.errors import SegfoldError
from segfold.layouts.ahead import map_files
from segfold.layouts.decode import image_of
from segfold.layouts.kinds import Kind, Seen, common_kind, convert_file
from segfold.layouts.large import LargeImage, LargeSize, large_image, large_notes, large_size, read_bands
from segfold.layouts.records import Record
from segfold.locks import alone_in

CACHE_FOLDER = "SEGFOLD_CACHE"
"""The environment variable that names a folder for all caches."""


def cache_folder(root: Path) -> Path:
    """Where the decoded pixels of the data folder ``root`` are kept: in it, or below ``SEGFOLD_CACHE`` where that is set.

    Data may lie on a disk that cannot be written, or that is slower than another one.
    """
    elsewhere = os.environ.get(CACHE_FOLDER)
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
    """An image, which has been seen if it is an array, and its mask."""

    image: np.ndarray | LargeImage
    shape: tuple[int, int, int]
    seen: Seen
    mask: np.ndarray | None
    instances: np.ndarray | None
    areas: list[int]
    foreground: int


def _build(source: Source, folder: Path) -> dict[str, Any]:
    competition, task = source.competition, source.competition.task
    rows = table_rows(source)

    def decode(record: Record) -> _Decoded:
        paths = [match.path for match in record.images]
        image = large_image(competition, paths) or image_of(competition, paths)
        shape = height, width, _ = image.shape
        seen = Seen()
        if isinstance(image, np.ndarray):
            seen.add(image)
        if source.split == "test":
            return _Decoded(image, shape, seen, None, None, [], 0)
        mask, instances = masks_of(source, record, rows, (height, width))
        areas, foreground = task.areas(mask).tolist(), task.foreground(mask)
        return _Decoded(image, shape, seen, mask, instances, areas, foreground)

    def attempt(record: Record) -> _Decoded | SegfoldError:
        try:
            return decode(record)
        except SegfoldError as error:
            return error

    shapes: list[tuple[int, int, int]] = []
    areas: list[int] = []  # image after image, of each class
    foreground: list[int] = []
    constant: list[bool] = []
    problems: list[str] = []
    kinds: dict[str, Kind] = {}
    large: list[LargeSize] = []
    in_place: dict[str, LargeImage] = {}
    names = ["images.bin", "masks.bin", *(["instances.bin"] if source.listing.instances else [])]
    hashes = {name: hashlib.sha256() for name in names}
    with ExitStack() as stack:
        files = [stack.enter_context((folder / name).open("wb")) for name in names]
        for name, found in zip(source.ids, map_files(attempt, source.listing.records.values())):
            if isinstance(found, SegfoldError):
                problems.append(str(found))
                continue
            if isinstance(found.image, LargeImage) and found.image.in_place:
                in_place[name] = found.image
            try:
                _write_image(None if name in in_place else files[0], found, hashes["images.bin"])
            except SegfoldError as error:
                problems.append(str(error))
                continue
            if (size := large_size(found.image)) is not None:
                large.append(size)
            kinds[name] = found.seen.kind
            shapes.append(found.shape)
            constant.append(found.seen.constant)
            areas.extend(found.areas)
            foreground.append(found.foreground)
            for handle, array in zip(files[1:], (found.mask, found.instances)):
                if array is not None:
                    _write(handle, array, hashes[Path(handle.name).name])
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
        copied = [shape for name, shape in zip(source.ids, shapes) if name not in in_place]
        convert_file(folder / "images.bin", copied, common)
        shapes = [(height, width, common.channels) for height, width, _ in shapes]
        in_place = {name: image.converted(common.channels) for name, image in in_place.items()}
        hashes["images.bin"] = _hash_of(source.ids, shapes, in_place, folder / "images.bin", common.dtype)
    whole = hashlib.sha256(json.dumps([source.ids, shapes, common.dtype]).encode())
    for part in hashes.values():
        whole.update(part.digest())
    index: dict[str, Any] = {
        "ids": source.ids,
        "shapes": shapes,
        "dtype": common.dtype,
        "areas": areas if source.split == "train" else None,
        "constant": constant,
        "notes": [*common.notes, *large_notes(large)],
        "fingerprint": whole.hexdigest(),
        "files": {name: (folder / name).stat().st_size for name in hashes},
    }
    if source.split == "train" and len(task.classes) > 1:
        index["foreground"] = foreground
    if in_place:
        index["in_place"] = {name: image.path.relative_to(source.root).as_posix() for name, image in in_place.items()}
    (folder / "index.json").write_text(json.dumps(index))
    return index


def _write_image(handle: IO[bytes] | None, found: _Decoded, digest: Any) -> None:
    """An image from top to bottom; a large one, which is seen on the way, never as a whole."""
    if isinstance(found.image, np.ndarray):
        _write(handle, found.image, digest)
        return
    for band in read_bands(found.image):
        found.seen.add(band)
        _write(handle, band, digest)


def _write(handle: IO[bytes] | None, array: np.ndarray, digest: Any) -> None:
    data = np.ascontiguousarray(array).data
    if handle is not None:
        handle.write(data)
    digest.update(data)


def _hash_of(
    ids: Sequence[str],
    shapes: Sequence[tuple[int, int, int]],
    in_place: Mapping[str, LargeImage],
    path: Path,
    dtype: str,
) -> Any:
    """Of the pixels of all images in their order, those in a flat file and those in place."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for name, shape in zip(ids, shapes):
            if name in in_place:
                for band in read_bands(in_place[name]):
                    _write(None, band, digest)
                continue
            left = int(np.prod(shape)) * np.dtype(dtype).itemsize
            while left > 0:
                data = file.read(min(left, 1 << 24))
                digest.update(data)
                left -= len(data) or left
    return digest
