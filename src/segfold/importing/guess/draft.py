"""The competition file that is guessed, and its comments."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

from segfold.importing.guess.files import Source
from segfold.importing.guess.lists import Lists
from segfold.importing.guess.naming import MaskFiles
from segfold.importing.guess.pictures import Pictures, sizes
from segfold.importing.guess.reading import Reading, reading_of
from segfold.importing.guess.roles import Images, Roles
from segfold.importing.guess.runs import Fit
from segfold.importing.guess.samples import Samples, Tables
from segfold.importing.guess.submission import submission_of
from segfold.importing.guess.text import Text
from segfold.importing.guess.words import split_of
from segfold.layouts.large import large_notes


class Draft:
    """All that was found, written down.

    Args:
        path: what was looked at.
        source: its files.
        roles: of the families of image files.
        tables: and what they are for.
        lists: of ids, if there are any.
        samples: what was read.
        fit: how run lengths are numbered; None without a table of them.
    """

    def __init__(
        self,
        path: Path,
        source: Source,
        roles: Roles,
        tables: Tables,
        lists: Lists | None,
        samples: Samples,
        fit: Fit | None,
    ) -> None:
        self.path, self.source, self.roles, self.tables = path, source, roles, tables
        self.lists, self.samples, self.fit = lists, samples, fit
        self.reading: Reading = reading_of(tables, samples)

    @property
    def held_out(self) -> MaskFiles | None:
        """The masks of validation images in folders of their own."""
        return None if self.samples.masks is None else _like(self.samples.masks, self.roles.validation_masks)

    @property
    def layout(self) -> str:
        if self.tables.train is not None:
            return "kaggle-rle"
        return "voc" if self.lists is not None and self._is_voc else "folders"

    @property
    def _is_voc(self) -> bool:
        """Whether the lists, the images and the masks are as the layout has them."""
        masks = self.samples.masks
        return (
            self.lists is not None
            and "train" in self.lists.ids
            and masks is not None
            and masks.kind == "image"
            and "*" not in self.roles.train.patterns[0] + masks.pattern
        )

    def text(self) -> Text:
        """The file."""
        text = Text()
        self._head(text)
        self._what(text)
        text.gap()
        {"kaggle-rle": self._kaggle, "voc": self._voc, "folders": self._folders}[self.layout](text)
        self._read(text)
        self._groups(text)
        submission_of(text, self)
        self._rest(text)
        return text

    def _head(self, text: Text) -> None:
        text.say(f"A guess by `segfold data --guess {self.path}`.")
        text.say("Fill in what says so, then `make data competition=THIS-FILE from=PATH` tells what does not fit.")
        text.say("")
        train, samples = self.roles.train, self.samples
        self._images(text, "images" if self.layout == "voc" else "training images", train, samples.pictures)
        if self.roles.validation is not None:
            text.say(f"{len(self.roles.validation.ids):,} validation images: {self.roles.validation.family.label}")
        if self.roles.test is not None and samples.test is not None:
            self._images(text, "test images", self.roles.test, samples.test)
        for line in self.reading.comments:
            text.say(line)
        if samples.pictures.exif:
            turned = Counter(samples.pictures.exif.values())
            said = ", ".join(f"{count} of orientation {number}" for number, count in turned.items())
            text.say(f"EXIF: {said} among {len(samples.pictures.shapes)} images that were read.")

    def _images(self, text: Text, what: str, images: Images, facts: Pictures) -> None:
        ids = list(images.ids)
        text.say(f"{len(ids):,} {what}: {images.family.label}, ids like {', '.join(ids[:2])}")
        kinds = ", ".join(f"{kind} ({count})" for kind, count in facts.kinds.most_common())
        span = "" if facts.is_plain and set(facts.types) == {"uint8"} else f"; values {facts.span}"
        if facts.shapes:
            text.say(
                f"  {len(facts.shapes)} files were read: {sizes(facts.shapes.values())} (height×width), {kinds}{span}"
            )
        for note in large_notes(facts.large):
            text.say(f"  Of these, {note}")
        for problem in facts.problems[:3]:
            text.say(f"  {problem}")

    def _what(self, text: Text) -> None:
        name = (
            re.sub(r"[^A-Za-z0-9._-]+", "-", re.sub(r"(?i)\.zip$", "", self.path.resolve().name)).strip("-._").lower()
            or "my-competition"
        )
        text.set("name", name[:100], "fill in: a short name, the folder data/NAME will have it")
        text.set("title", name[:100], "fill in")
        text.set("layout", self.layout)
        text.set("task", self.reading.task.name)
        text.set("classes", list(self.reading.classes), self.reading.named)
        if self.reading.void is not None:
            text.set("void", self.reading.void, "pixels of this value do not count")
        if self.reading.task.exclusive:
            text.suggest("background", 0, "if the first class stands for no object")
        instances = self.reading.objects
        text.set(
            "metric",
            "object_precision" if instances else self.reading.task.usual_metric,
            "fill in: how the host scores; docs/competitions.md lists the names",
        )

    def _paths(self, text: Text) -> None:
        roles, masks = self.roles, self.samples.masks
        if roles.train.naming.id != "{id}":
            text.set("id", roles.train.naming.id, "what an id is made of")
        text.set("train_images", _one(roles.train.patterns))
        use_files = masks is not None and self.reading.files
        if masks is None and self.tables.train is None:
            text.say("No masks were found, neither files nor run lengths; this is an example of where they may be.")
            text.set("train_masks", f"masks/{roles.train.naming.id}.png", "fill in")
        else:
            text.set("train_masks", masks.pattern if masks is not None and use_files else None)
        if roles.validation is not None:
            text.set("validation_images", _one(roles.validation.patterns))
            if self.held_out is not None and masks is not None and self.held_out.family is not masks.family:
                text.set("validation_masks", self.held_out.pattern)
        if roles.test is not None:
            text.set("test_images", _one(roles.test.patterns))
        else:
            text.set("test_images", None, "none were found")
        if self.tables.splits is not None:
            self._split_table(text)
        missing = self._unlisted
        if missing:
            text.set("unlisted", *missing)

    @property
    def _unlisted(self) -> tuple[str, str] | None:
        """What to do with images without a mask."""
        ids, train, masks = set(self.roles.train.ids), self.tables.train, self.samples.masks
        if masks is not None and self.reading.files:
            lacking = len(ids - masks.by_id.keys())
            return ("skip", f"{lacking} training images have no mask file; or empty") if lacking else None
        if train is None:
            return None
        lacking = len(ids - train.rows.keys())
        if not lacking:
            return None
        said = any(not rows for rows in train.rows.values())
        why = "others have rows that say they are empty" if said else "no row says that an image is empty"
        return ("skip" if said else "empty"), f"{lacking} training images have no row, and {why}"

    def _split_table(self, text: Text) -> None:
        assert self.tables.splits is not None
        table, key, column, texts = self.tables.splits
        text.set("split_table", table.name, f"column {column} holds {', '.join(texts)}")
        text.set("split_id_column", key.column)
        text.set("split_column", column)
        if key.text != "{id}":
            text.set("split_key", key.text)
        for option, split in (("validation", "validation"), ("test", "test")):
            own = [each for each in texts if split_of(each) == split]
            if own:
                text.set(option, own[0])

    def _kaggle(self, text: Text) -> None:
        train, fit = self.tables.train, self.fit
        assert train is not None and fit is not None
        self._paths(text)
        text.set("train_table", train.table.name)
        text.set("sample_submission", None if self.tables.sample is None else self.tables.sample[0].name)
        text.set("id_column", train.key.column)
        text.set("mask_column", train.runs)
        if train.columns.class_column is not None:
            text.set("class_column", train.columns.class_column)
        if train.key.text != "{id}":
            text.set("key", train.key.text)
        text.set("rows", train.columns.rows)
        if fit.way is None:
            text.say(f"fill in rle_order: {fit.comment}")
            text.set("rle_order", "column")
        else:
            text.set("rle_order", fit.way.order, fit.comment + ("" if fit.sure else "; so this may be wrong"))
            if fit.way.relative:
                text.set("rle_relative", True, "each start counts from the end of the run before")
        empties = [each for each, _ in train.columns.empties.most_common() if each]
        if empties:
            text.set("empty", empties[0])

    def _folders(self, text: Text) -> None:
        self._paths(text)

    def _voc(self, text: Text) -> None:
        lists, masks = self.lists, self.samples.masks
        assert lists is not None and masks is not None
        text.set("images", self.roles.train.patterns[0])
        text.set("masks", masks.pattern)
        objects = [other for other in self.roles.masks if other is not masks and "bject" in other.family.said]
        text.set("objects", objects[0].pattern if objects else None)
        counts = ", ".join(f"{name} {len(ids):,}" for name, ids in sorted(lists.ids.items()))
        text.set("splits", lists.pattern, counts)
        text.set("train", "train")
        for option, names in (("validation", ("val", "valid", "validation")), ("test", ("test", "testing"))):
            text.set(option, next((name for name in names if name in lists.ids), None))

    def _read(self, text: Text) -> None:
        """How files are read."""
        for key, value, comment in self.reading.options:
            text.set(key, value, comment)
        for key, value, comment in self.reading.suggestions:
            text.suggest(key, value, comment)

    def _groups(self, text: Text) -> None:
        train, id_column = self.tables.train, "id" if self.tables.train is None else self.tables.train.key.column
        for table, key, columns in self.tables.rest:
            for column, count in columns.groups.items():
                value = {"file": table.name, "column": column, "id_column": key.column, "key": key.text}
                text.suggest("groups", value, f"{count} groups, if images of one are alike")
            for column in columns.numbers if len(columns.numbers) == 1 else ():
                table_of: dict[str, Any] = {"file": table.name, "column": column}
                table_of |= {} if key.column == id_column else {"id_column": key.column}
                table_of |= {} if key.text == "{id}" else {"key": key.text}
                text.suggest(
                    "tables", {column.strip().lower(): table_of}, "a number an image, for channels of the input"
                )
        for column, count in (train.columns.groups if train is not None else {}).items():
            text.suggest("group_column", column, f"{count} groups, if images of one are alike")
        if (found := _id_groups(list(self.roles.train.ids))) is not None:
            text.suggest("group_pattern", *found)

    def _rest(self, text: Text) -> None:
        masks = self.samples.masks
        answers = None if masks is None else _like(masks, self.roles.test_masks)
        if answers is not None and masks is not None and answers.family is not masks.family:
            text.say(f"Masks of the test images are there too: {answers.family.label}")
        for line in [*self.samples.refused, *self.source.notes[:5]]:
            text.say(f"Not used: {line}")
        used, taken = (
            text.values.get("objects"),
            {found.family.label for found in (masks, answers, self.held_out) if found},
        )
        for family in self.roles.other[:10]:
            if family.label in taken or (used is not None and self.roles.train.naming.pattern(family) == used):
                continue
            text.say(f"Not used: {family.label}, {len(family.files):,} files")
        for table, key, _ in self.tables.rest:
            columns = ", ".join(map(str, table.rows.columns[:12]))
            text.say(f"Table {table.name}: {len(table.rows):,} rows of {columns}; {key.column} holds {key.text}")
        for table in self.tables.silent[:10]:
            text.say(f"Table {table.name}: {len(table.rows):,} rows of {', '.join(map(str, table.rows.columns[:12]))}")
        jsons = [name for name in self.source.names if name.lower().endswith((".json", ".xml"))]
        if jsons:
            text.say(f"Not read: {jsons[0]}, {len(jsons):,} such files; outlines must be drawn into mask files first.")


def _like(masks: MaskFiles, others: list[MaskFiles]) -> MaskFiles | None:
    """Of what may be the masks of another split, those that are named as those of the training images."""
    alike = [
        other
        for other in others
        if (other.family.ending, other.family.fixed) == (masks.family.ending, masks.family.fixed)
    ]
    return next(iter(alike or others), None)


def _one(patterns: list[str]) -> str | list[str]:
    return patterns[0] if len(patterns) == 1 else patterns


def _id_groups(ids: list[str]) -> tuple[str, str] | None:
    """A pattern of ids by whose beginnings images may be groups."""
    for mark in ("_", "-"):
        fronts = Counter(name.split(mark)[0] for name in ids if mark in name)
        if sum(fronts.values()) == len(ids) and 1 < len(fronts) <= 0.6 * len(ids):
            return f"^([^{mark}]+){mark}", f"{len(fronts)} groups, if ids that begin alike are of one thing"
    return None
