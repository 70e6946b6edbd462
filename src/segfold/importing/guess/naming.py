"""How the paths of a family name its images, and which masks are whose."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from segfold.importing.guess.families import Family, File
from segfold.importing.guess.words import common_front
from segfold.layouts.patterns import Pattern
from segfold.layouts.records import CLASS, Ids

_MOST_CLASSES = 60
_SAMPLE = 2000  # files that a naming is tried on


@dataclass(frozen=True)
class Naming:
    """Where an id stands in the paths of a family.

    Attributes:
        id: how it is made of fields.
        stem: what the names of files are, without ending and suffix.
        folders: fields of the innermost folders that differ; those above them stand for anything.
        core: what of ``stem`` is of the image, and so in the names of its masks as well.
    """

    id: str = "{id}"
    stem: str = "{id}"
    folders: tuple[str, ...] = ()
    core: str = "{id}"

    def pattern(self, family: Family) -> str:
        """The path of the family's files."""
        count = sum(part is None for part in family.dirs)
        fields = [*["*"] * (count - len(self.folders)), *self.folders][-count:] if count else []
        inside = iter(fields)
        dirs = [f"{{{next(inside)}}}" if part is None else part for part in family.dirs]
        return "/".join([*dirs, f"{family.fixed or self.stem}{family.ending}{family.suffix}"])

    def ids(self, family: Family, most: int | None = None) -> dict[str, str]:
        """The id of each file, by its path; files that are not named so have none."""
        maker, files = Ids(self.id), _spread(family.files, most)
        found = matches(self.pattern(family), files)
        return {name: maker.of(fields) for name, fields in found if maker.fields <= fields.keys()}


def matches(text: str, files: list[File], classes: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, str]]]:
    """Paths that fit a pattern, with their fields."""
    pattern = Pattern(text, classes)
    for file in files:
        if (fields := pattern.match(file.name)) is not None:
            yield file.name, fields


