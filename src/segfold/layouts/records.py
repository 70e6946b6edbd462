"""The images of a split, each with its files, as a layout finds them in a data folder."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from segfold.errors import SegfoldError
from segfold.layouts.patterns import Match, Pattern, fields_of, template

CLASS = "class"


@dataclass
class Record:
    """One image.

    Attributes:
        id: of the image.
        images: its files, one a band.
        masks: files of its mask: one, or one a class, or one an object.
        objects: a file of object numbers.
        held_out: whether it is of the competition's own validation split.
    """

    id: str
    images: tuple[Match, ...]
    masks: tuple[Match, ...] = ()
    objects: Match | None = None
    held_out: bool = False


@dataclass
class Listing:
    """The records of a split, and what is wrong with them.

    Attributes:
        records: by id.
        masks: whether the files of records are their masks; else the rows of the train table are.
        problems: a line each, files first.
        missing: of each id whose mask file is missing, where it is expected.
        stray: mask files without an image.
        elsewhere: ids of images of other splits, which tables and folders may hold as well.
        instances: whether the masks come as objects, or with a map of them.
        absent: whether the competition has no such split.
        folder: where images were looked for.
        what: how their names end.
        label: what to call the place.
    """

    records: dict[str, Record] = field(default_factory=dict)
    masks: bool = False
    problems: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    stray: list[str] = field(default_factory=list)
    elsewhere: set[str] = field(default_factory=set)
    instances: bool = False
    absent: bool = False
    folder: str = ""
    what: str = ""
    label: str = ""


@dataclass(frozen=True)
class Part:
    """Files that a competition's data consists of.

    Attributes:
        pattern: where they lie; one without a field is a single file.
        needed: whether there is no such data without them.
        unless_empty: a table without whose rows they are not needed after all; empty for none.
    """

    pattern: Pattern
    needed: bool
    unless_empty: str = ""

    @property
    def is_file(self) -> bool:
        return not self.pattern.fields

    @property
    def label(self) -> str:
        return self.pattern.label

    @property
    def _own(self) -> tuple[str, ...]:
        return self.pattern.parts if self.is_file else PurePosixPath(self.pattern.base).parts

    @property
    def depth(self) -> int:
        """How many folders down it, or the folder of it, lies in a data folder."""
        return len(self._own)

    def ends(self, path: PurePosixPath) -> bool:
        """Whether ``path``, in the form of ``one_form``, is this part, or the folder of it, below some folder."""
        own = self._own
        return path.parts[len(path.parts) - len(own) :] == own

    def files(self, place: Path) -> dict[str, Path]:
        """The files of this part where it lies at ``place``, by their paths in the data folder."""
        if self.is_file:
            return {self.pattern.text: place} if place.is_file() else {}
        if not place.is_dir():
            return {}
        return {match.name: match.path for match in sorted(self.pattern.below(place))}

    def place(self, root: Path) -> Path:
        """Where it lies in a data folder."""
        return root / (self.pattern.text if self.is_file else self.pattern.base)


class Ids:
    """How ids are put together from the fields of a path, and found again in one.

    Args:
        text: ``{id}``, or say ``{case}_{day}``.
    """

    def __init__(self, text: str = "{id}") -> None:
        self.text = text
        self.fields = fields_of(text)

    def of(self, fields: Mapping[str, str]) -> str:
        return fields["id"] if self.text == "{id}" else self.text.format_map(fields)

    def fields_in(self, name: str) -> dict[str, str]:
        """The fields of an id, as far as they can be told."""
        match = template(self.text).fullmatch(name)
        return {} if match is None else match.groupdict()


def check_fields(option: str, patterns: Iterable[Pattern], ids: Ids, classes: bool = False) -> None:
    """Refuses patterns from which no id can be made.

    Args:
        option: what the patterns are called.
        classes: whether they may have the field ``{class}``.

    Raises:
        SegfoldError: a pattern lacks a field of the id, or names a class.
    """
    for pattern in patterns:
        if lacking := sorted(ids.fields - pattern.fields):
            named = ", ".join(f"{{{name}}}" for name in lacking)
            raise SegfoldError(
                f"{option} is {pattern.text!r}: expected {named} in it, of which ids are made ({ids.text})"
            )
        if CLASS in pattern.fields and not classes:
            raise SegfoldError(f"{option} is {pattern.text!r}: an image has no {{class}}, only its masks have")


def by_id(pattern: Pattern, ids: Ids, root: Path, left_out: Container[str] = ()) -> dict[str, list[Match]]:
    """The files of a pattern by the id that they belong to, in the order of their names. Errors as ``Pattern.find``."""
    found: dict[str, list[Match]] = {}
    for match in sorted(pattern.find(root)):
        if match.name not in left_out:
            found.setdefault(ids.of(match.fields), []).append(match)
    return found


def image_records(
    listing: Listing, bands: Sequence[Pattern], ids: Ids, root: Path, left_out: Iterable[str] = ()
) -> dict[str, Record]:
    """A record for each image.

    Args:
        listing: gets what is wrong.
        bands: where the files of each band lie.
        left_out: names of files that are no images: masks that lie beside them.

    Raises:
        SegfoldError: as ``Pattern.find``.
    """
    masks = set(left_out)
    files = [by_id(band, ids, root, masks) for band in bands]
    records = {}
    for name in sorted(set().union(*files)):
        found = [of_band.get(name, []) for of_band in files]
        for band, matches in zip(bands, found):
            if len(matches) > 1:
                named = " and ".join(match.name for match in matches[:3])
                listing.problems.append(f"{named}: more than one file for image {name}; make the pattern narrower")
            elif not matches:
                listing.problems.append(
                    f"{band.path(ids.fields_in(name))}: missing, other bands of its image are there"
                )
        if all(found):
            records[name] = Record(name, tuple(matches[0] for matches in found))
    return records


def give_masks(
    listing: Listing,
    records: Mapping[str, Record],
    pattern: Pattern,
    ids: Ids,
    root: Path,
) -> None:
    """Gives records their mask files; of those that have none, and of files without an image, ``listing`` hears.

    Raises:
        SegfoldError: as ``Pattern.find``.
    """
    found = by_id(pattern, ids, root)
    single = is_single(pattern, ids)
    for name, matches in found.items():
        if name not in records:
            listing.stray += [match.name for match in matches if name not in listing.elsewhere]
            continue
        if single and len(matches) > 1:
            named = " and ".join(match.name for match in matches[:3])
            listing.problems.append(
                f"{named}: more than one mask file for image {name}; give one a class or object a field"
            )
        records[name].masks = tuple(matches)
    for name in sorted(records.keys() - found.keys()):
        listing.missing[name] = pattern.path(ids.fields_in(name))


def is_single(pattern: Pattern, ids: Ids) -> bool:
    """Whether a mask is one file."""
    return _telling(pattern, ids) <= ids.fields


def are_objects(pattern: Pattern, ids: Ids) -> bool:
    """Whether each mask file is an object: there are several an image, and not for their classes alone."""
    return not _telling(pattern, ids) <= ids.fields | {CLASS}


def _telling(pattern: Pattern, ids: Ids) -> frozenset[str]:
    """The fields that tell files of an image apart: in ``masks/{*}/{id}.png`` the folder does not."""
    own = fields_of(pattern.parts[-1])
    return pattern.fields - {"*"} | own if own & ids.fields else pattern.fields
