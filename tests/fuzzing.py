"""Inputs by the thousand, each from its own seed: a right value, or a ``SegfoldError`` of one line, and nothing else."""

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segfold.errors import SegfoldError

SAMPLE, ALL = 30, 2000
TOKENS = (
    *("", " ", "0", "-1", "1", "00", "1e3", "1e999", "-0.0", "nan", ".nan", ".inf", "NaN", "null", "~", "true", "no"),
    *("9" * 21, "0x1f", "1_000", "1:30", "2020-13-45", "[]", "{}", "[", "{", "}", "'", '"', '""', ",", ",,", ";", ":"),
    *(
        "\n",
        "\r",
        "\r\n",
        "\t",
        "\0",
        "\x1f",
        "\x85",
        "\u2028",
        "\ufeff",
        "é",
        "e\u0301",
        "٣",
        "😀",
        "\\",
        "/",
        "..",
        "%",
    ),
    *("!!binary x", "!!python/object:os.system", "&a [*a]", "*a", "<<", "${a}", "${oc.env:HOME}", "? ", "- ", "#", "|"),
    *("[" * 2000, "{a: " * 300, "a" * 300, "-", "+1", "1.5", "1 2", "id", "x"),
)
"""What has tripped readers of text elsewhere."""

counts = pytest.mark.parametrize(
    "count", [pytest.param(SAMPLE, id="sample"), pytest.param(ALL, id="all", marks=pytest.mark.slow)]
)
"""A fuzz of thousands in ``make test-slow``; its first inputs in every run of the tests."""


class WrongError(AssertionError):
    """A value that was accepted and is not right."""


def fuzz(count: int, seed: str, case: Callable[[np.random.Generator], object], refuses: bool = True) -> None:
    """Calls ``case`` with the generators of ``count`` inputs.

    ``case`` makes its input, and raises ``SegfoldError`` where that is refused, ``WrongError`` (or any assertion) where a
    wrong value came out. The test fails with the number and the error of each kind of failure, and where inputs that
    could be refused never are, or always.
    """
    refused = 0
    failures: dict[str, list[str]] = {}
    for number in range(count):
        try:
            case(np.random.default_rng([number, *seed.encode()]))
        except SegfoldError as error:
            refused += 1
            message = str(error)
            if len(message.splitlines()) != 1:
                failures.setdefault("message", []).append(f"input {number}: not one line: {message!r}")
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            place = next((frame for frame in reversed(frames) if "/segfold/" in frame.filename), frames[-1])
            kind = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            failures.setdefault(kind, []).append(f"input {number}: {kind}: {str(error)[:600]}")
    lines = [f"{len(found)} of {count}, such as {found[0]}" for found in failures.values()]
    assert not failures, "\n".join(lines)
    assert not refuses or count <= SAMPLE or 0 < refused < count, (
        f"{refused} of {count} refused: the inputs say nothing"
    )


def some(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    """One of some values."""
    return values[int(rng.integers(len(values)))]


def mutated(data: bytes, rng: np.random.Generator, tokens: Sequence[bytes] = ()) -> bytes:
    """``data`` with one to four changes: bytes flipped, replaced, cut out, doubled, moved, or the end cut off."""
    tokens = tokens or [token.encode("utf-8", "surrogatepass") for token in TOKENS]
    for _ in range(int(rng.integers(1, 5))):
        at, end = sorted(int(place) for place in rng.integers(0, len(data) + 1, 2))
        end = min(end, at + int(rng.integers(1, 40)))
        match int(rng.integers(8)):
            case 0 if data:
                at = min(at, len(data) - 1)
                data = data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]
            case 1:
                data = data[:at] + rng.bytes(int(rng.integers(1, 9))) + data[end:]
            case 2:
                data = data[:at] + data[end:]
            case 3:
                data = data[:end] + data[at:end] + data[end:]
            case 4:
                data = data[:at] + some(rng, tokens) + data[at:]
            case 5:
                data = data[:at] + some(rng, tokens) + data[end:]
            case 6:
                to = int(rng.integers(0, len(data) + 1))
                data = data[:to] + data[at:end] + data[to:]
            case _:
                data = data[:at] if rng.random() < 0.2 else data
    return data


def mutated_words(text: str, rng: np.random.Generator, words: Sequence[str] = TOKENS, split: str = "\n") -> str:
    """``text`` with one to three of its lines (or what ``split`` parts) changed, doubled, swapped or left out."""
    lines = text.split(split)
    for _ in range(int(rng.integers(1, 4))):
        at, other = (int(place) for place in rng.integers(0, len(lines), 2))
        match int(rng.integers(6)):
            case 0:
                lines[at] = some(rng, words)
            case 1:
                lines.insert(at, lines[other])
            case 2 if len(lines) > 1:
                del lines[at]
            case 3:
                lines[at], lines[other] = lines[other], lines[at]
            case _:
                place = int(rng.integers(0, len(lines[at]) + 1))
                lines[at] = lines[at][:place] + some(rng, words) + lines[at][place + int(rng.integers(0, 4)) :]
    return split.join(lines)
