"""Families of image files: those whose paths are alike but for what differs from image to image."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from segfold.importing.guess.words import (
    Part,
    common_front,
    says_anything,
    says_band,
    says_mask,
    shape,
    split_of,
    without_split,
)

_MOST_FIXED = 64  # files of one name each in every folder
_MOST_ENDINGS = 8
_FEW = 3
_MANY = 6  # folders side by side that say nothing are ids, or nothing is


class File(NamedTuple):
    """A file of a family.

    Attributes:
        name: its path.
        folders: names of its folders that differ within the family, from the top.
        stem: its name without the family's ending and suffix.
    """

    name: str
    folders: tuple[str, ...]
    stem: str


@dataclass
class Family:
    """Files in folders of one kind, with one suffix.

    Attributes:
        dirs: names of their folders; None where they differ.
        suffix: how their names end: ``.png``; ``.{*}`` for several.
        ending: what stands before it: ``_mask``.
        fixed: the name that all of them have; empty where they have names of their own.
    """

    dirs: tuple[str | None, ...]
    suffix: str
    ending: str = ""
    fixed: str = ""
    files: list[File] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What the files are, for comments."""
        folder = "".join(f"{'*' if part is None else part}/" for part in self.dirs)
        return f"{folder}{self.fixed or '*'}{self.ending}{self.suffix.replace('{*}', '*')}"

    def opened(self, count: int) -> "Family":
        """The same, where at least ``count`` of the innermost folders differ."""
        if sum(part is None for part in self.dirs) >= count or count > len(self.dirs):
            return self
        cut = len(self.dirs) - count
        dirs = (*self.dirs[:cut], *[None] * count)
        files = [file._replace(folders=PurePosixPath(file.name).parts[cut:-1]) for file in self.files]
        return Family(dirs, self.suffix, self.ending, self.fixed, files)

    @property
    def said(self) -> str:
        """All that its names say."""
        return "/".join([part for part in self.dirs if part is not None] + [self.fixed + self.ending])

    @property
    def split(self) -> Part | None:
        return split_of(self.said)

    @property
    def says_mask(self) -> bool:
        """Whether its names say that masks are in it: those nearest to the files count."""
        return says_mask(self.fixed + self.ending) or any(says_mask(part) for part in self.dirs if part is not None)


def find_families(names: Iterable[str], known: Collection[str]) -> list[Family]:
    """The families of image files, in the order of their names.

    Args:
        names: paths of image files.
        known: what stands in the tables; ids are among it.
    """
    paths = [_taken_apart(name) for name in names]
    stems: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for _, folder, stem, _ in paths:
        stems[folder].add(stem)
    dirs = _general(stems)
    grouped: dict[tuple[tuple[str | None, ...], str], list[File]] = defaultdict(list)
    for name, folder, stem, suffix in paths:
        general = dirs[folder]
        folders = tuple(part for part, known_as in zip(folder, general) if known_as is None)
        grouped[general, suffix].append(File(name, folders, stem))
    families: list[Family] = []
    for (general, suffix), files in grouped.items():
        fixed = _fixed(files, known)
        for name, own in fixed.items():
            families.append(Family(general, suffix, fixed=name, files=own))
        if not fixed:
            families += _by_ending(general, suffix, files, stems)
    return sorted(_joined(families), key=lambda family: family.label)


def _taken_apart(name: str) -> tuple[str, tuple[str, ...], str, str]:
    """A path, its folders, its stem and its suffix."""
    *folder, last = name.split("/")
    stem, mark, suffix = last.rpartition(".")
    return name, tuple(folder), stem, mark + suffix


def _general(stems: Mapping[tuple[str, ...], set[str]]) -> dict[tuple[str, ...], tuple[str | None, ...]]:
    """Each folder with None for those of its parts that differ from image to image.

    What lies below folders of one kind is looked at together, and so are the splits.

    Args:
        stems: names of files by their folder.
    """
    above = {folder[:count] for folder in stems for count in range(len(folder) + 1)}
    made: dict[tuple[str, ...], tuple[str | None, ...]] = {(): ()}
    for depth in range(1, max(map(len, above), default=0) + 1):
        level = [folder for folder in above if len(folder) == depth]
        beside: dict[tuple[str | None, ...], dict[str, set[str]]] = defaultdict(dict)
        for folder in level:
            beside[_splitless(made[folder[:-1]])].setdefault(folder[-1], set()).update(stems.get(folder, ()))
        differing = {parent: _differing(names, parent) for parent, names in beside.items()}
        for folder in level:
            parent = made[folder[:-1]]
            is_one = folder[-1] in differing[_splitless(parent)]
            made[folder] = (*parent, None if is_one else folder[-1])
    return made


