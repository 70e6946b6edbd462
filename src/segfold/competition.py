"""What a competition is: its files, columns, mask encoding, task, classes and metric."""

import difflib
import inspect
import json
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from segfold.errors import SegfoldError, shown
from segfold.layouts import LAYOUTS, Layout
from segfold.layouts.form import Form, Submission
from segfold.layouts.patterns import RelativePath, Template, Text
from segfold.metrics import Metric, build_metric
from segfold.paths import user_path
from segfold.schema import said, settings_model
from segfold.tasks import TASKS, Task, make_task
from segfold.yaml_file import read_yaml

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


class ExtraTable(BaseModel):
    """A number an image (depth, say), or its group, in a CSV of its own.

    Attributes:
        column: of the number.
        id_column: null where it is called as in the train table.
        key: what stands in the id column: ``{id}.tiff``.
        range: the smallest and the largest number that networks were trained with, by which they are scaled; null: those
            of the table. Another copy of the table, beside hidden test images say, may hold others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: RelativePath
    column: Text
    id_column: Text | None = None
    key: Template = "{id}"
    range: tuple[float, float] | None = None


Byte = Annotated[int, Field(ge=0, le=255)]


def _one_of(names: Collection[str]) -> AfterValidator:
    """Refuses what is not among the names, with the nearest of them."""

    def known(name: str) -> str:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
            raise ValueError(f"expected one of {', '.join(names)} (nearest: {near})")
        return name

    return AfterValidator(known)


class Leaderboard(BaseModel):
    """What is known of the host's leaderboard.

    Attributes:
        public: share of the test images that the public score is of; the private one is of the others.
        daily: submissions that a team may send a day.
        lines: private scores by what they were worth: ``gold``, ``silver``, ``bronze``, ``median``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    public: Annotated[float, Field(gt=0, le=1)] | None = None
    daily: Annotated[int, Field(ge=1)] | None = None
    lines: dict[Text, float] = Field(default_factory=dict)


class Competition(BaseModel):
    """One file of ``configs/competitions``. Paths are relative to the data folder, ``data_folder``.

    Attributes:
        slug: Kaggle's name of it; null where it is not on Kaggle.
        source: where it is described.
        scoring: the metric, a name or a name with its settings.
        unconfirmed: what in this file could not be confirmed in a source.
        void: value in mask files of pixels that do not count; null where every pixel counts.
        background: index of the class that stands for "no object"; null where there is none.
        submission: how predictions are wanted.
        solution: a table of the test masks, as submissions are.
        leaderboard: what is known of it.
        tables: numbers an image, by the names of the input's channels that hold them.
        group_column: of the train table; images of a group are in one fold.
        group_pattern: what groups images by their ids: a regular expression whose first group is the name.
        groups: a table of its own that names the group of each image.
        exif: what to do with images that are to be turned before they are shown. Masks are drawn on one of the two
            pictures, and their files do not say on which.
        white: the value of white in image files whose range is not all of their bits (4095 of 12 bits); what is read
            is brought to the full range.
        frame: of image arrays H×W×T, the index that is taken of the last axis.
        values: of images of other numbers than 8 or 16 bits, the two that become black and white, of 16 bits; what lies
            beyond is cut.
        mask_threshold: a mask file is foreground above it.
        mask_palette: whether a mask file with a palette is read by its colours, or by the numbers of its colours, of
            which 0 is the background; null: by its colours where there is one class, else by the numbers.
        mask_colours: red, green and blue of each class in mask files whose colours say it, and of ``void``.
    """

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    name: Name
    title: Text
    slug: Name | None = None
    source: Text | None = None
    unconfirmed: tuple[Text, ...] = ()
    layout_name: Annotated[str, _one_of(LAYOUTS)] = Field(alias="layout")
    task_name: Annotated[str, _one_of(TASKS)] = Field(alias="task")
    classes: tuple[Text, ...]
    void: Annotated[int, Field(ge=0, le=65535)] | None = None
    background: Annotated[int, Field(ge=0, le=254)] | None = None
    scoring: dict[str, dict[str, Any]] = Field(alias="metric")
    submission: Submission = Submission()
    solution: RelativePath | None = None
    exif: Literal["turn", "ignore"] | None = None
    white: Annotated[int, Field(ge=1, le=65535)] | None = None
    frame: Annotated[int, Field(ge=0)] | None = None
    values: tuple[float, float] | None = None
    mask_threshold: Annotated[int, Field(ge=0, le=65534)] = 0
    mask_palette: Literal["colours", "indices"] | None = None
    mask_colours: dict[Text, tuple[Byte, Byte, Byte]] | None = None
    group_column: Text | None = None
    group_pattern: Text | None = None
    groups: ExtraTable | None = None
    tables: dict[Text, ExtraTable] = Field(default_factory=dict)
    leaderboard: Leaderboard = Leaderboard()

    @field_validator("scoring", mode="before")
    @classmethod
    def _one_metric(cls, value: Any) -> Any:
        said(lambda: build_metric(value))
        return {value: {}} if isinstance(value, str) else {name: settings or {} for name, settings in value.items()}

    @field_serializer("scoring")
    def _shortest(self, scoring: dict[str, dict[str, Any]]) -> Any:
        return scoring if any(scoring.values()) else self.metric

    @model_validator(mode="after")
    def _fits(self) -> "Competition":
        said(lambda: self.task)
        said(lambda: self.layout)
        said(self._check_groups)
        if self.values is not None and not self.values[0] < self.values[1]:
            raise ValueError(f"values is {list(self.values)}: expected black below white")
        if unknown := [name for name in self.mask_colours or () if name not in (*self.classes, "void")]:
            raise ValueError(f"mask_colours names {unknown[0]}: expected classes ({', '.join(self.classes)}), or void")
        id_column = self.layout.table.id_column
        if self.group_column == id_column:
            raise ValueError(f"group_column and id_column are both {id_column!r}; each is a column of its own")
        tables = {f"tables.{name}": table for name, table in self.tables.items()}
        for key, table in (tables | ({} if self.groups is None else {"groups": self.groups})).items():
            if table.column == (table.id_column or id_column):
                raise ValueError(f"{key}.column and id_column are both {table.column!r}; each is a column of its own")
        return self

    def _check_groups(self) -> None:
        given = {"group_column": self.group_column, "group_pattern": self.group_pattern, "groups": self.groups}
        named = [key for key, value in given.items() if value is not None]
        if len(named) > 1:
            raise SegfoldError(f"{' and '.join(named)} both say which images are a group; keep one")
        if self.group_column is not None and self.layout.table.file is None:
            raise SegfoldError(
                f"group_column is {self.group_column!r}, and there is no train table: name a table in groups, or group_pattern"
            )
        if self.group_pattern is not None:
            try:
                groups = re.compile(self.group_pattern).groups
            except re.error as error:
                raise SegfoldError(f"group_pattern is no regular expression: {error}") from None
            if groups < 1:
                raise SegfoldError(
                    f"group_pattern is {self.group_pattern!r}: expected a group in it, such as ^(case[0-9]+)_"
                )

    @property
    def layout(self) -> Layout:
        """Where its files lie."""
        return _layout(self.layout_name, json.dumps(self.model_extra))

    @property
    def metric(self) -> str:
        """Name of its metric."""
        return next(iter(self.scoring))

    @property
    def scorer(self) -> Metric:
        """Its metric, with its settings."""
        return build_metric(self.scoring)

    @property
    def has_split(self) -> bool:
        """Whether it has a validation split of its own."""
        return self.layout.has_split

    @property
    def task(self) -> Task:
        """What its masks are."""
        return _task(self.task_name, self.classes, self.background)

    @property
    def form(self) -> Form:
        """How it wants its predictions."""
        return self.submission.filled_in(self.layout, several=len(self.task.rows) > 1)


