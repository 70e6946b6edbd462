"""Run-length texts against a reader in plain Python."""

import re

import numpy as np

from fuzzing import WrongError, counts, fuzz, mutated_words, some
from segfold.layouts.rle import RleError, decode, decode_batch, encode, encode_batch, problem
from test_rle import brute

WORDS = (
    *(
        "",
        " ",
        "  ",
        "0",
        "1",
        "2",
        "3",
        "9",
        "12",
        "-1",
        "-0",
        "+1",
        "007",
        "1.0",
        "1e1",
        "9" * 30,
        "1" * 19,
        "0" * 5000 + "1",
    ),
    *(
        "\t",
        "\n",
        "\r",
        "\v",
        "\f",
        "\x1c",
        "\x1f",
        "\x85",
        "\xa0",
        "\u2003",
        "\ufeff",
        "٣",
        "½",
        "x",
        "nan",
        "None",
        ",",
    ),
    *("\0", "\ud800", "😀", "1 1", "1 2 3", "5 1 6 1", "3 1 3 1", "-", "--1", "1-", "_", "1_0"),
)


def runs(text: str) -> list[int] | None:
    """The numbers of a text, or None where there is anything else."""
    words = [word for word in re.split("[ \t\n\v\f\r]+", text) if word]
    if not all(re.fullmatch("-?[0-9]+", word) for word in words):
        return None
    # Python makes no number of more than 4,300 digits, and none of these texts needs more than twenty.
    return [int(re.sub("^(-?)0*(?=.)", r"\1", word)[:30]) for word in words]


def plainly(text: str, shape: tuple[int, int], order: str) -> np.ndarray | None:
    """The mask, pixel by pixel, or None where the rules forbid the text."""
    numbers = runs(text)
    if numbers is None or len(numbers) % 2:
        return None
    pixels = [0] * (shape[0] * shape[1])
    last = 0
    for start, length in zip(numbers[::2], numbers[1::2]):
        if start < 1 or length < 1 or start + length - 1 > len(pixels) or start < last:
            return None
        for place in range(start - 1, start - 1 + length):
            if pixels[place]:
                return None
            pixels[place] = 1
        last = start
    return np.array(pixels, np.uint8).reshape(shape, order="F" if order == "column" else "C")


def a_text(rng: np.random.Generator, shape: tuple[int, int]) -> str:
    mask = rng.random(shape) < rng.random()
    if rng.random() < 0.2:
        return " ".join(str(int(n)) for n in np.sort(rng.integers(-1, mask.size + 3, rng.integers(0, 9))))
    text = encode(mask, some(rng, ["column", "row"]))
    return text if rng.random() < 0.2 else mutated_words(text, rng, WORDS, split=" ")


@counts
def test_rle_texts(count: int) -> None:
    def case(rng: np.random.Generator) -> None:
        shape = (int(rng.integers(0, 9)), int(rng.integers(0, 9))) if rng.random() < 0.9 else (1, 70)
        text, order = a_text(rng, shape), some(rng, ["column", "row"])
        expected, said = plainly(text, shape, order), problem(text, shape)
        if (said is None) != (expected is not None):
            raise WrongError(f"{text!r} in {shape}: {said}")
        if said is not None and said.splitlines() != [said]:
            raise WrongError(f"{text!r} in {shape}: said {said!r}")
        if expected is not None:
            found = decode(text, shape, order)
            batch = decode_batch(["", text, text], shape, order)
            if not (
                np.array_equal(found, expected) and np.array_equal(batch[1:], [expected] * 2) and not batch[0].any()
            ):
                raise WrongError(f"{text!r} in {shape}, {order}: {found}")
            again = brute(expected, order)
            if [encode(found, order), *encode_batch(batch, order)] != [again, "", again, again]:
                raise WrongError(f"{text!r} in {shape}, {order}: encoded {encode(found, order)!r}")
            return
        try:
            decode_batch(["", text, ""], shape, order)
        except RleError as error:
            if not str(error).startswith("mask 1 of 3: "):
                raise WrongError(f"{text!r} in {shape}: {error}") from error
        decode(text, shape, order)
        raise WrongError(f"{text!r} in {shape} was decoded")

    fuzz(count, "rle", case)


@counts
def test_masks(count: int) -> None:
    """Any mask, of any type and memory order, is encoded as in plain Python and comes back."""

    def case(rng: np.random.Generator) -> None:
        shape = tuple(int(n) for n in rng.integers(1, 12, 2))
        values = rng.random(shape) < rng.random()
        mask = values.astype(some(rng, [np.uint8, np.uint16, np.bool_, np.int64, np.float32])) * some(rng, [1, 1, 200])
        mask = some(rng, [np.asfortranarray, np.ascontiguousarray, lambda m: np.flip(np.flip(m, 1), 1)])(mask)
        order = some(rng, ["column", "row"])
        text = encode(mask, order)
        if text != brute(values, order) or not np.array_equal(decode(text, shape, order), values):
            raise WrongError(f"{values.astype(int).tolist()} {order}: {text!r}")

    fuzz(count, "masks", case, refuses=False)
