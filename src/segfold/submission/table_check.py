"""Checks a table of run lengths."""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from segfold.errors import SegfoldError
from segfold.layouts.ids import one_form
from segfold.layouts.rle import decode_batch, encode_batch, runs_of
from segfold.layouts.table import shorten
from segfold.resize import Shape
from segfold.submission.findings import Findings, lines, of_masks, some
from segfold.submission.forms import Row, Shapes, Table

Item = TypeVar("Item", int, str)
Key = tuple[str, ...]

_PIXELS_AT_ONCE = 1 << 24


class _Line(NamedTuple):
    """Of a table: its number in the file, the fields that say what it is about, and the run lengths."""

    number: int
    key: Key
    text: str


def check_table(path: Path, table: Table, shapes: Shapes) -> Findings:
    """See ``segfold.submission.check.check_submission``."""
    header, found, problems = _read(path)
    if header != table.columns:
        blanks = ", without the blanks around them" if [name.strip() for name in header] == table.columns else ""
        problems.append(f"the columns are {shorten(header)!r}, expected {', '.join(table.columns)!r}{blanks}")
        header = [name.strip() for name in header]
        if any(header.count(column) != 1 for column in table.columns):
            return Findings(lines(problems), [])
    wrong = [str(number) for number, fields in found if len(fields) != len(header)]
    if wrong:
        problems.append(f"not {len(header)} fields on line {shorten(wrong)}")
    *at_key, at_mask = (header.index(column) for column in table.columns)
    rows = [
        _Line(number, tuple(fields[place] for place in at_key), fields[at_mask])
        for number, fields in found
        if len(fields) == len(header)
    ]
    targets = table.targets(shapes)
    problems += _key_problems([row.key for row in rows], targets, table, shapes, bool(wrong))
    bad, unusual = _mask_findings(rows, targets, table, shapes)
    return Findings(lines(problems + bad), lines(unusual))


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]], list[str]]:
    """The header, the numbered lines (blank ones left out), and what kept the rest from being read."""
    # Read by ``csv`` and not pandas, which fills a line that is too short without a word.
    limit = csv.field_size_limit(1 << 30)  # a mask's text may be longer than the 128 KiB that is usual
    found: list[tuple[int, list[str]]] = []
    problems = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            for fields in reader:
                if fields:
                    found.append((reader.line_num, fields))
    except (csv.Error, UnicodeDecodeError) as error:
        problems.append(f"not a CSV in UTF-8 after line {found[-1][0] if found else 0}: {error}")
    except FileNotFoundError as error:
        raise SegfoldError(f"no file {path}: expected a submission CSV") from error
    except OSError as error:
        raise SegfoldError(f"{path} cannot be read: {error.strerror or error}") from error
    finally:
        csv.field_size_limit(limit)
    header = found.pop(0)[1] if found else []
    return header, found, problems


def _key_problems(
    keys: Sequence[Key], targets: Mapping[Key, Row], table: Table, shapes: Shapes, incomplete: bool
) -> list[str]:
    noun = "row" if table.says_class else "id"
    counted = Counter(keys)
    missing = [key for key in targets if key not in counted]
    unknown = [key for key in counted if key not in targets]
    doubled = [] if table.by_object else [key for key, times in counted.items() if times > 1]
    problems = []
    absent = {_one_form(key) for key in missing}
    if others := [key for key in unknown if _one_form(key) in absent]:
        problems.append(f"{_some(others, noun)} in another Unicode form than the sample submission")
    if carried := [key for key in unknown if _without_suffix(key) in targets]:
        suffix = carried[0][0].removeprefix(carried[0][0].rpartition(".")[0])
        carried = [key for key in carried if key[0].endswith(suffix)]
        problems.append(f"{_some(carried, noun)} with the suffix {suffix}: the ids of the test set are without it")
    if classless := [key for key in unknown if key not in set(carried) and _lacks_class(key, table, shapes)]:
        names = ", ".join(table.task.classes[label] for label in table.task.rows)
        problems.append(f"{_some(classless, noun)} of no class of the competition, whose classes are {names}")
        unknown = [key for key in unknown if key not in set(classless)]
    if missing:
        why = " (lines with a wrong number of fields were left out)" if incomplete else ""
        problems.append(f"missing {_some(missing, noun)}{why}")
    if unknown:
        problems.append(f"{_some(unknown, noun)} not in the test set")
    if doubled:
        problems.append(f"more than once {_some(doubled, noun)}")
    return problems


def _one_form(key: Key) -> Key:
    return tuple(one_form(field) for field in key)


def _some(keys: Sequence[Key], noun: str) -> str:
    return some([", ".join(key) for key in keys], noun)


