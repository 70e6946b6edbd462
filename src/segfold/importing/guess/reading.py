"""What task a set is, and how its files are to be read, by what a sample of them holds."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segfold.importing.guess.mask_values import MaskFacts
from segfold.importing.guess.samples import Samples, Tables, TrainTable
from segfold.tasks import Binary, Multiclass, Multilabel, Task

_FILL = "fill in the names"


@dataclass
class Reading:
    """What follows from samples.

    Attributes:
        task: what its masks are.
        classes: names, as far as they are known.
        named: a comment on them.
        void: value of pixels that do not count.
        files: whether masks are read from files, where there are any.
        objects: whether masks come as objects.
        comments: what was found, for the head of the file.
        options: keys, values and comments.
        suggestions: the same, to be commented out.
    """

    task: type[Task] = Binary
    classes: tuple[str, ...] = ("foreground",)
    named: str = "fill in the name"
    void: int | None = None
    files: bool = True
    objects: bool = False
    comments: list[str] = field(default_factory=list)
    options: list[tuple[str, Any, str]] = field(default_factory=list)
    suggestions: list[tuple[str, Any, str]] = field(default_factory=list)


def reading_of(tables: Tables, samples: Samples) -> Reading:
    """Puts together what tables and samples say."""
    made = Reading()
    if tables.train is not None:
        _by_table(made, tables.train, samples)
    if samples.masks is not None:
        _by_files(made, samples, tables.train)
    _pictures(made, samples)
    _exif(made, samples)
    return made


def _by_table(made: Reading, train: TrainTable, samples: Samples) -> None:
    classes, rows = train.classes, train.rows
    empty = sum(not texts for texts in rows.values())
    made.comments.append(
        f"{train.table.name}: {len(train.table.rows):,} rows{'' if train.table.whole else ' (the first ones)'} of "
        f"{', '.join(map(str, train.table.rows.columns))}; {len(rows):,} images, {empty / max(1, len(rows)):.0%} of them empty"
    )
    if empties := {text or '""': count for text, count in train.columns.empties.most_common(3)}:
        made.comments.append(f"  empty cells: {', '.join(f'{text} ({count})' for text, count in empties.items())}")
    made.objects = train.columns.rows == "instance"
    if made.objects:
        made.comments.append("  several rows an image: a row is an object, or a part of its mask")
    if len(classes) > 1:
        made.task, made.classes, made.named = Multilabel, classes, f"as in {train.table.name}"
        if samples.masks is not None and samples.masks.kind == "image":
            made.files = False
    elif classes:
        made.classes, made.named = classes, f"as in {train.table.name}"


def _by_files(made: Reading, samples: Samples, train: TrainTable | None) -> None:
    masks, facts = samples.masks, samples.facts
    assert masks is not None
    files = sum(map(len, masks.by_id.values()))
    per = {"image": "", "class": ", one a class", "object": ", several an image: one an object"}[masks.kind]
    made.comments.append(f"{files:,} mask files: {masks.family.label} of {len(masks.by_id):,} images{per}")
    made.comments.append(f"  {facts.read} were read: {_values(facts)}; {facts.empty} of them empty")
    if facts.kind == "blurred":
        made.options.append(("mask_threshold", 127, "what lies between black and white is of compression, or soft"))
    if not made.files:
        made.comments.append("  they are not read: the table names classes, and pixels may have several")
        return
    if masks.kind == "class":
        made.task, made.classes, made.named = Multilabel, masks.classes, "by the names of mask files"
        if len(masks.classes) == 1:
            made.task = Binary
    elif masks.kind == "object":
        made.objects = True
    elif facts.kind in ("indices", "greys", "colours") and (train is None or len(train.classes) < 2):
        _several(made, facts)
        return
    if facts.palettes and facts.shows_background:
        made.options.append(("mask_palette", "indices", "the palette gives the background a colour"))


def _several(made: Reading, facts: MaskFacts) -> None:
    """Classes of mask files."""
    made.task, made.named = Multiclass, _FILL
    if facts.kind == "indices":
        made.void = facts.void
        made.classes = tuple(f"class_{number}" for number in range(facts.top + 1))
        made.named = f"{_FILL}, in the order of the indices; a sample may lack the last ones"
        return
    colours = [(value,) * 3 for value in sorted(facts.values)] if facts.kind == "greys" else sorted(facts.colours)
    made.classes = tuple(f"class_{number}" for number in range(len(colours)))
    made.named = f"{_FILL}, here and in mask_colours"
    value = {name: list(colour) for name, colour in zip(made.classes, colours)}
    made.options.append(
        ("mask_colours", value, "red, green, blue; a sample may lack some, those that do not count are void")
    )


def _values(facts: MaskFacts) -> str:
    if facts.colours:
        counts = facts.colours.most_common(8)
        total = sum(facts.colours.values())
        shown = ", ".join(f"{colour} {count / total:.1%}" for colour, count in counts)
        return f"{len(facts.colours)} colours: {shown}"
    total = max(1, sum(facts.values.values()))
    found = sorted(facts.values)
    some = found if len(found) <= 24 else [*found[:12], *found[-2:]]
    shown = ", ".join(f"{value} ({facts.values[value] / total:.1%})" for value in some)
    palette = ", in a palette" if facts.palettes else ""
    return f"values {shown}{f' … {len(found)} in all' if len(found) > 24 else ''}{palette}"


def _pictures(made: Reading, samples: Samples) -> None:
    facts = samples.pictures
    if not facts.shapes:
        return
    if not facts.is_plain and facts.low <= facts.high:
        low, high = _outward(facts.low, facts.high)
        made.options.append(("values", [low, high], "become black and white; the range of the images that were read"))
    elif "uint16" in facts.types and 0 < facts.high <= 32767:
        bits = int(facts.high).bit_length()
        made.suggestions.append(
            ("white", (1 << bits) - 1, f"no value is above {facts.high:g} in the images that were read")
        )
    if facts.last:
        count = facts.last.most_common(1)[0][0]
        made.suggestions.append(
            ("frame", 0, f"to take one of the {count} planes of each file; they may be times, or bands")
        )


def _outward(low: float, high: float) -> tuple[float, float]:
    """A range a little wider than what was found, in round numbers."""
    span = high - low if high > low else 1.0
    step = 10.0 ** np.floor(np.log10(span / 5))
    return float(round(np.floor(low / step) * step, 9)), float(round(np.ceil(high / step) * step, 9))


def _exif(made: Reading, samples: Samples) -> None:
    turned = {name: shape for name, shape in samples.pictures.shapes.items() if name in samples.pictures.exif}
    if not turned:
        return
    votes = {"turn": 0, "ignore": 0}
    stems = {name.rsplit("/")[-1].rsplit(".")[0]: shape for name, shape in turned.items()}
    if samples.masks is not None:
        for files in samples.masks.by_id.values():
            for name in files:
                shape = samples.facts.shapes.get(name)
                stored = next((stems[stem] for stem in stems if name.rsplit("/")[-1].startswith(stem)), None)
                if shape and stored and stored[0] != stored[1]:
                    votes["ignore" if shape == stored else "turn"] += 1
    best = max(votes, key=lambda way: votes[way])
    if votes[best]:
        made.options.append(("exif", best, f"{votes[best]} mask files have that shape"))
    else:
        made.suggestions.append(("exif", "turn", "or ignore: fill in whether masks are drawn on the turned picture"))
