"""How a competition wants its predictions."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from segfold.layouts.base import Layout, Rows
from segfold.layouts.patterns import RelativePath, Text

Side = Annotated[int, Field(ge=1, le=100_000)]


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

    def filled_in(self, layout: Layout, several: bool) -> Form:
        """With what is left out taken from a layout.

        Args:
            several: whether more than one class has rows.
        """
        table = layout.table
        key = self.key or table.key
        by_class = several or "{class}" in table.key or table.class_column is not None
        return Form(
            form=self.form,
            rows=self.rows or table.rows or ("class" if by_class else "image"),
            key=key,
            id_column=self.id_column or table.id_column,
            class_column=self.class_column or (None if "{class}" in key else table.class_column),
            mask_column=self.mask_column or table.mask_column,
            empty=table.empty if self.empty is None else self.empty,
            size=self.size,
            order=self.order or table.order,
            relative=table.relative if self.relative is None else self.relative,
            sample=self.sample or (layout.sample if self.form == "rle" else None),
        )
