"""The loops of ``rle``, compiled by numba.

Both directions read and write a C-ordered mask row by row even when runs go down the columns: a pixel begins
or ends a run when it differs from the one above it, a comparison made for many columns at once. A mask is
never transposed.
"""

import numba
import numpy as np

_BLOCK = 1 << 13  # pixels compared at once: they stay in the first-level cache

# What ``parse`` found wrong.
FINE, NOT_INTEGER, ODD, START, LENGTH, OUTSIDE, UNSORTED, OVERLAP = range(8)


@numba.njit(nogil=True, cache=True)
def _differences(
    here: np.ndarray, before: np.ndarray, words: np.ndarray, found: np.ndarray, count: int, offset: int
) -> int:
    """Appends ``offset`` + each index where two 0/1 arrays differ to found[count:]; returns the new count.

    Most pixels equal their neighbour. XOR of whole arrays uses vector instructions; its result (kept in
    ``words``) is then searched eight pixels at a time.
    """
    last = (here.size + 7) // 8
    words[last - 1] = 0  # its bytes past the end must not count
    difference = words.view(np.uint8)
    for i in range(here.size):
        difference[i] = here[i] ^ before[i]
    for w in range(last):
        if words[w]:
            for i in range(8 * w, 8 * w + 8):
                # Written always, kept only if it counts: cheaper than a branch that cannot be foretold.
                found[count] = offset + i
                count += 1 if difference[i] else 0
    return count


@numba.njit(nogil=True, cache=True)
def _changes(mask: np.ndarray, column: bool, words: np.ndarray, found: np.ndarray) -> int:
    """Fills ``found`` with the places, in memory order, of pixels unlike their predecessor.

    Returns how many. The predecessor comes before in the order of the runs; before the first is background.
    """
    height, width = mask.shape
    flat = mask.reshape(mask.size)
    lag = width if column else 1  # how far back in memory the predecessor lies
    start = np.zeros(lag, np.uint8)  # predecessors of the first row, or of the first pixel
    if column:
        for c in range(1, width):
            start[c] = mask[height - 1, c - 1]
    count = 0
    for a in range(0, lag, _BLOCK):
        b = min(a + _BLOCK, lag)
        count = _differences(flat[a:b], start[a:b], words, found, count, a)
    for a in range(lag, flat.size, _BLOCK):
        b = min(a + _BLOCK, flat.size)
        count = _differences(flat[a:b], flat[a - lag : b - lag], words, found, count, a)
    return count


@numba.njit(nogil=True, cache=True)
def _sort_by_column(found: np.ndarray, shape: tuple[int, int], cursor: np.ndarray, changes: np.ndarray) -> None:
    """Turns places in memory order into sorted places down the columns, by counting (``cursor``: width + 1)."""
    height, width = shape
    cursor[:] = 0
    left = 0  # place of the row's first pixel; stepping there is faster than dividing
    for place in found:
        while place >= left + width:
            left += width
        cursor[place - left + 1] += 1
    for c in range(width):
        cursor[c + 1] += cursor[c]
    left = 0
    r = 0
    for place in found:
        while place >= left + width:
            left += width
            r += 1
        c = place - left
        changes[cursor[c]] = c * height + r
        cursor[c] += 1


@numba.njit(nogil=True, cache=True)
def _write_number(buffer: np.ndarray, at: int, number: int) -> int:
    end = at + 1
    limit = 10
    while number >= limit:
        end += 1
        limit *= 10
    ten = np.uint64(10)  # unsigned: half the instructions of a floor division
    rest = np.uint64(number)
    for i in range(end - 1, at - 1, -1):
        tenth = rest // ten
        buffer[i] = np.uint64(48) + rest - ten * tenth
        rest = tenth
    return end


