"""Layouts whose images and masks lie in folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from segfold.errors import SegfoldError
from segfold.layouts.base import Layout, Split
from segfold.layouts.patterns import Bands, Pattern, PatternText, RelativePath, Suffix, Template, Text
from segfold.layouts.records import (
    Ids,
    Listing,
    Part,
    Record,
    are_objects,
    check_fields,
    give_masks,
    image_records,
)
from segfold.layouts.table import keyed, read_table


class Folders(Layout):
    """Images and masks in folders, no table.

    Paths are those of files, with fields: ``train/{id}/image.png``; or of a folder of files that are named by their ids and a
    suffix. A list of paths is one a band of the image.

    Args:
        train_images: where the training images lie.
        train_masks: where their masks lie: a file an image; with ``{class}``, one a class; with a further field, or ``{*}``,
            one an object.
        test_images: where the test images lie; null where there are none.
        validation_images: where images of a validation split lie, if the competition has one in folders of its own.
        validation_masks: where their masks lie; null for with the others.
        split_table: a table that says which images are for validation and which for testing.
        split_id_column: column of the split table that names images.
        split_column: its column of splits.
        split_key: what stands in the column of ids: ``{id}.jpg``.
        validation: in that column, validation images.
        test: in that column, test images.
        id: how ids are made of the fields of paths.
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
        split_table: RelativePath | None = None,
        split_id_column: Text = "id",
        split_column: Text = "split",
        split_key: Template = "{id}",
        validation: Text = "val",
        test: Text = "test",
        id: Template = "{id}",
        unlisted: Literal["refuse", "empty", "skip"] = "refuse",
        image_suffix: Suffix = ".png",
        mask_suffix: Suffix = ".png",
    ) -> None:
        self.train_images, self.test_images, self.validation_images = train_images, test_images, validation_images
        self.train_masks, self.validation_masks = train_masks, validation_masks
        self.split_table, self.split_column, self.split_id_column = split_table, split_column, split_id_column
        self.split_key, self.validation, self.test = split_key, validation, test
        self.ids, self.unlisted = Ids(id), unlisted
        self.image_suffix, self.mask_suffix = image_suffix, mask_suffix
        if self.ids.fields & {"*", "class"} or not self.ids.fields:
            raise SegfoldError(f"id is {id!r}: expected named fields of the images' paths, such as {{id}}")
        if train_masks is None and self.table.file is None:
            raise SegfoldError("train_masks is null, and there is no table of masks: name one of them")
        for option in ("train_images", "test_images", "validation_images"):
            check_fields(option, self._bands(getattr(self, option)), self.ids)
        for option in ("train_masks", "validation_masks"):
            if (masks := self._mask_pattern(getattr(self, option), ())) is not None:
                check_fields(option, [masks], self.ids, classes=True)

    def _bands(self, paths: Bands | None) -> list[Pattern]:
        return [Pattern.of(path, self.image_suffix) for path in paths or ()]

    def _mask_pattern(self, path: str | None, classes: Sequence[str]) -> Pattern | None:
        return None if path is None else Pattern.of(path, self.mask_suffix, classes)

    def parts(self, classes: Sequence[str]) -> list[Part]:
        found = [Part(band, True) for band in self._bands(self.train_images)]
        found += [Part(band, self._needs_test, self.sample or "") for band in self._bands(self.test_images)]
        found += [Part(band, True) for band in self._bands(self.validation_images)]
        found += [Part(Pattern(file), True) for file in self._tables()]
        for path in (self.train_masks, self.validation_masks):
            if (masks := self._mask_pattern(path, classes)) is not None:
                found.append(Part(masks, self.table.file is None))
        return found

    @property
    def has_split(self) -> bool:
        return self.validation_images is not None or self.split_table is not None

    @property
    def _needs_test(self) -> bool:
        return False

    def _tables(self) -> list[str]:
        return [] if self.split_table is None else [self.split_table]

    def image_path(self, split: Split, name: str) -> str:
        paths = self.train_images if split == "train" or self.test_images is None else self.test_images
        return self._bands(paths)[0].path(self.ids.fields_in(name))

    def listing(self, split: Split, root: Path, classes: Sequence[str]) -> Listing:
        listing = self._train(root, classes) if split == "train" else self._test(root, classes)
        listing.records = dict(sorted(listing.records.items()))
        return listing

    def _listing(self, bands: list[Pattern]) -> Listing:
        if not bands:
            return Listing(absent=True)
        return Listing(folder=bands[0].base, what=bands[0].what, label=bands[0].label)

    def _train(self, root: Path, classes: Sequence[str]) -> Listing:
        bands = self._bands(self.train_images)
        listing = self._listing(bands)
        masks = self._mask_pattern(self.train_masks, classes)
        beside = self._beside(bands, masks, root)
        listing.masks = masks is not None and self._masks_lie(bands, masks, beside, root)
        everything = image_records(listing, bands, self.ids, root, beside)
        records = self._of_split(listing, everything, root, "train")
        listing.elsewhere = everything.keys() - records.keys()
        held_out = self._validation(listing, records, root, classes)
        if masks is not None and listing.masks:
            shared = held_out if self.validation_masks is None else {}
            give_masks(listing, {**records, **shared}, masks, self.ids, root)
            listing.instances = are_objects(masks, self.ids)
        listing.records = {**records, **held_out}
        if self.unlisted != "refuse":
            for name in listing.missing if self.unlisted == "skip" else ():
                del listing.records[name]
            listing.missing.clear()
        return listing

    def _beside(self, bands: Sequence[Pattern], masks: Pattern | None, root: Path) -> list[str]:
        """Mask files that lie where images do."""
        if masks is None or not any(band.base == masks.base for band in bands) or not (root / masks.base).is_dir():
            return []
        return [match.name for match in masks.find(root)]

    def _masks_lie(self, bands: Sequence[Pattern], masks: Pattern, beside: list[str], root: Path) -> bool:
        """Whether masks are to be read from files."""
        if self.table.file is None or any(band.base == masks.base for band in bands):
            return bool(beside) or self.table.file is None
        return (root / masks.base).is_dir()

    def _validation(
        self, listing: Listing, records: dict[str, Record], root: Path, classes: Sequence[str]
    ) -> dict[str, Record]:
        """Records of a validation split in folders of its own."""
        bands = self._bands(self.validation_images)
        if not bands:
            return {}
        masks = self._mask_pattern(self.validation_masks, classes)
        found = image_records(listing, bands, self.ids, root, self._beside(bands, masks, root))
        for name in sorted(found.keys() & records.keys()):
            listing.problems.append(f"{found[name].images[0].name}: id {name} is a training image's too")
        for record in found.values():
            record.held_out = True
        if masks is not None and listing.masks:
            give_masks(listing, found, masks, self.ids, root)
        return found

    def _test(self, root: Path, classes: Sequence[str]) -> Listing:
        bands = self._bands(self.test_images)
        if not bands and self.split_table is not None and self.test in self._splits(root).values():
            bands = self._bands(self.train_images)
            listing = self._listing(bands)
            beside = self._beside(bands, self._mask_pattern(self.train_masks, classes), root)
            everything = image_records(listing, bands, self.ids, root, beside)
            listing.records = self._of_split(listing, everything, root, "test")
            return listing
        listing = self._listing(bands)
        if bands and self._is_absent(bands, root):
            listing.absent = True
        if not listing.absent:
            listing.records = image_records(listing, bands, self.ids, root)
        return listing

    def _is_absent(self, bands: Sequence[Pattern], root: Path) -> bool:
        """Whether there are no test images, and need not be."""
        return not any((root / band.base).is_dir() for band in bands)

    def _splits(self, root: Path) -> dict[str, str]:
        """What the split table says of each id."""
        if self.split_table is None:
            return {}
        table = read_table(root / self.split_table, [self.split_id_column, self.split_column])
        return dict(zip(keyed(table[self.split_id_column], self.split_key), table[self.split_column]))

    def _of_split(self, listing: Listing, records: dict[str, Record], root: Path, split: Split) -> dict[str, Record]:
        """The records of a split by the split table, those of the validation split marked."""
        if self.split_table is None:
            return dict(records)
        splits, found = self._splits(root), {}
        for name, record in records.items():
            if name not in splits:
                listing.problems.append(f"{record.images[0].name}: no line in {self.split_table}")
            if (splits.get(name) == self.test) == (split == "test"):
                found[name] = record
            record.held_out = splits.get(name) == self.validation
        return found