@cache
def _layout(name: str, options: str) -> Layout:
    builder = LAYOUTS[name]
    model = settings_model(name, builder)
    try:
        checked = model.model_validate(json.loads(options))
    except ValidationError as error:
        raise SegfoldError(_one_line(error, name)) from None
    return builder(**checked.model_dump(exclude_unset=True))


@cache
def _task(name: str, classes: tuple[str, ...], background: int | None) -> Task:
    return make_task(name, classes, background)


def data_folder(competition: Competition, home: Path = Path()) -> Path:
    """Where the competition's data lies in the working folder ``home``."""
    return home / "data" / competition.name


def load_competition(name_or_path: str, home: Path = Path()) -> Competition:
    """Reads a competition file.

    Args:
        name_or_path: a YAML file, or the name of one in ``configs/competitions`` of ``home`` or of the
            repository.
        home: the working folder.

    Raises:
        SegfoldError: no such competition (the nearest name is given), or a file that does not fit.
    """
    return _parse(_find(name_or_path, home))


def _find(name_or_path: str, home: Path) -> Path:
    as_path = user_path(name_or_path)
    if as_path.suffix in (".yaml", ".yml"):
        for path in (as_path, home / as_path):
            if path.is_file():
                return path
        raise SegfoldError(f"no competition file {name_or_path}: give a path that exists or a competition's name")
    folders = [root / "configs" / "competitions" for root in (home, Path(__file__).parents[2])]
    known: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            known.setdefault(path.stem, path)
    if name_or_path in known:
        return known[name_or_path]
    near = difflib.get_close_matches(name_or_path, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known) or 'none'}"
    raise SegfoldError(f"no competition {name_or_path!r} in configs/competitions: {hint}")


def _parse(path: Path) -> Competition:
    values = read_yaml(path)
    try:
        return Competition.model_validate(values)
    except ValidationError as error:
        faults = [_one_line(error)]
        whole = any(not fault["loc"] for fault in error.errors())  # the layout's faults are among them
        if not whole and (layout := str(values.get("layout"))) in LAYOUTS:
            try:
                _layout(layout, json.dumps({key: values[key] for key in values.keys() - set(_keys())}))
            except SegfoldError as other:
                faults.append(str(other))
        raise SegfoldError(f"{path}: {'; '.join(faults)}") from error


def _keys() -> list[str]:
    """What every competition file may hold."""
    return [field.alias or name for name, field in Competition.model_fields.items()]


def _one_line(error: ValidationError, layout: str = "") -> str:
    """All faults of a file in one line; an unknown key comes with the nearest valid one.

    Args:
        layout: the layout whose options they are in; empty for the other keys.
    """
    parts = []
    for fault in error.errors():
        where = ".".join(str(step) for step in fault["loc"])
        if fault["type"] == "extra_forbidden":
            below = ExtraTable.model_fields if fault["loc"][0] in ("tables", "groups") else Submission.model_fields
            options = inspect.signature(LAYOUTS[layout]).parameters if layout else ()
            known = [*_keys(), *options] if layout else list(below)
            near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1, cutoff=0.0)[0]
            unknown = f"layout {layout} has no option {where}" if layout else f"unknown key {where}"
            parts.append(f"{unknown} (nearest: {near})")
        elif fault["type"] == "missing":
            parts.append(f"{where} is missing")
        else:
            found = f"{where} is {shown(fault['input'])}: " if where else ""
            parts.append(f"{found}{fault['msg'].removeprefix('Value error, ')}")
    return "; ".join(parts)