def _splitless(general: tuple[str | None, ...]) -> tuple[str | None, ...]:
    return tuple(None if part is None else without_split(part) for part in general)


def _differing(names: Mapping[str, set[str]], parent: tuple[str | None, ...]) -> set[str]:
    """Of folders side by side, with the names of their files, those that are ids or nothing."""
    inside = list(names.values())
    if (
        len(inside) == 2
        and inside[0] == inside[1]
        and len(inside[0]) >= _FEW
        and len(common_front(list(names))) < _FEW
        and not any(says_mask(part) for part in parent if part is not None)
    ):
        return set()  # images in one and masks in the other
    silent = {name for name in names if not says_anything(name)}
    if len(silent) >= _MANY:
        return silent
    shapes = Counter(map(shape, silent))
    return {name for name in silent if shapes[shape(name)] > 1}


def _fixed(files: list[File], known: Collection[str]) -> dict[str, list[File]]:
    """Files of the same few names in each of several folders, by their names; empty where names are of images."""
    by_stem: dict[str, list[File]] = defaultdict(list)
    for file in files:
        by_stem[file.stem].append(file)
    places = {file.folders for file in files}
    if not files[0].folders or len(places) < 2 or len(by_stem) > _MOST_FIXED:
        return {}
    if len(files) < 0.6 * len(places) * len(by_stem):
        return {}
    if len(by_stem) > 1 and len(set(map(shape, by_stem))) == 1:
        # Slices of a volume are named so as well. Ids in a table, or bands by name, tell.
        whole = any(place[-1] in known for place in places) or all(map(says_band, by_stem))
        if not whole:
            return {}
    return dict(by_stem)


def _by_ending(
    general: tuple[str | None, ...], suffix: str, files: list[File], stems: dict[tuple[str, ...], set[str]]
) -> list[Family]:
    """One family, or one for each ending by which files are told from others beside them: ``_mask``."""
    endings: Counter[str] = Counter()
    ending_of: dict[str, str] = {}
    for file in files:
        beside = stems[_taken_apart(file.name)[1]]
        for at in (match.start() for match in re.finditer(r"[-_. ]", file.stem)):
            if file.stem[:at] in beside and re.search("[A-Za-z]", file.stem[at:]):
                endings[file.stem[at:]] += 1
                ending_of[file.name] = file.stem[at:]
                break
    if not endings and (last := _last_words(files)):
        ending_of = last
        endings.update(last.values())
    common = {ending for ending, count in endings.items() if count > 1 and count >= 0.05 * len(files)}
    found: dict[str, Family] = {}
    for file in files:
        ending = ending_of.get(file.name, "")
        ending = ending if ending in common else ""
        family = found.setdefault(ending, Family(general, suffix, ending))
        family.files.append(file._replace(stem=file.stem.removesuffix(ending)))
    return list(found.values())


def _last_words(files: list[File]) -> dict[str, str]:
    """The last words of names, ``_gtFine_labelIds``, by paths, where there are several and all say that it is a mask."""
    found: dict[str, str] = {}
    for file in files:
        if (match := re.search(r"[-_. ][A-Za-z][A-Za-z0-9]*(?:[-_. ][A-Za-z][A-Za-z0-9]*)*$", file.stem)) is None:
            return {}
        found[file.name] = match[0]
    kinds = set(found.values())
    return found if 1 < len(kinds) <= _MOST_ENDINGS and all(map(says_mask, kinds)) else {}


def _joined(families: list[Family]) -> list[Family]:
    """Families of images in the same folders that differ in their suffixes alone (some JPEG, some PNG) are one."""
    kept: list[Family] = []
    by_place: dict[tuple[object, ...], list[Family]] = defaultdict(list)
    for family in families:
        if family.ending or family.fixed:
            kept.append(family)
        else:
            by_place[family.dirs].append(family)
    for dirs, beside in by_place.items():
        keys = [{(file.folders, file.stem.lower()) for file in family.files} for family in beside]
        if len(beside) > 1 and len(set().union(*keys)) == sum(map(len, keys)):
            files = sorted(file for family in beside for file in family.files)
            kept.append(Family(dirs, ".{*}", files=files))  # type: ignore[arg-type]
        else:
            kept += beside
    return kept
