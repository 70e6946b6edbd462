"""Checks a submission CSV as the host does before scoring it, and scores one against known masks."""

import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from segfold.competition import Competition, data_folder
from segfold.data.images import ImageSet, load_split
from segfold.errors import SegfoldError, one_line
from segfold.layouts.ids import one_form
from segfold.layouts.rle import decode_batch, encode_batch, problem
from segfold.layouts.table import read_table, shorten, with_suffix
from segfold.metrics import IMAGE_SCORES, overlap

Key = TypeVar("Key", str, int)
Shapes = Mapping[str, tuple[int, int]]

_MASK_LINES = 20  # bad masks named one by one; the rest is only counted
_PIXELS_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Findings:
    """What a check of a submission has found, one line each.

    Attributes:
        problems: what the host refuses, or may refuse.
        remarks: what the host accepts, its rules being silent, though segfold does not write it so: runs that touch,
            leading zeros, more spaces than one between two numbers.
    """

    problems: list[str]
    remarks: list[str]


def csv_problems(path: Path | str, competition: Competition, shapes: Shapes) -> list[str]:
    """All in which a submission is not just as segfold writes one: ``check_csv``'s problems, then its remarks."""
    found = check_csv(path, competition, shapes)
    return found.problems + found.remarks


def check_csv(path: Path | str, competition: Competition, shapes: Shapes) -> Findings:
    """Finds everything that is wrong with a submission; one without problems is good.

    Checked are the columns, the exact set of ids, doubled ids, and each mask: well-formed, sorted, inside the
    image, no overlaps, and whether decoding then encoding gives the same text again.

    Args:
        path: the CSV.
        competition: gives the columns and the order of the pixels.
        shapes: (height, width) of every image of the test set, by its id as the sample submission spells it.

    Raises:
        SegfoldError: the file cannot be read at all.
    """
    header, lines, problems = _read(Path(path))
    columns = [competition.id_column, competition.mask_column]
    if header != columns:
        blanks = ", without the blanks around them" if [name.strip() for name in header] == columns else ""
        problems.append(f"the columns are {shorten(header)!r}, expected {', '.join(columns)!r}{blanks}")
        header = [name.strip() for name in header]
        if any(header.count(column) != 1 for column in columns):
            return Findings(_lines(problems), [])
    wrong = [str(number) for number, fields in lines if len(fields) != len(header)]
    if wrong:
        problems.append(f"not {len(header)} fields on line {shorten(wrong)}")
    at_id, at_mask = (header.index(column) for column in columns)
    rows = [(fields[at_id], fields[at_mask]) for _, fields in lines if len(fields) == len(header)]
    problems += _id_problems([image_id for image_id, _ in rows], shapes, bool(wrong), competition.image_suffix)
    bad, unusual = _mask_findings(rows, competition, shapes)
    return Findings(_lines(problems + bad), _lines(unusual))


def _lines(texts: Iterable[str]) -> list[str]:
    return [one_line(text) for text in texts]


def image_shapes(
    competition: Competition, home: Path = Path(), say: Callable[[str], None] = lambda text: None
) -> dict[str, tuple[int, int]]:
    """Height and width of each test image, by id as the sample submission spells it.

    Args:
        say: told when images are decoded.
    """
    images = load_split(competition, "test", home, say)
    if all(name.isascii() for name in images.ids):
        return shapes_by_id(images, ())
    return shapes_by_id(images, sample_ids(competition, home))


def sample_ids(competition: Competition, home: Path = Path()) -> list[str]:
    """The ids of the sample submission, in its order and as it spells them."""
    path = data_folder(competition, home) / competition.sample_submission
    return list(read_table(path, [competition.id_column], spelled=True)[competition.id_column])


def shapes_by_id(images: ImageSet, sample: Iterable[str]) -> dict[str, tuple[int, int]]:
    """(height, width) of each image, by its id as the sample submission spells it.

    Args:
        images: the test set.
        sample: the ids of the sample submission.
    """
    spelled = {one_form(image_id): image_id for image_id in sample}
    sizes = zip(images.ids, images.images.shapes.tolist())
    return {spelled.get(name, name): (height, width) for name, (height, width, _) in sizes}


def score_csv(path: Path | str, truth_csv: Path | str, competition: Competition, shapes: Shapes) -> float:
    """Scores a submission against known masks as the host does: the mean of the competition's metric.

    Args:
        path: the submission.
        truth_csv: a table with the same two columns, and any others; further ids in it are not looked at.
        competition: gives the columns, the order of the pixels and the metric.
        shapes: (height, width) of every image that is scored, by id.

    Raises:
        SegfoldError: ``check_csv`` finds problems, or the truth lacks an id or has a bad mask.
    """
    problems = check_csv(path, competition, shapes).problems
    if problems:
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise SegfoldError(f"{path} cannot be scored: {problems[0]}{more}")
    if not shapes:
        raise SegfoldError(f"{path} cannot be scored: there are no images to score")
    columns = [competition.id_column, competition.mask_column]
    pred = _by_id(Path(path), columns)
    truth = _by_id(Path(truth_csv), columns)
    shapes = {one_form(image_id): shape for image_id, shape in shapes.items()}
    missing = [image_id for image_id in shapes if image_id not in truth]
    if missing:
        raise SegfoldError(f"{truth_csv} lacks {_some(missing, 'id')}: expected the masks of all {len(shapes)}")
    for image_id, shape in shapes.items():
        fault = problem(truth[image_id], shape)
        if fault:
            raise SegfoldError(f"{truth_csv}: mask of {image_id}: {fault}")
    total = 0.0
    for ids, shape in _of_one_shape(list(shapes), shapes):
        masks = [
            decode_batch([texts[image_id] for image_id in ids], shape, competition.rle_order) for texts in (pred, truth)
        ]
        total += float(IMAGE_SCORES[competition.metric](*overlap(*masks)).sum())
    return total / len(shapes)


