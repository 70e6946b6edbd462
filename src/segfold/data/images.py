"""Images and masks of a split as arrays with their ids, decoded once (see ``segfold.data.cache``)."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from segfold.competition import Competition, data_folder
from segfold.data.cache import cache_folder, cached, decoded_shapes
from segfold.data.pixel_store import PixelStore, mapped
from segfold.data.source import find_source
from segfold.data.tables import groups_of, numbers_of
from segfold.errors import SegfoldError
from segfold.layouts.base import Split
from segfold.layouts.large import LargeImage
from segfold.layouts.table import shorten
from segfold.layouts.windows import TiffWindows
from segfold.tasks import FOREGROUND, Strata, Task

IN_MEMORY = 1 << 30  # bytes of images and masks up to which a split is read into memory rather than mapped


@dataclass(frozen=True)
class ImageSet:
    """One split. Everything is in the order of ``ids``, which are sorted.

    Attributes:
        ids: N ids, text.
        images: H×W×C each.
        masks: H×W each, as ``task`` has them; None for a test set.
        extra: a column for each of the competition's tables, indexed by id.
        fingerprint: hash of ids, shapes and pixels; where they came from does not matter.
        coverage: N, share of pixels that have a class other than the background; NaN for a test set.
        groups: N group names, "" for an image in no group; None where the competition has no group column.
        constant: N, whether all pixels of an image have one value.
        limits: smallest and largest number in each of the competition's tables, over all its lines: the same for
            every split.
        task: what the masks are.
        areas: N×C, pixels of each class, counted from ``masks`` where not given; None for a test set.
        instances: H×W of object numbers each, 0 where there is none; None where the competition has no objects.
        held_out: N, whether an image is of the competition's own validation split; None where it has none.
    """

    ids: np.ndarray
    images: PixelStore
    masks: PixelStore | None
    extra: pd.DataFrame
    fingerprint: str
    coverage: np.ndarray
    groups: np.ndarray | None
    constant: np.ndarray
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    task: Task = FOREGROUND
    areas: np.ndarray | None = None
    instances: PixelStore | None = None
    held_out: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.areas is None and self.masks is not None:
            counted = [self.task.areas(mask) for mask in self.masks]
            areas = np.array(counted, np.int64).reshape(len(self.ids), len(self.task.classes))
            object.__setattr__(self, "areas", areas)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def strata(self) -> Strata:
        """What the folds of a split with masks are stratified by."""
        assert self.areas is not None
        return self.task.strata(self.areas, self.images.shapes[:, 0] * self.images.shapes[:, 1])

    def fingerprints(self, channels: Sequence[str] = ()) -> dict[str, str]:
        """Hashes of all that a network sees of the split, by what they are of.

        Args:
            channels: of the network's input.

        Returns:
            ``data``: the fingerprint; and where channels are of the competition's tables, ``tables``: their numbers.
        """
        used = [name for name in channels if name in self.limits]
        if not used:
            return {"data": self.fingerprint}
        numbers = [[name, self.limits[name], self.extra[name].reindex(self.ids).tolist()] for name in sorted(set(used))]
        return {"data": self.fingerprint, "tables": hashlib.sha256(json.dumps(numbers).encode()).hexdigest()}

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.ids)}

    def position(self, ids: Iterable[str]) -> np.ndarray:
        """Index of each id.

        Raises:
            SegfoldError: ids that are not in the set.
        """
        names = list(ids)
        unknown = [str(name) for name in names if name not in self._positions]
        if unknown:
            raise SegfoldError(
                f"no image with id {shorten(unknown)} among {len(self)}: the data has changed, or it is another set"
            )
        return np.array([self._positions[name] for name in names], np.int64)


def load_split(
    competition: Competition,
    split: Split,
    home: Path = Path(),
    say: Callable[[str], None] = lambda text: None,
) -> ImageSet:
    """Loads a split, decoding it first when that has not been done since its files last changed.

    Args:
        competition: which competition.
        split: which images.
        home: the working folder.
        say: told when images are decoded, and what was noticed in them.

    Raises:
        SegfoldError: no data, files that are missing or damaged or do not agree (by name).
    """
    root = data_folder(competition, home)
    if not root.is_dir():
        raise SegfoldError(missing_data(root))
    # The cache that was found may go away before it is opened: another process has seen newer files.
    for attempt in range(3):
        source = find_source(competition, split, root)
        folder, index = cached(source, split, cache_folder(root), say)
        try:
            images, masks, instances = _open(competition, root, folder, index)
            break
        except FileNotFoundError:
            if attempt == 2:
                raise
    ids = np.array(index["ids"], dtype=object)
    held_out = np.array([record.held_out for record in source.listing.records.values()], bool)
    area = images.shapes[:, 0] * images.shapes[:, 1]
    extra, limits = numbers_of(competition, root, ids)
    areas, coverage = None, np.full(len(ids), np.nan)
    if masks is not None:
        areas = np.array(index["areas"], np.int64).reshape(len(ids), len(competition.task.classes))
        coverage = np.array(index.get("foreground", index["areas"])) / area
    return ImageSet(
        ids=ids,
        images=images,
        masks=masks,
        extra=extra,
        fingerprint=index["fingerprint"],
        coverage=coverage,
        groups=groups_of(competition, root, ids) if split == "train" else None,
        instances=instances,
        held_out=held_out if held_out.any() else None,
        constant=np.array(index["constant"], bool),
        limits=limits,
        task=competition.task,
        areas=areas,
    )


def known_shapes(competition: Competition, split: Split, home: Path = Path()) -> tuple[list[str], np.ndarray] | None:
    """Ids and N×3 shapes of a split, as far as a look at its cache tells; None where it is not there or not decoded."""
    root = data_folder(competition, home)
    try:
        return decoded_shapes(find_source(competition, split, root), split, cache_folder(root))
    except SegfoldError:
        return None


def has_test(competition: Competition, home: Path = Path()) -> bool:
    """Whether a competition's data, which is there, has test images."""
    return not competition.layout.listing("test", data_folder(competition, home), competition.classes).absent


def missing_data(root: Path) -> str:
    """What to say when there is no data folder."""
    return f"no data in {root}: run `make data from=PATH` (a folder or a zip), or `make data` to use Kaggle"


def _open(
    competition: Competition, root: Path, folder: Path, index: dict[str, Any]
) -> tuple[PixelStore, PixelStore | None, PixelStore | None]:
    in_memory = sum(index["files"].values()) <= IN_MEMORY
    shapes = np.array(index["shapes"], np.int64)
    in_place = {
        index["ids"].index(name): LargeImage(
            TiffWindows(root / path), competition.white, competition.values, int(shapes[index["ids"].index(name)][2])
        )
        for name, path in index.get("in_place", {}).items()
    }

    def store(name: str, dtype: npt.DTypeLike, shapes: np.ndarray, **options: Any) -> PixelStore:
        path = folder / name
        buffer = np.fromfile(path, dtype) if in_memory else mapped(path, str(np.dtype(dtype)))
        return PixelStore(buffer, shapes, path=path.resolve(), **options)

    images = store("images.bin", index["dtype"], shapes, in_place=in_place)
    if index["areas"] is None:
        return images, None, None
    flat = shapes * [1, 1, 0] + [0, 0, 1]
    instances = store("instances.bin", np.uint16, flat, masks=True) if "instances.bin" in index["files"] else None
    return images, store("masks.bin", competition.task.dtype, flat, masks=True), instances
