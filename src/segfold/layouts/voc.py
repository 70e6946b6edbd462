"""Pascal VOC's layout: one folder of images, one of palette masks, and lists of ids a split."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from segfold.errors import SegfoldError
from segfold.layouts.base import Layout, Split
from segfold.layouts.ids import entry_of
from segfold.layouts.lists import read_list
from segfold.layouts.patterns import Match, Pattern, PatternText, Text
from segfold.layouts.records import Ids, Listing, Part, Record, check_fields

_LATER = {"validation": "val", "test": "test"}  # lists that a set may lack


class Voc(Layout):
    """Images, masks of class indices, maps of objects, and a list of ids for each split.

    Args:
        images: where the images of all splits lie.
        masks: where the masks of class indices lie, with or without a palette. Those of a test list are not read.
        objects: where maps of object numbers lie, if there are any; null to leave them.
        splits: where the lists lie.
        train: name of the list of training images.
        validation: of the list of validation images, which are trained on in other folds than theirs; null for none.
        test: of the list of test images; null for none.
    """

    def __init__(
        self,
        *,
        images: PatternText = "JPEGImages/{id}.jpg",
        masks: PatternText = "SegmentationClass/{id}.png",
        objects: PatternText | None = "SegmentationObject/{id}.png",
        splits: PatternText = "ImageSets/Segmentation/{split}.txt",
        train: Text = "train",
        validation: Text | None = "val",
        test: Text | None = "test",
    ) -> None:
        self.images, self.masks = Pattern(images), Pattern(masks)
        self.objects = None if objects is None else Pattern(objects)
        self.splits, self.lists = Pattern(splits), {"train": train, "validation": validation, "test": test}
        patterns = {"images": self.images, "masks": self.masks, "objects": self.objects}
        for option, pattern in patterns.items():
            if pattern is None:
                continue
            check_fields(option, [pattern], Ids())
            if pattern.fields != {"id"}:
                raise SegfoldError(f"{option} is {pattern.text!r}: expected {{id}} as its only field")
        if self.splits.fields != {"split"}:
            raise SegfoldError(f"splits is {splits!r}: expected {{split}} as its only field")

    def parts(self, classes: Sequence[str]) -> list[Part]:
        found = [Part(self.images, True), Part(self.masks, True)]
        if self.objects is not None:
            found.append(Part(self.objects, False))
        lists = [(which, name) for which, name in self.lists.items() if name is not None]
        return found + [Part(Pattern(self._list(name)), _LATER.get(which) != name) for which, name in lists]

    @property
    def has_split(self) -> bool:
        return self.lists["validation"] is not None

    def _list(self, name: str) -> str:
        return self.splits.path({"split": name})

    def image_path(self, split: Split, name: str) -> str:
        return self.images.path({"id": name})

    def used(self, files: Mapping[str, Path]) -> dict[str, Path]:
        ids: set[str] = set()
        for name in self.lists.values():
            if name is not None and (file := files.get(self._list(name))) is not None:
                ids |= set(read_list(file))
        kept = {
            pattern.path({"id": name}) for pattern in (self.images, self.masks, self.objects) if pattern for name in ids
        }
        lists = {self._list(name) for name in self.lists.values() if name is not None}
        ours = (self.images, self.masks, *(() if self.objects is None else (self.objects,)))
        return {
            path: file
            for path, file in files.items()
            if path in kept or path in lists or not any(pattern.match(path) for pattern in ours)
        }

    def listing(self, split: Split, root: Path, classes: Sequence[str]) -> Listing:
        listing = Listing(
            folder=self.images.base, what=self.images.what, label=self.images.label, masks=split == "train"
        )
        listing.absent = split == "test" and not self._has("test", root)
        whole: dict[str, str] = {}
        for which in ("train", "validation") if split == "train" else ("test",):
            if not self._has(which, root):
                continue
            path = self._list(str(self.lists[which]))
            for name in read_list(root / path):
                if name in whole:
                    listing.problems.append(
                        f"{path}: {name} is there twice, or in {whole[name]} as well; remove one line"
                    )
                    continue
                whole[name] = path
                image = self._file(self.images, name, root)
                if image is None:
                    file = self.images.path({"id": name})
                    listing.problems.append(f"{path}: {name} has no file {file}; add it, or remove the line")
                    continue
                record = Record(name, (image,), held_out=which == "validation")
                listing.records[name] = record
                if split == "train":
                    self._give_mask(listing, record, root)
        listing.records = dict(sorted(listing.records.items()))
        return listing

    def _has(self, which: str, root: Path) -> bool:
        name = self.lists[which]
        if name is None:
            return False
        return _LATER.get(which) != name or (root / self._list(name)).is_file()

    def _give_mask(self, listing: Listing, record: Record, root: Path) -> None:
        mask = self._file(self.masks, record.id, root)
        if mask is None:
            listing.missing[record.id] = self.masks.path({"id": record.id})
            return
        record.masks = (mask,)
        if self.objects is not None and (root / self.objects.base).is_dir():
            listing.instances = True
            record.objects = self._file(self.objects, record.id, root)
            if record.objects is None:
                listing.missing[record.id] = self.objects.path({"id": record.id})

    def _file(self, pattern: Pattern, name: str, root: Path) -> Match | None:
        path = pattern.path({"id": name})
        file = entry_of((root / path).parent, (root / path).name)
        try:
            status = file.stat()
        except (OSError, ValueError):
            return None
        return Match(path, str(file), status.st_size, status.st_mtime_ns, {"id": name})
