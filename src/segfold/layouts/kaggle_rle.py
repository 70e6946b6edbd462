"""The usual layout of Kaggle: folders of images, a table of run lengths, often mask files as well."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from segfold.errors import SegfoldError
from segfold.layouts.base import Rows, Table
from segfold.layouts.folders import Folders
from segfold.layouts.patterns import Bands, Pattern, PatternText, RelativePath, Suffix, Template, Text, fields_of
from segfold.layouts.records import Listing, Part
from segfold.layouts.rle import Order
from segfold.layouts.rows import row_ids
from segfold.layouts.table import row_count


class KaggleRle(Folders):
    """Images in folders, masks in a table of run lengths, or in files.

    Paths are as of the layout ``folders``. Where there are mask files, these are read, and the table is checked against them.

    Args:
        train_images: where the training images lie.
        train_masks: where their masks lie; null for the table alone.
        test_images: where the test images lie; null where there are none.
        validation_images: where images of a validation split lie, if the competition has one in folders of its own.
        validation_masks: where their masks lie; null for with the others.
        train_table: run lengths of the training masks; null where there are mask files alone.
        sample_submission: null where there is none; one without a row may stand for test images that nobody has.
        split_table: a table that says which images are for validation and which for testing.
        split_id_column: column of the split table that names images.
        split_column: its column of splits.
        split_key: what stands in the column of ids: ``{id}.jpg``.
        validation: in that column, validation images.
        test: in that column, test images.
        id: how ids are made of the fields of paths.
        id_column: of the train table.
        mask_column: of the train table.
        class_column: of the train table; null where the key says the class, or there is but one.
        key: what stands in the column of ids: ``{id}.jpg``; with ``{class}`` it names the class too.
        rows: a row for each image, each class of an image, or each object; null follows from class column and key.
        rle_order: how pixels are numbered.
        rle_relative: each start counts from the end of the run before it.
        empty: what stands for a mask without a pixel; a blank does so too.
        unlisted: training images without a mask are refused, have an empty one, or are skipped.
        image_suffix: of images where a path is that of their folder.
        mask_suffix: of masks where a path is that of their folder.
    """

    def __init__(
        self,
        *,
        train_images: Bands = ("train/images",),
        train_masks: PatternText | None = "train/masks",
        test_images: Bands | None = ("test/images",),
        validation_images: Bands | None = None,
        validation_masks: PatternText | None = None,
        train_table: RelativePath | None = "train.csv",
        sample_submission: RelativePath | None = "sample_submission.csv",
        split_table: RelativePath | None = None,
        split_id_column: Text = "id",
        split_column: Text = "split",
        split_key: Template = "{id}",
        validation: Text = "val",
        test: Text = "test",
        id: Template = "{id}",
        id_column: Text = "id",
        mask_column: Text = "rle_mask",
        class_column: Text | None = None,
        key: Template = "{id}",
        rows: Rows | None = None,
        rle_order: Order = "column",
        rle_relative: bool = False,
        empty: str = "",
        unlisted: Literal["refuse", "empty", "skip"] = "refuse",
        image_suffix: Suffix = ".png",
        mask_suffix: Suffix = ".png",
    ) -> None:
        self.table = Table(train_table, id_column, mask_column, class_column, key, rows, empty, rle_order, rle_relative)
        self.sample = sample_submission
        if fields_of(key) - {"id", "class"} or "id" not in fields_of(key):
            raise SegfoldError(f"key is {key!r}: expected {{id}}, and {{class}} where it names the class")
        if "class" in fields_of(key) and class_column is not None:
            raise SegfoldError(
                f"key is {key!r} and class_column {class_column!r}: expected one of them to name the class"
            )
        for option, column in (("mask_column", mask_column), ("class_column", class_column)):
            if column == id_column:
                raise SegfoldError(f"{option} and id_column are both {column!r}; each is a column of its own")
        super().__init__(
            train_images=train_images,
            train_masks=train_masks,
            test_images=test_images,
            validation_images=validation_images,
            validation_masks=validation_masks,
            split_table=split_table,
            split_id_column=split_id_column,
            split_column=split_column,
            split_key=split_key,
            validation=validation,
            test=test,
            id=id,
            unlisted=unlisted,
            image_suffix=image_suffix,
            mask_suffix=mask_suffix,
        )

    @property
    def _needs_test(self) -> bool:
        return True

    def parts(self, classes: Sequence[str]) -> list[Part]:
        files = [file for file in (self.table.file, self.sample) if file is not None]
        return [*super().parts(classes), *(Part(Pattern(file), True) for file in files)]

    def listing(self, split: Literal["train", "test"], root: Path, classes: Sequence[str]) -> Listing:
        listing = super().listing(split, root, classes)
        if split == "test" or listing.masks or self.table.file is None:
            return listing
        listing.instances = self.table.row == "instance"
        if self.unlisted == "skip":
            listed = row_ids(root / self.table.file, self.table, classes)
            listing.records = {name: record for name, record in listing.records.items() if name in listed}
        return listing

    def _is_absent(self, bands: Sequence[Pattern], root: Path) -> bool:
        return super()._is_absent(bands, root) and self.sample_is_empty(root)

    def sample_is_empty(self, root: Path) -> bool:
        """Whether there is a sample submission, and not a row in it: nobody has the test images."""
        if self.sample is None or not (root / self.sample).is_file():
            return False
        return row_count(root / self.sample) == 0