def _spread(files: list[File], most: int | None) -> list[File]:
    return files if most is None else files[:: max(1, len(files) // most)]


def namings(family: Family, cells: Collection[str]) -> list[Naming]:
    """How its images may be named, the plainest first; each gives every image an id of its own.

    Args:
        cells: texts of tables.
    """
    found = [naming for naming in _possible(family, cells) if _is_unique(naming, family)]
    return found or [Naming()]


def named_by(naming: Naming, family: Family, cells: Collection[str]) -> float:
    """Share of a family's ids that stand in tables."""
    ids = naming.ids(family, _SAMPLE).values()
    return sum(name in cells for name in ids) / max(1, len(ids))


def _is_unique(naming: Naming, family: Family) -> bool:
    for some in (_SAMPLE, None):  # most that are not are not in a sample either
        ids = naming.ids(family, some)
        if len(ids) < len(_spread(family.files, some)) or len(set(ids.values())) < len(ids):
            return False
    return True


def _possible(family: Family, cells: Collection[str]) -> Iterator[Naming]:
    depth = sum(part is None for part in family.dirs)
    if family.fixed:
        yield Naming(stem="", folders=("id",))
        if depth > 1:
            yield Naming("{folder}_{id}", "", ("folder", "id"))
        return
    if depth and all(file.stem == file.folders[-1] for file in family.files):
        yield Naming(folders=("id",))
    yield Naming()
    yield from (Naming(stem=stem) for stem in affixes(family))
    for level in range(1, depth + 1):
        fields = ("folder",) if level == 1 else tuple(f"folder{number}" for number in range(1, level + 1))
        front = "_".join(f"{{{name}}}" for name in fields)
        yield from _shortened(family, cells, front, fields)
        # ``ulm/ulm_000001.png`` is ``ulm_000001`` rather than ``ulm_ulm_000001``.
        inside = f"{{{fields[-1]}}}_{{name}}"
        begins = all(file.stem.startswith(f"{file.folders[-1]}_") for file in family.files)
        for core in [inside, "{name}"] if begins else ["{name}"]:
            own = front.removesuffix(f"{{{fields[-1]}}}") + inside if core == inside else f"{front}_{{name}}"
            for stem in ["{id}", *affixes(family)]:
                yield Naming(own, stem.replace("{id}", core), fields, core)
    yield from _shortened(family, cells, "", ())


def _shortened(family: Family, cells: Collection[str], front: str, fields: tuple[str, ...]) -> Iterator[Naming]:
    """Where tables know the beginnings of names alone: ``slice_0001`` of ``slice_0001_266_266``."""
    counts: Counter[int] = Counter()
    for file in _spread(family.files, 50):
        steps = file.stem.split("_")
        above = "_".join(file.folders[-len(fields) :]) + "_" if fields else ""
        counts.update(count for count in range(1, len(steps)) if above + "_".join(steps[:count]) in cells)
    # Shorter ones begin the texts of tables as well.
    often = [count for count, hits in counts.items() if hits >= 0.5 * max(counts.values())]
    for count in sorted(often)[-1:]:
        split = [file.stem.split("_")[:count] for file in family.files]
        parts, number = [], 0
        for values in map(set, zip(*split)):
            number += len(values) > 1
            parts.append(f"{{name{number}}}" if len(values) > 1 else values.pop())
        stem = "_".join(parts).replace("{name1}", "{name}") if number == 1 else "_".join(parts)
        yield Naming(f"{front}_{stem}".lstrip("_"), f"{stem}_{{*}}", fields, stem)


def affixes(family: Family) -> list[str]:
    """Stems with what all names begin or end with left out of the id: ``img_{id}``, ``{id}_leftImg8bit``."""
    stems = [file.stem for file in family.files]
    if len(stems) < 2:
        return []
    lead = re.sub(r"[0-9]+$", "", "".join(common_front(stems)))
    back = "".join(common_front([stem[::-1] for stem in stems]))[::-1]
    tail = back[found.start() :] if (found := re.search(r"[-_. ](?=[A-Za-z])", back)) else ""
    lead, tail = (part if re.search("[A-Za-z]", part) else "" for part in (lead, tail))
    if any(len(lead) + len(tail) >= len(stem) for stem in stems):
        return []
    pairs = [("", tail), (lead, ""), (lead, tail)]
    return list(dict.fromkeys(f"{first}{{id}}{last}" for first, last in pairs if first or last))


@dataclass(frozen=True)
class MaskFiles:
    """The mask files of images.

    Attributes:
        family: of the files.
        pattern: where they lie.
        kind: a file an image, one a class, or one an object.
        share: of the files that belong to an image.
        by_id: the files of each image.
        classes: of files a class.
    """

    family: Family
    pattern: str
    kind: Literal["image", "class", "object"]
    share: float
    by_id: dict[str, list[str]]
    classes: tuple[str, ...] = ()


def mask_files(naming: Naming, ids: Collection[str], family: Family) -> MaskFiles | None:
    """How a family's files are the masks of images; None where they are not."""
    best: MaskFiles | None = None
    mark, rests = _after_ids(ids, family)
    for text in dict.fromkeys(_mask_patterns(naming, family, mark)):
        found = _tried(text, naming, ids, family, _classes(text, family, rests))
        if found is not None and (best is None or found.share > best.share + 0.02):
            best = found
            if best.share > 0.98:  # no other is better
                break
    return best if best is not None and best.share >= 0.5 else None


def _classes(text: str, family: Family, rests: tuple[str, ...]) -> tuple[str, ...]:
    """What may stand for the class in a pattern."""
    if "{class}" not in text:
        return ()
    if text.rsplit("/", 1)[-1].startswith("{class}"):
        return tuple(sorted({file.stem for file in family.files}))
    return tuple(sorted({file.folders[-1] for file in family.files})) if "{class}/" in text else rests


def _tried(text: str, naming: Naming, ids: Collection[str], family: Family, known: Sequence[str]) -> MaskFiles | None:
    """
    Args:
        known: what may stand for the class; empty for anything.
    """
    maker = Ids(naming.id)
    some = _spread(family.files, _SAMPLE)
    found = [fields for _, fields in matches(text, some, known) if maker.fields <= fields.keys()]
    if sum(maker.of(fields) in ids for fields in found) < 0.4 * len(some):
        return None
    by_id: dict[str, list[str]] = {}
    classes: Counter[str] = Counter()
    for name, fields in matches(text, family.files, known):
        if maker.fields <= fields.keys() and (own := maker.of(fields)) in ids:
            by_id.setdefault(own, []).append(name)
            classes[fields.get(CLASS, "")] += 1
    share = sum(map(len, by_id.values())) / max(1, len(family.files))
    kind: Literal["image", "class", "object"] = "image"
    if "{class}" in text:
        if len(classes) > min(_MOST_CLASSES, max(2, len(by_id) // 2)) or max(classes.values(), default=0) < 2:
            return None
        kind = "class"
        if len(classes) == 1:
            text, kind = text.replace("{class}", next(iter(classes))), "image"
        elif not any(len(files) > 1 for files in by_id.values()):
            return None
    elif text.split("/")[-1].startswith("{*}") or re.search(r"\{id\}[^{}]\{\*\}", text):
        kind = "object"
    elif any(len(files) > 1 for files in by_id.values()):
        return None
    return MaskFiles(family, text, kind, share, by_id, tuple(sorted(classes)) if kind == "class" else ())


def _mask_patterns(naming: Naming, family: Family, mark: str) -> Iterator[str]:
    depth = sum(part is None for part in family.dirs)
    ways = [naming.folders] if depth >= len(naming.folders) else []
    if naming.id == "{id}":
        ways = list(dict.fromkeys([*(ways if depth else []), ("id",) if depth else (), ()]))
    for folders in ways:
        if family.fixed:
            yield Naming(naming.id, "", folders).pattern(family)
            continue
        for stem in ["{id}", *affixes(family)]:
            yield Naming(naming.id, stem.replace("{id}", naming.core), folders).pattern(family)
        if naming.id != "{id}":
            continue
        if folders == ("id",):
            yield Naming(stem="{class}", folders=folders).pattern(family)
            yield Naming(stem="{*}", folders=folders).pattern(family)
        elif depth:
            yield Naming(stem="{id}", folders=("class",)).pattern(family)
        if mark:
            yield Naming(stem=f"{{id}}{mark}{{class}}", folders=folders).pattern(family)
            yield Naming(stem=f"{{id}}{mark}{{*}}", folders=folders).pattern(family)


def _after_ids(ids: Collection[str], family: Family) -> tuple[str, tuple[str, ...]]:
    """What stands between an id and the number or class of a mask, and those numbers or classes."""
    marks: Counter[str] = Counter()
    rests: Counter[str] = Counter()
    for file in family.files:
        for match in reversed(list(re.finditer(r"[-_. ]", file.stem))):
            if file.stem[: match.start()] in ids:
                marks[match[0]] += 1
                rests[file.stem[match.end() :]] += 1
                break
    mark = next((mark for mark, count in marks.most_common(1)), "")
    return mark, tuple(rests) if len(rests) <= _MOST_CLASSES else ()
