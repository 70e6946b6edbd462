"""What a competition is: its files, columns, mask encoding, task, classes and metric."""

import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
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
from segfold.metrics import Metric, build_metric
from segfold.paths import user_path
from segfold.schema import said
from segfold.tasks import Task, make_task
from segfold.yaml_file import read_yaml


def _inside(path: str) -> str:
    """A path of a competition file stays inside the data folder, whoever wrote the file."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if not parts or path.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise ValueError("expected a relative path inside the data folder")
    if "\0" in path or any(len(part.encode()) > _LONGEST for part in parts):
        raise ValueError(f"expected names of up to {_LONGEST} bytes without NUL")
    return path


_LONGEST = 100  # of a name that will be a file or folder, or a part of one
RelativePath = Annotated[str, AfterValidator(_inside)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=_LONGEST)]
Text = Annotated[str, Field(min_length=1)]
Suffix = Annotated[str, Field(pattern=r"^[^/\\\x00]*$", max_length=_LONGEST)]


class ExtraTable(BaseModel):
    """A number an image (depth, say) in a CSV of its own, which has the same id column."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: RelativePath
    column: Text


Side = Annotated[int, Field(ge=1, le=100_000)]
Rows = Literal["image", "class", "instance"]


class Submission(BaseModel):
    """How a competition wants its predictions; what is left out is as in the train table.

    Attributes:
        form: a table of run lengths, or a zip of palette PNGs, one an image.
        rows: a row for each image, each class of an image, or each object of an image.
        key: the text that names a row's image, and its class where it has no column of its own: ``{id}.jpg_{class}``.
        id_column: of the key.
        class_column: of the class's name; null where there is none.
        mask_column: of the run lengths.
        empty: what stands for a mask without a pixel.
        size: height and width of the masks; null for those of the image.
        order: how pixels are numbered.
        relative: each start counts from the end of the run before it.
        sample: the sample submission; null where there is none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    form: Literal["rle", "png"] = "rle"
    rows: Rows | None = None
    key: Text | None = None
    id_column: Text | None = None
    class_column: Text | None = None
    mask_column: Text | None = None
    empty: str | None = None
    size: tuple[Side, Side] | None = None
    order: Literal["column", "row"] | None = None
    relative: bool | None = None
    sample: RelativePath | None = None


@dataclass(frozen=True)
class Form:
    """``Submission`` with everything filled in; see there."""

    form: Literal["rle", "png"]
    rows: Rows
    key: str
    id_column: str
    class_column: str | None
    mask_column: str
    empty: str
    size: tuple[int, int] | None
    order: Literal["column", "row"]
    relative: bool
    sample: str | None


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
        rows: what a row of the train table is.
        class_column: of the train table; null where the key says it.
        key: the text in the id column; with ``{class}`` it names the class too.
        rle_relative: each start counts from the end of the run before it.
        empty: what stands for a mask without a pixel in the train table.
        exif: what to do with images that are to be turned before they are shown. Masks are drawn on one of the two
            pictures, and their files do not say on which.
        white: the value of white in image files whose range is not all of their bits (4095 of 12 bits); what is read
            is brought to the full range.
        mask_threshold: a mask file is foreground above it.
        mask_palette: whether a mask file with a palette is read by its colours, or by the numbers of its colours, of
            which 0 is the background.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: Name
    title: Text
    slug: Name | None = None
    source: Text | None = None
    unconfirmed: tuple[Text, ...] = ()
    layout: Literal["kaggle-rle"]
    task_name: Literal["binary", "multiclass", "multilabel"] = Field(alias="task")
    classes: tuple[Text, ...]
    void: Annotated[int, Field(ge=0, le=65535)] | None = None
    background: Annotated[int, Field(ge=0, le=254)] | None = None
    scoring: dict[str, dict[str, Any]] = Field(alias="metric")
    submission: Submission = Submission()
    train_images: RelativePath = "train/images"
    train_masks: RelativePath | None = "train/masks"
    test_images: RelativePath = "test/images"
    train_table: RelativePath = "train.csv"
    sample_submission: RelativePath = "sample_submission.csv"
    solution: RelativePath | None = None
    image_suffix: Suffix = ".png"
    mask_suffix: Suffix = ".png"
    exif: Literal["turn", "ignore"] | None = None
    white: Annotated[int, Field(ge=1, le=65535)] | None = None
    mask_threshold: Annotated[int, Field(ge=0, le=65534)] = 0
    mask_palette: Literal["colours", "indices"] = "colours"
    id_column: Text = "id"
    mask_column: Text = "rle_mask"
    class_column: Text | None = None
    rows: Rows | None = None
    key: Text = "{id}"
    rle_order: Literal["column", "row"] = "column"
    rle_relative: bool = False
    empty: str = ""
    group_column: Text | None = None
    tables: dict[Text, ExtraTable] = Field(default_factory=dict)

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
        columns = {"mask_column": self.mask_column, "group_column": self.group_column}
        columns |= {f"tables.{name}.column": table.column for name, table in self.tables.items()}
        for key, column in columns.items():
            if column == self.id_column:
                raise ValueError(f"{key} and id_column are both {column!r}; each is a column of its own")
        return self

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
        return False

    @property
    def task(self) -> Task:
        """What its masks are."""
        return _task(self.task_name, self.classes, self.background)

    @property
    def form(self) -> Form:
        """How it wants its predictions."""
        given = self.submission
        key = given.key or self.key
        several = len(self.task.rows) > 1 or "{class}" in self.key or self.class_column is not None
        return Form(
            form=given.form,
            rows=given.rows or self.rows or ("class" if several else "image"),
            key=key,
            id_column=given.id_column or self.id_column,
            class_column=given.class_column or (None if "{class}" in key else self.class_column),
            mask_column=given.mask_column or self.mask_column,
            empty=self.empty if given.empty is None else given.empty,
            size=given.size,
            order=given.order or self.rle_order,
            relative=self.rle_relative if given.relative is None else given.relative,
            sample=given.sample or (self.sample_submission if given.form == "rle" else None),
        )


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
    try:
        return Competition.model_validate(read_yaml(path))
    except ValidationError as error:
        raise SegfoldError(f"{path}: {_one_line(error)}") from error


def _one_line(error: ValidationError) -> str:
    """All faults of a file in one line; an unknown key comes with the nearest valid one."""
    parts = []
    for fault in error.errors():
        where = ".".join(str(step) for step in fault["loc"])
        if fault["type"] == "extra_forbidden":
            fields = ExtraTable.model_fields if len(fault["loc"]) > 1 else Competition.model_fields
            near = difflib.get_close_matches(str(fault["loc"][-1]), fields, n=1, cutoff=0.0)
            parts.append(f"unknown key {where} (nearest: {near[0]})")
        elif fault["type"] == "missing":
            parts.append(f"{where} is missing")
        else:
            found = f"{where} is {shown(fault['input'])}: " if where else ""
            parts.append(f"{found}{fault['msg'].removeprefix('Value error, ')}")
    return "; ".join(parts)
