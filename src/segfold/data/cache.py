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
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np

from segfold.competition import Competition
from segfold.errors import SegfoldError
from segfold.layouts.base import Split
from segfold.layouts.decode import image_of, map_files, palette_of
from segfold.layouts.kinds import Kind, common_kind, convert_file, kind_of
from segfold.layouts.masks import Masks, masks_of_files, masks_of_rows
from segfold.layouts.patterns import Match
from segfold.layouts.records import Listing, Record
from segfold.layouts.rows import Row, read_rows
from segfold.layouts.table import shorten
from segfold.locks import alone_in

VERSION = 2  # of the files' layout and of what is taken for a sound image; raise it when either changes


@dataclass(frozen=True)
class Source:
    """The files that a split is made of.

    Attributes:
        competition: whose split it is.
        root: the data folder.
        split: its name.
        listing: its images and their files.
        key: changes with what the cache is made of.
    """

    competition: Competition
    root: Path
    split: Split
    listing: Listing
    key: str

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.listing.records)

    @property
    def table(self) -> Path | None:
        """The table that the masks are read from; None where they are files, and of a test set."""
        file = self.competition.layout.table.file
        return None if self.split == "test" or self.listing.masks or file is None else self.root / file


def find_source(competition: Competition, split: Split, root: Path) -> Source:
    """Lists a split's files in the data folder ``root``.

    Raises:
        SegfoldError: a folder is missing or empty, images have no mask file, or there is no such split.
    """
    layout = competition.layout
    listing = layout.listing(split, root, competition.classes)
    if listing.absent:
        raise SegfoldError(
            f"{competition.title} has no {split} images in {root}: expected some for this; import them, or leave it"
        )
    if listing.problems:
        raise SegfoldError(shorten([f"{root}/{problem}" for problem in listing.problems], 3, "; "))
    if not listing.records:
        raise SegfoldError(
            f"no {listing.what} images in {root / listing.folder}: import the data anew with `make data`"
        )
    if listing.missing:
        paths = [PurePosixPath(path) for path in listing.missing.values()]
        above = {path.parent for path in paths}
        folder = above.pop() if len(above) == 1 else PurePosixPath()
        missing = shorten([path.relative_to(folder).as_posix() for path in paths])
        raise SegfoldError(f"no mask in {root / folder} for {missing}: every train image needs one")
    source = Source(competition, root, split, listing, "")
    return replace(source, key=hashlib.sha256(json.dumps(_states(source)).encode()).hexdigest()[:16])


def _states(source: Source) -> list[Any]:
    """What the key of a cache is made of: files, and how they are read."""
    competition, records = source.competition, source.listing.records.values()
    layout = competition.layout
    given = dict(competition.model_extra or {})
    states: list[Any] = [
        [VERSION, layout.table.order, given.pop("image_suffix", ".png"), given.pop("mask_suffix", ".png")],
        [competition.exif, competition.white],
        [(record.id, _state(record.images)) for record in records],
    ]
    if source.listing.masks:
        states.append([(record.id, _state(record.masks)) for record in records])
        states.append([competition.mask_threshold, palette_of(competition)])
    elif source.table is not None and source.table.is_file():
        status, table = source.table.stat(), layout.table
        states.append([table.id_column, table.mask_column, status.st_size, status.st_mtime_ns])
    # Caches of sets that say nothing of the following have been made before there was any of it.
    if len((task := competition.task).classes) > 1:  # of one class all tasks have the same masks
        states.append([task.name, task.classes, task.background])
    later = {name: getattr(competition, name) for name in ("frame", "values", "mask_colours", "void")}
    plain = {name for name, value in given.items() if name in _PLAIN and "{" not in str(value)}
    later |= {name: value for name, value in given.items() if name not in plain}
    if competition.layout_name != "kaggle-rle":
        later["layout"] = competition.layout_name
    if any(value is not None for value in later.values()):
        states.append(sorted(later.items()))
    if source.listing.instances:
        states.append([record.objects and record.objects.state for record in records])
    return states


_PLAIN = (
    "train_images",
    "train_masks",
    "test_images",
    "train_table",
    "sample_submission",
    "id_column",
    "mask_column",
    "rle_order",
)
"""Options that the key has elsewhere, or that only name the files whose state is in it."""


def _state(files: Sequence[Match]) -> Any:
    return files[0].state if len(files) == 1 else [(file.name, *file.state) for file in files]


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


def table_rows(source: Source) -> dict[str, list[Row]]:
    """The rows of each id, where masks come from the train table.

    Raises:
        SegfoldError: as ``read_rows``, and images that have none though they need one.
    """
    if source.table is None:
        return {}
    layout = source.competition.layout
    rows = read_rows(source.table, layout.table, source.competition.classes)
    missing = [name for name in source.ids if name not in rows] if layout.unlisted == "refuse" else []
    if missing:
        raise SegfoldError(
            f"no mask in {source.table} for image {shorten(missing)}: every train image needs a line there, "
            "or a mask file; set unlisted: empty in the competition file if those without one have nothing to find"
        )
    return rows


def masks_of(source: Source, record: Record, rows: Mapping[str, list[Row]], shape: tuple[int, int]) -> Masks:
    """The masks of an image of size ``shape``; errors as ``masks_of_files`` and ``masks_of_rows``."""
    competition = source.competition
    if source.table is None:
        return masks_of_files(competition, record, shape, source.listing.instances)
    table = competition.layout.table
    return masks_of_rows(competition, rows.get(record.id, ()), table, shape, f"{source.table}: {record.id}")