@numba.njit(nogil=True, cache=True)
def encode_masks(masks: np.ndarray, column: bool, relative: bool) -> tuple[np.ndarray, np.ndarray]:
    """n×H×W of 0/1 to one ASCII buffer and the end of each image's text in it."""
    n, height, width = masks.shape
    pixels = height * width
    words = np.empty(_BLOCK // 8, np.uint64)
    found = np.empty(pixels + 8, np.int64)  # memory that is not written is not taken
    changes = np.empty(pixels + 1, np.int64) if column else found
    cursor = np.empty(width + 1, np.int64)
    most_digits = 1
    while 10**most_digits <= pixels:
        most_digits += 1
    buffer = np.empty(64 * n, np.uint8)
    ends = np.empty(n, np.int64)
    at = 0
    for i in range(n):
        count = _changes(masks[i], column, words, found) if pixels else 0
        if column:
            _sort_by_column(found[:count], (height, width), cursor, changes)
        if count % 2:  # a run that reaches the last pixel
            changes[count] = pixels
            count += 1
        if at + count * (most_digits + 1) > buffer.size:
            larger = np.empty(2 * buffer.size + count * (most_digits + 1), np.uint8)
            for j in range(at):  # copying a slice would take the compiler seconds
                larger[j] = buffer[j]
            buffer = larger
        origin = -1  # the place that starts are counted from
        for j in range(0, count, 2):
            if j:
                buffer[at] = 32
                at += 1
            if relative:
                origin = changes[j - 1] if j else 0
            at = _write_number(buffer, at, changes[j] - origin)
            buffer[at] = 32
            at = _write_number(buffer, at + 1, changes[j + 1] - changes[j])
        ends[i] = at
    return buffer[:at], ends


@numba.njit(nogil=True, cache=True)
def parse(
    buffer: np.ndarray, begin: int, end: int, pixels: int, bounds: np.ndarray, relative: bool
) -> tuple[int, int, int, int]:
    """Reads buffer[begin:end] into ``bounds``: first pixel and end (exclusive, 0-indexed) of each run in turn.

    Returns (fault, count of whole numbers read, and the start, absolute where it is well-formed, and length at fault).
    """
    count = 0
    least = 0 if relative else 1  # number of the first pixel
    start = 0
    previous_start = 0
    previous_end = 0
    i = begin
    while True:
        while i < end and (buffer[i] == 32 or 9 <= buffer[i] <= 13):
            i += 1
        if i == end:
            break
        negative = buffer[i] == 45
        if negative:
            i += 1
        number = 0
        first = i
        while i < end and 48 <= buffer[i] <= 57:
            # Saturate far beyond any image: a long number must not wrap round into it.
            number = min(number * 10 + (buffer[i] - 48), 1 << 50)
            i += 1
        if i == first or (i < end and buffer[i] != 32 and not 9 <= buffer[i] <= 13):
            return NOT_INTEGER, count, start, number
        if negative:
            number = -number
        count += 1
        if count % 2:
            start = number
            continue
        if start < least:
            return START, count, start, number
        if number < 1:
            return LENGTH, count, start, number
        if relative:
            start += previous_end + 1
        if start + number - 1 > pixels:
            return OUTSIDE, count, start, number
        if start < previous_start:
            return UNSORTED, count, start, number
        if start - 1 < previous_end:
            return OVERLAP, count, start, number
        previous_start = start
        previous_end = start - 1 + number
        bounds[count - 2] = start - 1
        bounds[count - 1] = previous_end
    return (ODD if count % 2 else FINE), count, start, 0


@numba.njit(nogil=True, cache=True)
def _paint_columns(out: np.ndarray, bounds: np.ndarray, count: int, parity: np.ndarray) -> None:
    """Marks where runs begin and end, then XORs each row with the one above it."""
    height, width = out.shape
    parity[:] = 0
    c = 0
    top = 0  # number of column c's first pixel
    for j in range(count):
        while bounds[j] >= top + height:
            c += 1
            top += height
        if c < width:  # a run that ends with the last pixel needs no end
            out[bounds[j] - top, c] ^= 1
            parity[c] ^= 1
    inside = np.uint8(0)  # whether a run enters the column from the one before it
    for c in range(width):
        out[0, c] ^= inside
        inside ^= parity[c]
    for r in range(1, height):
        above, here = out[r - 1], out[r]
        for c in range(width):
            here[c] ^= above[c]


@numba.njit(nogil=True, cache=True)
def decode_texts(buffer: np.ndarray, ends: np.ndarray, out: np.ndarray, column: bool, relative: bool) -> int:
    n, height, width = out.shape
    longest = ends[0]
    for i in range(1, n):
        longest = max(longest, ends[i] - ends[i - 1])
    bounds = np.empty(longest // 2 + 2, np.int64)
    parity = np.empty(width, np.uint8)
    begin = 0
    for i in range(n):
        fault, count, _, _ = parse(buffer, begin, ends[i], height * width, bounds, relative)
        if fault != FINE:
            return i
        begin = ends[i]
        if count == 0:
            continue
        if column:
            _paint_columns(out[i], bounds, count, parity)
        else:
            flat = out[i].reshape(height * width)
            for j in range(0, count, 2):
                flat[bounds[j] : bounds[j + 1]] = 1
    return -1
