"""Which families are images and masks of which split, by their names and by the ids that they share."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from segfold.importing.guess.families import Family
from segfold.importing.guess.naming import MaskFiles, Naming, affixes, mask_files, named_by, namings
from segfold.importing.guess.words import Part, says_objects, shape

_TRIED = 8  # ways to name images


@dataclass
class Images:
    """The images of a split.

    Attributes:
        family: of their files; of those of the first band where there are several.
        naming: how their paths name them.
        ids: the path of each image, by its id.
        bands: the families of all bands; one where an image is a file.
    """

    family: Family
    naming: Naming
    ids: dict[str, str]
    bands: list[Family]

    @property
    def patterns(self) -> list[str]:
        return [self.naming.pattern(band) for band in self.bands]


@dataclass
class Roles:
    """What families are.

    Attributes:
        train: the training images.
        masks: families that are their masks, the likeliest first.
        validation: images of a validation split in folders of its own, with what may be their masks.
        test: the test images, with what may be their masks.
        other: families that are nothing of these.
    """

    train: Images
    masks: list[MaskFiles]
    validation: Images | None = None
    validation_masks: list[MaskFiles] = field(default_factory=list)
    test: Images | None = None
    test_masks: list[MaskFiles] = field(default_factory=list)
    other: list[Family] = field(default_factory=list)


def find_roles(families: Sequence[Family], cells: Collection[str]) -> Roles:
    """Assigns roles.

    Args:
        families: all of them, at least one.
        cells: texts of tables; ids are among them.
    """
    pictures = [family for family in families if not family.says_mask and not family.ending] or list(families)
    first = [family for family in pictures if family.split == "train"]
    first = first or [family for family in pictures if family.split is None] or pictures
    choices = [
        _choice(family, naming, pictures, families, cells)
        for family in first
        for naming in namings(family, cells)[:_TRIED]
    ]
    best = max(choices, key=lambda choice: choice.rating)  # of equals the first
    train, masks = best.images, best.masks
    if not masks and not named_by(train.naming, train.family, cells):
        masks = _masks_of(train, families, named=False)
    roles = Roles(train, masks)
    silent = [other for other in pictures if other.split is None and train.family.split == "train"]
    roles.validation = _of_split("validation", pictures, train, cells)
    roles.test = _of_split("test", pictures, train, cells) or _unnamed_test(silent, train, cells)
    if roles.validation is not None:
        roles.validation_masks = _masks_of(roles.validation, families)
    if roles.test is not None:
        roles.test_masks = _masks_of(roles.test, families)
    used = {band.files[0].name for images in (train, roles.validation, roles.test) if images for band in images.bands}
    matched = [roles.masks[:1], roles.validation_masks[:1], roles.test_masks[:1]]
    used |= {found.family.files[0].name for part in matched for found in part}
    roles.other = [other for other in families if other.files[0].name not in used]
    return roles


class _Choice(NamedTuple):
    """Images that may be the training images, with what may be their masks.

    Attributes:
        rating: how many are named by tables, or have masks; the number of files decides between equals.
    """

    rating: float
    images: Images
    masks: list[MaskFiles]


def _choice(
    family: Family,
    naming: Naming,
    pictures: Sequence[Family],
    families: Sequence[Family],
    cells: Collection[str],
) -> _Choice:
    images = _images(family, naming, pictures)
    masks, count = _masks_of(images, families), len(images.ids)
    matched = max((len(found.by_id) for found in masks), default=0)
    named = round(named_by(naming, family, cells) * count)
    return _Choice(named + matched + 0.01 * len(masks) + count / 1e9, images, masks)


def _images(family: Family, naming: Naming, pictures: Sequence[Family]) -> Images:
    ids = {own: name for name, own in naming.ids(family).items()}
    bands = [family]
    if family.fixed:
        beside = [other for other in pictures if (other.dirs, other.suffix) == (family.dirs, family.suffix)]
        alike = [other for other in beside if other.fixed and shape(other.fixed) == shape(family.fixed)]
        bands = sorted(alike, key=lambda other: other.fixed) or bands
    return Images(bands[0], naming, ids, bands)


def _of_split(split: Part, pictures: Sequence[Family], train: Images, cells: Collection[str]) -> Images | None:
    return _best([family for family in pictures if family.split == split and family is not train.family], train, cells)


def _unnamed_test(silent: list[Family], train: Images, cells: Collection[str]) -> Images | None:
    """Images in folders that say no split, where tables know them."""
    return _best([family for family in silent if named_by(train.naming, family, cells) > 0.5], train, cells)


def _best(families: list[Family], train: Images, cells: Collection[str]) -> Images | None:
    found = []
    for closed in families:
        family, naming = closed.opened(len(train.naming.folders)), train.naming
        if naming.id == "{id}" and not naming.ids(family):  # ``_test`` may stand where ``_training`` does
            naming = next((replace(naming, stem=stem) for stem in affixes(family)), naming)
        ids = naming.ids(family)
        if len(ids) == len(set(ids.values())) > 0:
            alike = family.fixed == train.family.fixed and family.suffix == train.family.suffix
            found.append((named_by(naming, family, cells), alike, len(ids), family.label, family, naming))
    if not found:
        return None
    return _images(*max(found, key=lambda each: each[:4])[-2:], families)


def _masks_of(images: Images, families: Sequence[Family], named: bool = True) -> list[MaskFiles]:
    """The families that are masks of some images, the likeliest first.

    Args:
        named: whether their names must say so.
    """
    bands = {id(band) for band in images.bands}
    found = []
    for family in families:
        if id(family) in bands or (named and not family.says_mask and not family.ending):
            continue
        if family.split not in (None, images.family.split) and images.family.split is not None:
            continue
        if (match := mask_files(images.naming, images.ids, family)) is not None:
            found.append(match)
    return sorted(found, key=lambda match: (says_objects(match.family.said), -round(match.share, 1), -len(match.by_id)))
