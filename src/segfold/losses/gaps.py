"""How far apart a pixel's two nearest objects are: exact, and at the same cost for any number of objects.

Found down the columns first and then along the rows, as a distance transform finds the nearest of one object (Felzenszwalb
and Huttenlocher, "Distance transforms of sampled functions", 2012). The squared distance to what lies in a column is a
parabola along a row, and the lower envelope of all columns' parabolas is the nearest object; over a stretch of the row where
that is one object, the envelope without its parabolas is the second nearest. Two objects a column will do: were a third one
the second nearest, its column's first two would both lie nearer.
"""

import numba
import numpy as np
import numpy.typing as npt


def object_gaps(objects: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Distance to the nearest plus that to the second nearest object, from centre to centre, of the pixels in none.

    Args:
        objects: H×W numbers of objects, 1 to 2³¹ - 1, and 0 for none.

    Returns:
        H×W in pixels; infinite on objects, and everywhere if there are not two.
    """
    gaps = np.full(objects.shape, np.inf, np.float32)
    numbers = np.ascontiguousarray(objects, np.int32)
    if _several(numbers):
        _fill(numbers, gaps)
    return gaps


@numba.njit(nogil=True, cache=True)
def _several(objects: np.ndarray) -> bool:
    """Whether there are two objects."""
    first = 0
    for number in objects.reshape(objects.size):
        if number != first and number != 0:
            if first != 0:
                return True
            first = number
    return False


@numba.njit(nogil=True, cache=True)
def _fill(objects: np.ndarray, gaps: np.ndarray) -> None:
    height, width = objects.shape
    # The two nearest objects from each pixel up its column, and how far up they are.
    near, near_by = np.zeros((height, width), np.int32), np.zeros((height, width), np.int32)
    far, far_by = np.zeros((height, width), np.int32), np.zeros((height, width), np.int32)
    near[0] = objects[0]
    for r in range(1, height):
        for c in range(width):
            number, last = objects[r, c], near[r - 1, c]
            if number == 0 or number == last:
                near[r, c], far[r, c] = last, far[r - 1, c]
                near_by[r, c] = near_by[r - 1, c] + 1 if number == 0 else 0
                far_by[r, c] = far_by[r - 1, c] + 1
            else:
                near[r, c], far[r, c] = number, last
                far_by[r, c] = near_by[r - 1, c] + 1
    # The two nearest down the column, from the last row up; and of all four the two nearest, squared.
    below, below_by = np.zeros(width, np.int32), np.zeros(width, np.int32)
    deep, deep_by = np.zeros(width, np.int32), np.zeros(width, np.int32)
    numbers, squares = np.zeros((2, width), np.int32), np.zeros((2, width), np.int64)
    # Columns of an envelope, which of a column's two objects it is, and from where on it is the lowest.
    columns, picks, starts = (
        np.empty((2, width), np.int64),
        np.empty((2, width), np.int64),
        np.empty((2, width), np.int64),
    )
    for r in range(height - 1, -1, -1):
        for c in range(width):
            number = objects[r, c]
            below_by[c] += 1
            deep_by[c] += 1
            if number != 0:
                if number != below[c]:
                    deep[c], deep_by[c] = below[c], below_by[c]
                    below[c] = number
                below_by[c] = 0
            up, up_by, down, down_by = near[r, c], near_by[r, c], below[c], below_by[c]
            more, more_by, other, other_by = far[r, c], far_by[r, c], deep[c], deep_by[c]
            if up == 0 or (down != 0 and down_by < up_by):
                up, up_by, down, down_by = down, down_by, up, up_by
                more, more_by, other, other_by = other, other_by, more, more_by
            if down == up:
                down, down_by = other, other_by
            if down == 0 or (more != 0 and more_by < down_by):
                down, down_by = more, more_by
            numbers[0, c], squares[0, c] = up, np.int64(up_by) * up_by
            numbers[1, c], squares[1, c] = down, np.int64(down_by) * down_by
        _fill_row(objects[r], numbers, squares, columns, picks, starts, gaps[r])


@numba.njit(nogil=True, cache=True)
def _fill_row(
    objects: np.ndarray,
    numbers: np.ndarray,
    squares: np.ndarray,
    columns: np.ndarray,
    picks: np.ndarray,
    starts: np.ndarray,
    gaps: np.ndarray,
) -> None:
    width = objects.size
    count = _envelope(numbers, squares, 0, 0, width - 1, columns[0], picks[0], starts[0])
    i = 0
    while i < count:
        number = numbers[picks[0, i], columns[0, i]]
        after = i + 1
        while after < count and numbers[picks[0, after], columns[0, after]] == number:
            after += 1
        # What is lowest but for this object lies between the columns of its neighbours in the envelope.
        first = columns[0, i - 1] if i > 0 else 0
        last = columns[0, after] if after < count else width - 1
        end = starts[0, after] if after < count else width
        others = _envelope(numbers, squares, number, first, last, columns[1], picks[1], starts[1])
        k = 0
        for c in range(starts[0, i], end):
            while i + 1 < after and starts[0, i + 1] <= c:
                i += 1
            while k + 1 < others and starts[1, k + 1] <= c:
                k += 1
            if objects[c] == 0:
                one, two = columns[0, i], columns[1, k]
                nearest = squares[picks[0, i], one] + (c - one) ** 2
                second = squares[picks[1, k], two] + (c - two) ** 2
                gaps[c] = np.sqrt(nearest) + np.sqrt(second)
        i = after


@numba.njit(nogil=True, cache=True)
def _envelope(
    numbers: np.ndarray,
    squares: np.ndarray,
    without: int,
    first: int,
    last: int,
    columns: np.ndarray,
    picks: np.ndarray,
    starts: np.ndarray,
) -> int:
    """The lower envelope of the parabolas of columns ``first`` to ``last``, but for those of one object.

    Returns how many parabolas it has. In whole numbers: each is the lowest from ``starts`` on, wherever two are as low the
    left one.
    """
    count = 0
    width = numbers.shape[1]
    for c in range(first, last + 1):
        pick = 1 if numbers[0, c] == without else 0
        if numbers[pick, c] == 0:
            continue
        height = squares[pick, c] + c * c
        start = 0
        while count > 0:
            before = columns[count - 1]
            rise = height - squares[picks[count - 1], before] - before * before
            start = rise // (2 * (c - before)) + 1
            if start > starts[count - 1]:
                break
            count -= 1
            start = 0
        if start < width:
            columns[count], picks[count], starts[count] = c, pick, start
            count += 1
    return count
