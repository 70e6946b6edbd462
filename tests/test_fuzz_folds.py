"""Fold files with anything wrong in them, against a reader in plain Python."""

from pathlib import Path

import numpy as np

from fuzzing import TOKENS, WrongError, counts, fuzz, mutated, mutated_words, some
from segfold.data.folds import read_folds, write_folds
from segfold.errors import SegfoldError
from test_fuzz_csv import plain_table

IDS = ["a", "00123", "1e1000", "é", "NA", "b,c", 'd"e', " f"]
ODD = (
    *TOKENS,
    "2",
    "3",
    "١",
    "²",
    "a",
    "00123",
    "123",
    "id,fold",
    "fold",
    " 1",
    "1 ",
    "0.0",
    "1e0",
    "True",
    '"1"',
    "1" * 30,
)


def plain_folds(data: bytes) -> list[int] | None:
    """Fold of each id; None where quotes stand oddly.

    Raises:
        SegfoldError: not these ids, or not the numbers 0, 1, … of two or more folds.
    """
    table = plain_table(data, ["id", "fold"])
    if table is None:
        return None
    folds = dict(table)  # type: ignore[arg-type]
    if set(folds) != set(IDS) or any(not text or set(text) - set("0123456789") for text in folds.values()):
        raise SegfoldError("not these folds")
    numbers = [int(folds[name]) for name in IDS]
    if len(set(numbers)) < 2 or sorted(set(numbers)) != list(range(len(set(numbers)))):
        raise SegfoldError("not these numbers")
    return numbers


@counts
def test_fold_files(count: int, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    files = {}
    for k in (2, 3, 5):
        folds = [row % k for row in range(len(IDS))]
        write_folds(tmp_path / f"{k}.csv", IDS, folds)
        files[(tmp_path / f"{k}.csv").read_text()] = folds

    def case(rng: np.random.Generator) -> None:
        text = some(rng, list(files))
        path.write_text(text)
        if rng.random() < 0.5:
            path.write_bytes(mutated(text.encode(), rng))
        elif rng.random() < 0.9:
            path.write_bytes(mutated_words(text, rng, ODD, some(rng, ["\n", ","])).encode("utf-8", "surrogatepass"))
        data = path.read_bytes()
        try:
            expected = plain_folds(data)
        except SegfoldError:
            read_folds(path, IDS)
            raise WrongError(f"{data!r} was read") from None
        found = read_folds(path, IDS).tolist()
        if expected is not None and found != expected:
            raise WrongError(f"{data!r}: {found}, expected {expected}")
        if data == text.encode() and found != files[text]:
            raise WrongError(f"{files[text]} became {found}")

    fuzz(count, "folds", case)
