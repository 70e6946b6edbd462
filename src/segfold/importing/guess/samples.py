"""A sample of a set is read: what its images, its masks and its run lengths hold."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from segfold.importing.guess.files import Source
from segfold.importing.guess.mask_values import MaskFacts, look_at_masks
from segfold.importing.guess.naming import MaskFiles
from segfold.importing.guess.pictures import Pictures, look_at, spread
from segfold.importing.guess.roles import Images, Roles
from segfold.importing.guess.runs import MOST_PIXELS, Example, Fit, best_fit
from segfold.importing.guess.tables import Columns, Key, Table, find_columns, find_key, in_order, is_runs
from segfold.importing.guess.words import says_objects
from segfold.layouts.decode import Palette, mask_values

IMAGES_READ, MASKS_READ = 24, 160
_MOST_TRIED = 5  # families that may be the masks
_PLAINEST = ("binary", "indices", "blurred", "greys", "colours")


@dataclass
class TrainTable:
    """The table of the training masks."""

    table: Table
    key: Key
    columns: Columns
    runs: str
    rows: dict[str, list[str]] = field(default_factory=dict)  # runs of each id, without empty masks

    @classmethod
    def of(cls, table: Table, key: Key, runs: str, named: Mapping[str, tuple[str, ...]]) -> "TrainTable":
        """
        Args:
            named: columns of classes in other tables, with the classes.
        """
        columns = find_columns(table, key, runs, named)
        if columns.class_column is not None and columns.class_column in named:
            columns.classes = in_order({*columns.classes, *named[columns.class_column]})
        made = cls(table, key, columns, runs)
        for cell, text in zip(table.rows[key.column], table.rows[runs]):
            rows = made.rows.setdefault(key.parts(cell)[0], [])
            if is_runs(text):
                rows.append(text)
        return made

    @property
    def classes(self) -> tuple[str, ...]:
        return self.columns.classes or self.key.classes


@dataclass
class Samples:
    """What was read of a set.

    Attributes:
        pictures: of the training images.
        test: of the test images.
        masks: the mask files that are taken, and what they hold; None without any.
        facts: see ``masks``.
        refused: what was taken for masks by its name and is none, a line each.
    """

    pictures: Pictures
    test: Pictures | None
    masks: MaskFiles | None
    facts: MaskFacts
    paths: dict[str, Path]
    refused: list[str]


def read_samples(source: Source, roles: Roles, table: TrainTable | None) -> Samples:
    """Reads some images of both splits, and some masks."""
    ids = _chosen(roles, table)
    named = [_path(band, roles.train, own) for own in ids for band in roles.train.bands[:2]]
    paths = source.fetch(name for name in named if name)
    pictures = look_at(paths)
    test = None
    if roles.test is not None:
        test = look_at(source.fetch(spread(roles.test.ids.values(), IMAGES_READ // 4)))
    refused: list[str] = []
    best: tuple[int, MaskFiles, MaskFacts, dict[str, Path]] | None = None
    for match in roles.masks[:_MOST_TRIED]:
        files = [name for own in ids for name in match.by_id.get(own, ())]
        more = [name for names in match.by_id.values() for name in names]
        wanted = list(dict.fromkeys([*files[:MASKS_READ], *spread(more, MASKS_READ)]))
        found = source.fetch(wanted)
        facts = look_at_masks(found)
        if (reason := _no_mask(facts, match, pictures, roles.train)) is not None:
            refused.append(f"{match.family.label} are no masks: {reason}")
            continue
        rank = _PLAINEST.index(facts.kind) + len(_PLAINEST) * says_objects(match.family.said)
        if best is None or rank < best[0]:
            best = rank, match, facts, found
        if rank == 0:
            break
    if best is None:
        return Samples(pictures, test, None, MaskFacts(), paths, refused)
    return Samples(pictures, test, best[1], best[2], {**paths, **best[3]}, refused)


def _chosen(roles: Roles, table: TrainTable | None) -> list[str]:
    """Ids of images to read, those with something on them first."""
    ids = list(roles.train.ids)
    if table is not None:
        filled = [name for name in ids if table.rows.get(name)]
        return list(dict.fromkeys([*spread(filled, IMAGES_READ - 4), *spread(ids, 4)]))
    if roles.masks:
        return spread([name for name in ids if name in roles.masks[0].by_id] or ids, IMAGES_READ)
    return spread(ids, IMAGES_READ)


def _path(band: object, images: Images, own: str) -> str | None:
    if band is images.family:
        return images.ids[own]
    place = images.ids[own].rsplit("/", 1)[0]
    other = next(other for other in images.bands if other is band)
    return f"{place}/{other.fixed}{other.suffix}"


def _no_mask(facts: MaskFacts, match: MaskFiles, pictures: Pictures, images: Images) -> str | None:
    if not facts.read:
        return facts.problems[0] if facts.problems else "none could be read"
    if facts.read > 1 and len(facts.values) + len(facts.colours) == 1:
        return "all of their pixels have one value"
    if facts.kind == "picture":
        return "they hold too many values, or colours"
    for own, names in match.by_id.items():
        found = pictures.shapes.get(images.ids.get(own, ""))
        for name in names:
            if found and name in facts.shapes and facts.shapes[name] not in (found, found[::-1]):
                height, width = facts.shapes[name]
                return f"{name} is {height}×{width}, its image is {found[0]}×{found[1]}"
    return None


def fit_runs(table: TrainTable, samples: Samples, images: Images) -> Fit:
    """How the run lengths of a table are numbered."""
    examples = []
    for own, name in images.ids.items():
        if name in samples.pictures.shapes and table.rows.get(own):
            height, width = samples.pictures.shapes[name]
            mask = None if samples.masks is None or height * width > MOST_PIXELS else _mask(samples, own)
            examples.append(Example(own, table.rows[own], samples.pictures.shapes[name], mask))
    if not examples:
        return Fit(None, False, "no image that was read has run lengths")
    return best_fit(examples)


def _mask(samples: Samples, own: str) -> np.ndarray | None:
    """The foreground by mask files."""
    assert samples.masks is not None
    planes = []
    for name in samples.masks.by_id.get(own, ()):
        if name not in samples.facts.shapes:
            return None
        palette: Palette = "indices" if samples.facts.shows_background else "colours"
        values = mask_values(samples.paths[name], exif="ignore", palette=palette)
        planes.append(values > (127 if samples.facts.kind == "blurred" else 0))
    return np.any(planes, axis=0) if planes else None


@dataclass
class Tables:
    """What tables are for.

    Attributes:
        train: of the training masks.
        sample: the sample submission, with its key; a key only where it has rows.
        solution: of the test masks.
        splits: a table that says of images of which split they are, its key and column.
        rest: other tables that name images.
        silent: tables that name none.
    """

    train: TrainTable | None = None
    sample: tuple[Table, Key | None] | None = None
    solution: Table | None = None
    splits: tuple[Table, Key, str, Sequence[str]] | None = None
    rest: list[tuple[Table, Key, Columns]] = field(default_factory=list)
    silent: list[Table] = field(default_factory=list)


def find_tables(tables: Sequence[Table], roles: Roles) -> Tables:
    """Says of each table what it is for."""
    test = set(roles.test.ids) if roles.test is not None else set()
    train = set(roles.train.ids) | set(roles.validation.ids if roles.validation is not None else ())
    found = Tables()
    named = _named_by_samples(tables, train | test)
    for table in sorted(tables, key=lambda table: -len(table.rows)):
        key = find_key(table, train | test)
        of_train = 0 if key is None else len(train.intersection(key.ids))
        of_test = 0 if key is None else len(test.intersection(key.ids))
        if table.is_sample and of_test >= of_train and (key is not None or not len(table.rows)):
            found.sample = found.sample or (table, key)
        elif key is None:
            found.silent.append(table)
        elif table.runs is not None and of_train > of_test:
            made = TrainTable.of(table, key, table.runs, named)
            if found.train is None or of_train > len(train.intersection(found.train.key.ids)):
                found.train = made
        elif of_test > of_train and (table.runs is not None or found.sample is None) and len(table.rows.columns) < 5:
            if table.runs is not None and _is_placeholder(table.rows[table.runs]):
                found.sample = found.sample or (table, key)
            elif table.runs is not None:
                found.solution = table
            else:
                found.rest.append((table, key, find_columns(table, key, None)))
        else:
            columns = find_columns(table, key, None)
            if columns.splits and found.splits is None:
                column = next(iter(columns.splits))
                found.splits = table, key, column, columns.splits[column]
            found.rest.append((table, key, columns))
    return found


def _named_by_samples(tables: Sequence[Table], ids: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Columns of classes in sample submissions, which have a row for each class of an image."""
    named = {}
    for table in tables:
        key = find_key(table, ids) if table.is_sample else None
        if key is not None and table.rows[key.column].duplicated().any():
            columns = find_columns(table, key, table.columns[-1])
            if columns.class_column is not None:
                named[columns.class_column] = columns.classes
    return named


def _is_placeholder(cells: pd.Series) -> bool:
    return cells.nunique() <= 2