def _without_suffix(key: Key) -> Key:
    return key[0].rpartition(".")[0], *key[1:]


def _lacks_class(key: Key, table: Table, shapes: Shapes) -> bool:
    """Whether a key that is not known names an image of the test set, so that its class must be wrong."""
    if not table.says_class:
        return False
    parsed = table.parsed(key)
    return parsed[0] in shapes if parsed else key[0] in shapes or _without_suffix(key)[0] in shapes


def _mask_findings(
    rows: Sequence[_Line], targets: Mapping[Key, Row], table: Table, shapes: Shapes
) -> tuple[list[str], list[str]]:
    """Problems and remarks about masks."""
    problems: dict[int, str] = {}  # by row, so that the list follows the file
    remarks: dict[int, str] = {}
    good: dict[int, Shape] = {}
    for i, row in enumerate(rows):
        if row.key in targets:
            shape = table.shape(shapes[targets[row.key].image])
            if fault := table.fault(row.text, shape):
                problems[i] = fault
            else:
                good[i] = shape
    order, relative = table.form.order, table.form.relative
    for places, shape in of_one_shape(list(good), good):
        texts = [table.plain(rows[i].text) for i in places]
        again = encode_batch(decode_batch(texts, shape, order, relative), order, relative)
        for i, text, expected in zip(places, texts, again):
            if set(text) & set("\t\n\v\f\r"):
                problems[i] = "a tab or a line break between numbers, expected spaces"
            elif text != expected:
                remarks[i] = f"not as it would be encoded again: {_first_difference(text, expected)}"
    if table.by_object:
        problems |= _object_problems({i: rows[i] for i in good}, table)
    names = {i: ", ".join(row.key) for i, row in enumerate(rows)}
    return of_masks(problems, names, "problems"), of_masks(remarks, names, "remarks")


def _first_difference(text: str, expected: str) -> str:
    have, want = text.split(), expected.split()
    if have == want:
        return "single spaces go between numbers, and none elsewhere"
    at = next((i for i, (a, b) in enumerate(zip(have, want)) if a != b), min(len(have), len(want)))
    if at < len(want) and have[at].lstrip("0") == want[at]:
        return f"{have[at][:30]!r} for {want[at]}"
    return f"run {at // 2 + 1} touches the next one, make them one run"


def _object_problems(rows: Mapping[int, _Line], table: Table) -> dict[int, str]:
    """Rows, by their places, that do not go with other rows of the same image and class."""
    together: dict[Key, list[int]] = defaultdict(list)
    for i, row in rows.items():
        together[row.key].append(i)
    problems = {}
    for places in together.values():
        if len(places) < 2:
            continue
        runs = {i: runs_of(table.plain(rows[i].text), table.form.relative) for i in places}
        for i in places:
            if not len(runs[i]):
                problems[i] = f"without a pixel on line {rows[i].number}, though there are other rows of the image"
        for (first, second), pixels in _overlaps(runs).items():
            shared = "1 pixel" if pixels == 1 else f"{pixels} pixels"
            problems[second] = (
                f"on line {rows[second].number} overlaps the one on line {rows[first].number} in {shared}"
            )
    return problems


def _overlaps(runs: Mapping[int, np.ndarray]) -> dict[tuple[int, int], int]:
    """Pixels that pairs of objects share: of each object that lies over another one, a pair at least."""
    owners = np.repeat(list(runs), [len(each) for each in runs.values()])
    edges = np.concatenate(list(runs.values()))
    sort = np.argsort(edges[:, 0], kind="stable")
    owners, edges = owners[sort], edges[sort]
    if not (edges[1:, 0] < np.maximum.accumulate(edges[:, 1])[:-1]).any():
        return {}
    found: dict[tuple[int, int], int] = defaultdict(int)
    furthest, furthest_owner = 0, -1
    for owner, (start, end) in zip(owners.tolist(), edges.tolist()):
        if start < furthest:
            pair = min(owner, furthest_owner), max(owner, furthest_owner)
            found[pair] += min(end, furthest) - start
        if end > furthest:
            furthest, furthest_owner = end, owner
    return found


def of_one_shape(items: Sequence[Item], shapes: Mapping[Item, Shape]) -> Iterator[tuple[list[Item], Shape]]:
    """Groups of masks of one size, none larger than is good for the memory."""
    groups: dict[Shape, list[Item]] = defaultdict(list)
    for item in items:
        height, width = shapes[item]
        groups[int(height), int(width)].append(item)
    for shape, members in groups.items():
        step = max(1, _PIXELS_AT_ONCE // max(int(np.prod(shape)), 1))
        for a in range(0, len(members), step):
            yield members[a : a + step], shape
