"""Tables and submissions with anything wrong in them, against a reader in plain Python."""

from pathlib import Path

import numpy as np

from fuzzing import TOKENS, WrongError, counts, fuzz, mutated, mutated_words, some
from plain_csv import plain_csv
from segfold.errors import SegfoldError
from segfold.layouts.ids import one_form
from segfold.layouts.table import read_table
from segfold.submission.check import check_submission
from segfold.submission.score import score_submission
from test_fuzz_rle import WORDS, plainly
from tiny_competition import TINY, brute_force_rle

DICE = TINY.model_copy(update={"scoring": {"dice": {}}})
COLUMNS = ["id", "rle_mask"]
SHAPES = {"a": (4, 5), "1e1000": (4, 5), "00123": (6, 3), "é": (1, 1), "NA": (3, 2)}
ODD = (
    *TOKENS,
    *WORDS,
    "a",
    "e\u0301",
    "00123",
    "123",
    "id,rle_mask",
    '"a",""',
    "a ,1 1",
    " a",
    ", ",
    "rle_mask",
    "a.png",
)


def a_csv(rng: np.random.Generator) -> tuple[dict[str, str], bytes]:
    """A good submission of random masks, and the same with something changed."""
    masks = {name: brute_force_rle(rng.random(shape) < 0.5) for name, shape in SHAPES.items()}
    order = rng.permutation(list(masks))
    text = "\n".join(["id,rle_mask", *(f"{name},{masks[name]}" for name in order), ""])
    if rng.random() < 0.1:
        return masks, text.replace("\n", "\r\n").encode("utf-8-sig")
    if rng.random() < 0.5:
        return masks, mutated(text.encode(), rng)
    changed = mutated_words(text, rng, ODD, split=some(rng, ["\n", ","]))
    return masks, changed.encode("utf-8", "surrogatepass")


def a_good_one(lines: list[list[str]]) -> dict[str, str] | None:
    """The masks of a submission by the host's rules, or None where it breaks one."""
    header, *rows = [line for line in lines if line] or [[]]
    if header != COLUMNS or any(len(row) != 2 for row in rows):
        return None
    if sorted(row[0] for row in rows) != sorted(SHAPES) or any(set(row[1]) & set("\t\n\r\v\f") for row in rows):
        return None
    return None if any(plainly(text, SHAPES[name], "column") is None for name, text in rows) else dict(rows)  # type: ignore[arg-type]


def dice(pred: dict[str, str], truth: dict[str, str]) -> float:
    scores = []
    for name, shape in SHAPES.items():
        p, t = (plainly(texts[name], shape, "column") for texts in (pred, truth))
        assert p is not None and t is not None
        scores.append(2 * (p & t).sum() / (p.sum() + t.sum()) if p.any() or t.any() else 1.0)
    return float(np.mean(scores))


@counts
def test_submissions(count: int, tmp_path: Path) -> None:
    path, truth_path = tmp_path / "s.csv", tmp_path / "truth.csv"

    def case(rng: np.random.Generator) -> None:
        truth, data = a_csv(rng)
        path.write_bytes(data)
        truth_path.write_text("\n".join(["id,rle_mask", *(f"{name},{text}" for name, text in truth.items())]))
        found = check_submission(path, DICE, SHAPES)
        for line in found.problems + found.remarks:
            if line.splitlines() != [line]:
                raise WrongError(f"{data!r}: said {line!r}")
        lines = plain_csv(data)
        if lines is not None and (found.problems == []) != ((good := a_good_one(lines)) is not None):
            raise WrongError(f"{data!r}: {found}")
        if not found.problems and lines is not None:
            assert good is not None
            if score_submission(path, truth_path, DICE, SHAPES).mean != dice(good, truth):
                raise WrongError(f"{data!r}: scored {score_submission(path, truth_path, DICE, SHAPES).mean}")
            plain = all(brute_force_rle(plainly(text, SHAPES[name], "column")) == text for name, text in good.items())  # type: ignore[arg-type]
            if plain != (found.remarks == []):
                raise WrongError(f"{data!r}: {found}")
            return
        score_submission(path, truth_path, DICE, SHAPES)
        if lines is not None:
            raise WrongError(f"{data!r} was scored: {found}")

    fuzz(count, "submissions", case)


@counts
def test_truths(count: int, tmp_path: Path) -> None:
    """A table of known masks may have blanks around its columns, other columns, and ids besides."""
    path, truth_path = tmp_path / "s.csv", tmp_path / "truth.csv"

    def case(rng: np.random.Generator) -> None:
        pred, data = a_csv(rng)
        path.write_text("\n".join(["id,rle_mask", *(f"{name},{text}" for name, text in pred.items())]) + "\n")
        truth_path.write_bytes(data)
        score = score_submission(path, truth_path, DICE, SHAPES).mean
        truth = plain_table(data, COLUMNS)
        if truth is not None and score != dice(pred, {name: text for name, text in truth if name in SHAPES}):
            raise WrongError(f"{data!r}: scored {score}")

    fuzz(count, "truths", case)


def filled(lines: list[list[str]]) -> list[list[str]]:
    return [line for line in lines if line and not (len(line) == 1 and not line[0].strip(" \t"))]


def plain_table(data: bytes, columns: list[str]) -> list[list[str]] | None:
    """The columns of a table, blanks around their names and after the commas left out; None where quotes stand oddly.

    Raises:
        SegfoldError: no such columns, a line that is too long, a doubled or blank id.
    """
    lines = plain_csv(data)
    header = next(iter(filled(lines or [])), [])
    if any(name.startswith(" ") for name in header):
        lines = plain_csv(data, blanks=True)
    if lines is None:
        return None
    header, *rows = filled(lines) or [[]]
    names = [one_form(name.strip()) for name in header]
    if any(names.count(column) != 1 for column in columns) or any(len(row) > len(names) for row in rows):
        raise SegfoldError("not this table")
    places = [names.index(column) for column in columns]
    found = [[row[place] if place < len(row) else "" for place in places] for row in rows]
    ids = [one_form(row[0]) for row in found]
    if len(set(ids)) != len(ids) or "" in ids:
        raise SegfoldError("not these ids")
    return [[name, *row[1:]] for name, row in zip(ids, found)]


@counts
def test_tables(count: int, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"

    def case(rng: np.random.Generator) -> None:
        _, data = a_csv(rng)
        if rng.random() < 0.2:
            data = data.replace(b",", b", ")
        path.write_bytes(data)
        columns = some(rng, [COLUMNS, ["id"], ["rle_mask", "id"]])
        try:
            expected = plain_table(data, columns)
        except SegfoldError:
            read_table(path, columns)
            raise WrongError(f"{data!r} was read") from None
        if expected is None:
            read_table(path, columns)
        elif read_table(path, columns).to_numpy().tolist() != expected:
            raise WrongError(f"{data!r}: {read_table(path, columns).to_numpy().tolist()}, expected {expected}")

    fuzz(count, "tables", case)