def _by_id(path: Path, columns: Sequence[str]) -> dict[str, str]:
    table = read_table(path, columns)
    return dict(zip(table[columns[0]], table[columns[1]]))


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]], list[str]]:
    """The header, the numbered lines (blank ones left out), and what kept the rest from being read."""
    # Read by ``csv`` and not pandas, which fills a line that is too short without a word.
    limit = csv.field_size_limit(1 << 30)  # a mask's text may be longer than the 128 KiB that is usual
    lines: list[tuple[int, list[str]]] = []
    problems = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            for fields in reader:
                if fields:
                    lines.append((reader.line_num, fields))
    except (csv.Error, UnicodeDecodeError) as error:
        problems.append(f"not a CSV in UTF-8 after line {lines[-1][0] if lines else 0}: {error}")
    except FileNotFoundError as error:
        raise SegfoldError(f"no file {path}: expected a submission CSV") from error
    except OSError as error:
        raise SegfoldError(f"{path} cannot be read: {error.strerror or error}") from error
    finally:
        csv.field_size_limit(limit)
    header = lines.pop(0)[1] if lines else []
    return header, lines, problems


def _some(ids: Sequence[str], noun: str) -> str:
    names = shorten([image_id or "(blank)" for image_id in ids], 5)
    return f"{len(ids)} {noun}{'s' if len(ids) > 1 else ''}: {names}"


def _id_problems(ids: Sequence[str], shapes: Shapes, incomplete: bool, suffix: str) -> list[str]:
    counted = Counter(ids)
    missing = [image_id for image_id in shapes if image_id not in counted]
    unknown = [image_id for image_id in counted if image_id not in shapes]
    doubled = [image_id for image_id, times in counted.items() if times > 1]
    problems = []
    absent = {one_form(image_id) for image_id in missing}
    if others := [image_id for image_id in unknown if one_form(image_id) in absent]:
        problems.append(f"{_some(others, 'id')} in another Unicode form than the sample submission")
    if carried := with_suffix(unknown, shapes, suffix):
        problems.append(f"{_some(carried, 'id')} with the suffix {suffix}: the ids of the test set are without it")
    if missing:
        why = " (lines with a wrong number of fields were left out)" if incomplete else ""
        problems.append(f"missing {_some(missing, 'id')}{why}")
    if unknown:
        problems.append(f"{_some(unknown, 'id')} not in the test set")
    if doubled:
        problems.append(f"more than once {_some(doubled, 'id')}")
    return problems


def _mask_findings(
    rows: Sequence[tuple[str, str]], competition: Competition, shapes: Shapes
) -> tuple[list[str], list[str]]:
    """Problems and remarks about masks."""
    problems: dict[int, str] = {}  # by row, so that the list follows the file
    remarks: dict[int, str] = {}
    good = []
    for i, (image_id, text) in enumerate(rows):
        if image_id in shapes:
            fault = problem(text, shapes[image_id])
            if fault:
                problems[i] = fault
            else:
                good.append(i)
    for places, shape in _of_one_shape(good, {i: shapes[rows[i][0]] for i in good}):
        texts = [rows[i][1] for i in places]
        again = encode_batch(decode_batch(texts, shape, competition.rle_order), competition.rle_order)
        for i, text, expected in zip(places, texts, again):
            if set(text) & set("\t\n\v\f\r"):
                problems[i] = "a tab or a line break between numbers, expected spaces"
            elif text != expected:
                remarks[i] = f"not as it would be encoded again: {_first_difference(text, expected)}"
    return _listed(problems, rows, "problems"), _listed(remarks, rows, "remarks")


def _listed(found: Mapping[int, str], rows: Sequence[tuple[str, str]], noun: str) -> list[str]:
    lines = [f"mask of {rows[i][0]}: {found[i]}" for i in sorted(found)]
    if len(lines) > _MASK_LINES:
        lines[_MASK_LINES:] = [f"and {len(lines) - _MASK_LINES} more masks with {noun}"]
    return lines


def _first_difference(text: str, expected: str) -> str:
    have, want = text.split(), expected.split()
    if have == want:
        return "single spaces go between numbers, and none elsewhere"
    at = next((i for i, (a, b) in enumerate(zip(have, want)) if a != b), min(len(have), len(want)))
    if at < len(want) and have[at].lstrip("0") == want[at]:
        return f"{have[at][:30]!r} for {want[at]}"
    return f"run {at // 2 + 1} touches the next one, make them one run"


def _of_one_shape(
    keys: Sequence[Key], shapes: Mapping[Key, tuple[int, int]]
) -> Iterator[tuple[list[Key], tuple[int, int]]]:
    """Groups of images of one size, none larger than is good for the memory."""
    groups: dict[tuple[int, int], list[Key]] = defaultdict(list)
    for key in keys:
        height, width = shapes[key]
        groups[int(height), int(width)].append(key)
    for shape, members in groups.items():
        step = max(1, _PIXELS_AT_ONCE // max(int(np.prod(shape)), 1))
        for a in range(0, len(members), step):
            yield members[a : a + step], shape
