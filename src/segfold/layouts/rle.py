"""Run-length encoding as Kaggle writes it: ``start length`` pairs, 1-indexed, down columns or along rows.

The kernels (``rle_kernels``) are serial and release the GIL, so a batch goes over a pool of threads and is safe
beside forked data loaders (numba's own parallel kernels are not).
"""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Literal

import numpy as np

from segfold.cores import cores
from segfold.errors import SegfoldError
from segfold.layouts.rle_kernels import (
    FINE,
    LENGTH,
    NOT_INTEGER,
    ODD,
    OUTSIDE,
    START,
    UNSORTED,
    decode_texts,
    encode_masks,
    parse,
)

Order = Literal["column", "row"]

# What the kernel takes for a word; ``str.split`` knows more white space, such as \x1f and the no-break space.
_WORD = re.compile(r"[^\t-\r ]+")
_PIXELS_PER_THREAD = 1 << 20  # less work than this is done before a thread has started


class RleError(SegfoldError):
    """A run-length text that is malformed or does not fit its image."""


def encode(mask: np.ndarray, order: Order = "column") -> str:
    """Encodes one mask.

    Args:
        mask: H×W, foreground is ``> 0``.
        order: whether pixels are numbered down the columns (Kaggle's usual way) or along the rows.

    Returns:
        ``"start length start length …"``, 1-indexed, sorted, adjacent runs merged; "" for an empty mask.

    Example:
        >>> encode(np.array([[0, 1], [1, 1]]))
        '2 3'
        >>> encode(np.array([[0, 1], [1, 1]]), order="row")
        '2 3'
    """
    if np.ndim(mask) != 2:
        raise ValueError(f"a mask of shape {np.shape(mask)}: expected H×W")
    return _encode_chunk(mask[None], _is_column(order))[0]


def encode_batch(masks: np.ndarray, order: Order = "column") -> list[str]:
    """Encodes masks of one size, N×H×W, on as many threads as there are cores (see ``encode``)."""
    if np.ndim(masks) != 3:
        raise ValueError(f"masks of shape {np.shape(masks)}: expected N×H×W")
    column = _is_column(order)
    chunks = _chunks(len(masks), masks[0].size if len(masks) else 0)
    if len(chunks) < 2:
        return _encode_chunk(masks, column)
    with ThreadPoolExecutor(len(chunks)) as pool:
        parts = pool.map(lambda chunk: _encode_chunk(masks[chunk], column), chunks)
        return [text for part in parts for text in part]


def decode(text: str, shape: tuple[int, int], order: Order = "column") -> np.ndarray:
    """Decodes one run-length text to a uint8 mask of 0 and 1.

    Args:
        text: the runs; empty or blank is the empty mask.
        shape: (height, width) of the mask.
        order: how the pixels are numbered.

    Returns:
        H×W, C-ordered.

    Raises:
        RleError: what ``problem`` finds.
    """
    out = np.zeros((1, *shape), np.uint8)
    if _decode_chunk([text], out, _is_column(order)) >= 0:
        raise RleError(str(problem(text, shape)))
    return out[0]


def decode_batch(texts: Sequence[str], shape: tuple[int, int], order: Order = "column") -> np.ndarray:
    """Decodes texts of one image size to N×H×W, on as many threads as there are cores (see ``decode``).

    Raises:
        RleError: for the first bad text, named by its position in ``texts``.
    """
    column = _is_column(order)
    items: list[str] = list(texts)
    out = np.zeros((len(items), *shape), np.uint8)
    chunks = _chunks(len(items), shape[0] * shape[1])

    def fill(chunk: slice) -> int:
        return _decode_chunk(items[chunk], out[chunk], column)

    if len(chunks) < 2:
        bad = [fill(chunk) for chunk in chunks]
    else:
        with ThreadPoolExecutor(len(chunks)) as pool:
            bad = list(pool.map(fill, chunks))
    for chunk, place in zip(chunks, bad):
        if place >= 0:
            index = chunk.start + place
            raise RleError(f"mask {index} of {len(items)}: {problem(items[index], shape)}")
    return out


def problem(text: str, shape: tuple[int, int]) -> str | None:
    """Says in one line what is wrong with a run-length text, or returns None.

    Wrong are: anything but integers, an odd count of them, a start or length below 1, starts that are not
    sorted, runs that overlap, a run that leaves the image. Runs that touch are legal, so is any white space.
    """
    if not isinstance(text, str):
        return f"the mask is {text!r}, expected text: read the table with keep_default_na=False"
    buffer = _bytes(text)
    height, width = shape
    bounds = np.empty(len(buffer) // 2 + 2, np.int64)
    fault, count, start, length = parse(buffer, 0, len(buffer), height * width, bounds)
    if fault == FINE:
        return None
    if fault == NOT_INTEGER:
        return f"{_WORD.findall(text)[count][:30]!r} is not an integer"
    if fault == ODD:
        return f"{count} numbers, expected pairs of start and length"
    run = f"run {count // 2} ('{start} {length}')"
    if fault == START:
        return f"{run} starts before pixel 1, the first one"
    if fault == LENGTH:
        return f"{run} is shorter than one pixel"
    if fault == OUTSIDE:
        last = start + length - 1
        return f"{run} ends at pixel {last}, outside the {height}x{width} image of {height * width}"
    if fault == UNSORTED:
        return f"{run} starts before the run in front of it: runs must be sorted"
    return f"{run} overlaps the run in front of it"


def _is_column(order: str) -> bool:
    if order not in ("column", "row"):
        raise ValueError(f"RLE order {order!r}: expected 'column' or 'row'")
    return order == "column"


def _bytes(text: str) -> np.ndarray:
    # One byte a character: what is not ASCII becomes "?", which is no digit either.
    return np.frombuffer(text.encode("ascii", "replace"), np.uint8)


def _chunks(count: int, pixels: int) -> list[slice]:
    """Even shares of ``count`` images, one a thread, as few as the work is worth."""
    if count == 0:
        return []
    threads = min(cores(), 1 + count * pixels // _PIXELS_PER_THREAD, count)
    edges = [count * i // threads for i in range(threads + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def _encode_chunk(masks: np.ndarray, column: bool) -> list[str]:
    foreground = masks if masks.dtype == np.bool_ else masks > 0
    buffer, ends = encode_masks(np.ascontiguousarray(foreground).view(np.uint8), column)
    text = buffer.tobytes().decode("ascii")
    return [text[a:b] for a, b in pairwise([0, *ends.tolist()])]


def _decode_chunk(texts: list[str], out: np.ndarray, column: bool) -> int:
    """Fills ``out`` (n×H×W zeros); returns the place of the first bad text, or -1."""
    try:
        joined = _bytes("".join(texts))
    except TypeError:  # a NaN among them: ``problem`` will say so
        return next(i for i, text in enumerate(texts) if not isinstance(text, str))
    ends = np.cumsum(np.array([len(text) for text in texts], np.int64))
    return int(decode_texts(joined, ends, out, column))
