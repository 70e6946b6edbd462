"""Run-length encoding as Kaggle writes it: ``start length`` pairs, 1-indexed, down columns or along rows.

Relative runs (SIIM-ACR pneumothorax, whose own functions are the source) give for a start how many pixels of background
lie between the end of the run before, or the first pixel, and the run. Of twelve pixels ``011100110000`` the absolute
text is ``2 3 7 2``; the relative one is ``1 3 2 2``: one pixel, then a run of three; two pixels, then a run of two. A
run that begins with the first pixel starts at 0.

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


def encode(mask: np.ndarray, order: Order = "column", relative: bool = False) -> str:
    """Encodes one mask.

    Args:
        mask: H×W, foreground is ``> 0``.
        order: whether pixels are numbered down the columns (Kaggle's usual way) or along the rows.
        relative: whether a start counts the pixels since the run before it.

    Returns:
        ``"start length start length …"``, sorted, adjacent runs merged; "" for an empty mask.

    Example:
        >>> encode(np.array([[0, 1], [1, 1]]))
        '2 3'
        >>> encode(np.array([[0, 1], [1, 1]]), order="row")
        '2 3'
        >>> encode(np.array([[0, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0]]), relative=True)
        '1 3 2 2'
    """
    if np.ndim(mask) != 2:
        raise ValueError(f"a mask of shape {np.shape(mask)}: expected H×W")
    return _encode_chunk(mask[None], _is_column(order), relative)[0]


def encode_batch(masks: np.ndarray, order: Order = "column", relative: bool = False) -> list[str]:
    """Encodes masks of one size, N×H×W, on as many threads as there are cores (see ``encode``)."""
    if np.ndim(masks) != 3:
        raise ValueError(f"masks of shape {np.shape(masks)}: expected N×H×W")
    column = _is_column(order)
    chunks = _chunks(len(masks), masks[0].size if len(masks) else 0)
    if len(chunks) < 2:
        return _encode_chunk(masks, column, relative)
    with ThreadPoolExecutor(len(chunks)) as pool:
        parts = pool.map(lambda chunk: _encode_chunk(masks[chunk], column, relative), chunks)
        return [text for part in parts for text in part]


def decode(text: str, shape: tuple[int, int], order: Order = "column", relative: bool = False) -> np.ndarray:
    """Decodes one run-length text to a uint8 mask of 0 and 1.

    Args:
        text: the runs; empty or blank is the empty mask.
        shape: (height, width) of the mask.
        order: how the pixels are numbered.
        relative: whether a start counts the pixels since the run before it.

    Returns:
        H×W, C-ordered.

    Raises:
        RleError: what ``problem`` finds.
    """
    out = np.zeros((1, *shape), np.uint8)
    if _decode_chunk([text], out, _is_column(order), relative) >= 0:
        raise RleError(str(problem(text, shape, relative)))
    return out[0]


def decode_batch(
    texts: Sequence[str], shape: tuple[int, int], order: Order = "column", relative: bool = False
) -> np.ndarray:
    """Decodes texts of one image size to N×H×W, on as many threads as there are cores (see ``decode``).

    Raises:
        RleError: for the first bad text, named by its position in ``texts``.
    """
    column = _is_column(order)
    items: list[str] = list(texts)
    out = np.zeros((len(items), *shape), np.uint8)
    chunks = _chunks(len(items), shape[0] * shape[1])

    def fill(chunk: slice) -> int:
        return _decode_chunk(items[chunk], out[chunk], column, relative)

    if len(chunks) < 2:
        bad = [fill(chunk) for chunk in chunks]
    else:
        with ThreadPoolExecutor(len(chunks)) as pool:
            bad = list(pool.map(fill, chunks))
    for chunk, place in zip(chunks, bad):
        if place >= 0:
            index = chunk.start + place
            raise RleError(f"mask {index} of {len(items)}: {problem(items[index], shape, relative)}")
    return out


def encode_objects(objects: np.ndarray, order: Order = "column", relative: bool = False) -> list[str]:
    """Encodes each object of an image by itself.

    Args:
        objects: H×W integers, the number of the object that a pixel belongs to, 0 for none.
        order: see ``encode``, as ``relative``.

    Returns:
        A text an object, in the order of their first pixels as ``order`` numbers them.

    Example:
        >>> encode_objects(np.array([[5, 0, 2], [5, 0, 2]]))
        ['1 2', '5 2']
    """
    pixels = np.asarray(objects).flatten("F" if _is_column(order) else "C")
    starts = np.flatnonzero(pixels != np.concatenate([[0], pixels[:-1]]))
    ends = [*starts[1:].tolist(), pixels.size]
    runs: dict[int, list[str]] = {}
    last: dict[int, int] = {}
    for number, start, end in zip(pixels[starts].tolist(), starts.tolist(), ends):
        if number:
            shown = start - last.get(number, 0) if relative else start + 1
            runs.setdefault(number, []).append(f"{shown} {end - start}")
            last[number] = end
    return [" ".join(each) for each in runs.values()]


def decode_objects(
    texts: Sequence[str], shape: tuple[int, int], order: Order = "column", relative: bool = False
) -> np.ndarray:
    """The objects of an image in one map, H×W int32: the first text's pixels are 1, the second's 2, …

    A pixel of several objects is the last one's.

    Raises:
        RleError: for the first bad text, named by its position in ``texts``.
    """
    pixels = np.zeros(shape[0] * shape[1], np.int32)
    for index, text in enumerate(texts):
        if fault := problem(text, shape, relative):
            raise RleError(f"mask {index} of {len(texts)}: {fault}")
        for start, end in runs_of(text, relative).tolist():
            pixels[start:end] = index + 1
    return np.ascontiguousarray(pixels.reshape(shape, order="F" if _is_column(order) else "C"))


def runs_of(text: str, relative: bool = False) -> np.ndarray:
    """n×2: the first pixel of each run, counted from 0, and the first one after it; of a text without a ``problem``."""
    numbers = np.array([int(word[-20:]) for word in _WORD.findall(text)], np.int64).reshape(-1, 2)
    if relative:
        ends = numbers.sum(axis=1).cumsum()
        return np.stack([ends - numbers[:, 1], ends], axis=1)
    return np.stack([numbers[:, 0] - 1, numbers.sum(axis=1) - 1], axis=1)


def problem(text: str, shape: tuple[int, int], relative: bool = False) -> str | None:
    """Says in one line what is wrong with a run-length text, or returns None.

    Wrong are: anything but integers, an odd count of them, a start or length below 1, starts that are not
    sorted, runs that overlap, a run that leaves the image. Runs that touch are legal, so is any white space. Relative
    starts may be 0; such runs are sorted by their nature.
    """
    if not isinstance(text, str):
        return f"the mask is {text!r}, expected text: read the table with keep_default_na=False"
    buffer = _bytes(text)
    height, width = shape
    bounds = np.empty(len(buffer) // 2 + 2, np.int64)
    fault, count, start, length = parse(buffer, 0, len(buffer), height * width, bounds, relative)
    if fault == FINE:
        return None
    if fault == NOT_INTEGER:
        return f"{_WORD.findall(text)[count][:30]!r} is not an integer"
    if fault == ODD:
        return f"{count} numbers, expected pairs of start and length"
    run = f"run {count // 2} ('{start} {length}')"
    if fault == START:
        first = "the end of the run in front of it" if relative else "pixel 1, the first one"
        return f"{run} starts before {first}"
    if fault == LENGTH:
        return f"{run} is shorter than one pixel"
    if fault == OUTSIDE:
        last = start + length - 1
        if relative:
            run = f"run {count // 2}"  # its start as it stands there would not explain the pixel
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


def _encode_chunk(masks: np.ndarray, column: bool, relative: bool) -> list[str]:
    foreground = masks if masks.dtype == np.bool_ else masks > 0
    buffer, ends = encode_masks(np.ascontiguousarray(foreground).view(np.uint8), column, relative)
    text = buffer.tobytes().decode("ascii")
    return [text[a:b] for a, b in pairwise([0, *ends.tolist()])]


def _decode_chunk(texts: list[str], out: np.ndarray, column: bool, relative: bool) -> int:
    """Fills ``out`` (n×H×W zeros); returns the place of the first bad text, or -1."""
    try:
        joined = _bytes("".join(texts))
    except TypeError:  # a NaN among them: ``problem`` will say so
        return next(i for i, text in enumerate(texts) if not isinstance(text, str))
    ends = np.cumsum(np.array([len(text) for text in texts], np.int64))
    return int(decode_texts(joined, ends, out, column, relative))
