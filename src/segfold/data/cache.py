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
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from segfold.competition import Competition
from segfold.errors import SegfoldError
from segfold.layouts import rle
from segfold.layouts.decode import image_of, map_files, mask_of
from segfold.layouts.ids import entries_by_id, file_of
from segfold.layouts.kinds import Kind, common_kind, convert_file, kind_of
from segfold.layouts.table import read_table, shorten
from segfold.locks import alone_in

VERSION = 2  # of the files' layout and of what is taken for a sound image; raise it when either changes


@dataclass(frozen=True)
class Source:
    """The files that a split is made of. ``masks`` is a folder, or a table of RLEs, or None (a test set)."""

    competition: Competition
    ids: tuple[str, ...]
    images: Path
    masks: Path | None
    key: str

    @property
    def masks_are_files(self) -> bool:
        return self.masks is not None and self.masks.is_dir()


def find_source(competition: Competition, split: str, root: Path) -> Source:
    """Lists a split's files in the data folder ``root``.

    Raises:
        SegfoldError: a folder is missing or empty, or images have no mask file.
    """
    train = split == "train"
    images = root / (competition.train_images if train else competition.test_images)
    listing = list_files(images, competition.image_suffix)
    if not listing:
        raise SegfoldError(f"no {competition.image_suffix} images in {images}: import the data anew with `make data`")
    masks: Path | None = None
    states: list[Any] = [[VERSION, competition.rle_order, competition.image_suffix, competition.mask_suffix]]
    states.append([competition.exif, competition.white])
    if len((task := competition.task).classes) > 1:  # of one class all tasks have the same masks
        states.append([task.name, task.classes, task.background, competition.void])
    states.append(sorted(listing.items()))
    if train:
        masks = mask_source(competition, root)
        if masks.is_dir():
            files = list_files(masks, competition.mask_suffix)
            missing = [f"{name}{competition.mask_suffix}" for name in sorted(listing) if name not in files]
            if missing:
                raise SegfoldError(f"no mask in {masks} for {shorten(missing)}: every train image needs one")
            states.append(sorted((name, state) for name, state in files.items() if name in listing))
            states.append([competition.mask_threshold, competition.mask_palette])
        elif masks.is_file():
            status = masks.stat()
            states.append([competition.id_column, competition.mask_column, status.st_size, status.st_mtime_ns])
    key = hashlib.sha256(json.dumps(states).encode()).hexdigest()[:16]
    return Source(competition, tuple(sorted(listing)), images, masks, key)


def mask_source(competition: Competition, root: Path) -> Path:
    """The folder of train masks, or the train table where there is no such folder."""
    if competition.train_masks is not None and (root / competition.train_masks).is_dir():
        return root / competition.train_masks
    return root / competition.train_table


def list_files(folder: Path, suffix: str) -> dict[str, tuple[int, int]]:
    """Ids of a folder's files with their sizes and times. Errors as ``entries_by_id``."""
    states = {name: entry.stat() for name, entry in entries_by_id(folder, suffix).items()}
    return {name: (state.st_size, state.st_mtime_ns) for name, state in states.items()}


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


def _build(source: Source, folder: Path) -> dict[str, Any]:
    texts = _texts(source)
    task = source.competition.task

    def decode(name: str) -> tuple[np.ndarray, np.ndarray | None, Kind]:
        image = image_of(source.competition, file_of(source.images, name, source.competition.image_suffix))
        return image, _mask(source, name, texts, (image.shape[0], image.shape[1])), kind_of(image)

    def attempt(name: str) -> tuple[np.ndarray, np.ndarray | None, Kind] | SegfoldError:
        try:
            return decode(name)
        except SegfoldError as error:
            return error

    shapes: list[tuple[int, ...]] = []
    areas: list[int] = []  # image after image, of each class
    foreground: list[int] = []
    constant: list[bool] = []
    problems: list[str] = []
    kinds: dict[str, Kind] = {}
    hashes = {"images.bin": hashlib.sha256(), "masks.bin": hashlib.sha256()}
    with (folder / "images.bin").open("wb") as images, (folder / "masks.bin").open("wb") as masks:
        for name, result in zip(source.ids, map_files(attempt, source.ids)):
            if isinstance(result, SegfoldError):
                problems.append(str(result))
                continue
            image, mask, kinds[name] = result
            shapes.append(image.shape)
            constant.append(bool((image == image[0, 0]).all()))
            for handle, array in ((images, image), (masks, mask)):
                if array is not None:
                    _write(handle, array, hashes)
            if mask is not None:
                areas.extend(task.areas(mask).tolist())
                foreground.append(task.foreground(mask))
        for handle in (images, masks):
            handle.flush()
            os.fsync(handle.fileno())
    common = common_kind(kinds, source.competition.white) if kinds else None
    if common is not None:
        suffix = source.competition.image_suffix
        problems += [
            f"{source.images / f'{name}{suffix}'} is {reason}: expected one kind"
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
        "areas": areas if source.masks else None,
        "constant": constant,
        "notes": common.notes,
        "fingerprint": whole.hexdigest(),
        "files": {name: (folder / name).stat().st_size for name in hashes},
    }
    if source.masks and len(task.classes) > 1:
        index["foreground"] = foreground
    (folder / "index.json").write_text(json.dumps(index))
    return index


def _write(handle: IO[bytes], array: np.ndarray, hashes: dict[str, Any]) -> None:
    data = np.ascontiguousarray(array).data
    handle.write(data)
    hashes[Path(handle.name).name].update(data)


def _texts(source: Source) -> dict[str, str]:
    """The RLE of each id, where masks come from the train table."""
    if source.masks is None or source.masks_are_files:
        return {}
    competition = source.competition
    table = read_table(source.masks, [competition.id_column, competition.mask_column])
    texts = dict(zip(table[competition.id_column], table[competition.mask_column]))
    missing = [name for name in source.ids if name not in texts]
    if missing:
        raise SegfoldError(
            f"no mask in {source.masks} for image {shorten(missing)}: every train image needs a line there, "
            f"or a file in {competition.train_masks}"
        )
    return texts


def _mask(source: Source, name: str, texts: dict[str, str], shape: tuple[int, int]) -> np.ndarray | None:
    if source.masks is None:
        return None
    if not source.masks_are_files:
        return decode_text(texts[name], shape, source.competition, f"{source.masks}: {name}")
    path = file_of(source.masks, name, source.competition.mask_suffix)
    mask = mask_of(source.competition, path)
    if mask.shape != shape:
        raise SegfoldError(f"{path} is {size(mask.shape)}, its image is {size(shape)}: expected the same size")
    return mask


def decode_text(text: str, shape: tuple[int, int], competition: Competition, where: str) -> np.ndarray:
    """An RLE's mask; a bad one is an error that says ``where`` it stands."""
    try:
        return rle.decode(text, shape, competition.rle_order)
    except rle.RleError as error:
        raise SegfoldError(f"{where}: {error}") from error


def size(shape: tuple[int, ...]) -> str:
    """``height×width``, for messages."""
    return f"{shape[0]}×{shape[1]}"
