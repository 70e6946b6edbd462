"""Probabilities as whole numbers of 16 bits, and back."""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

TOP = 65535
HALF = 1 << 15
"""Code of the probability 0.5."""


def to_codes(probability: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    """Codes ``floor(65535 p + 1/2)``, exact for float16 and float32; values outside 0..1 are clipped.

    Raises:
        ValueError: a value is not a number.
    """
    if isinstance(probability, np.ndarray) and probability.dtype == np.float32:
        values = np.ascontiguousarray(probability)
        codes = np.empty(values.shape, np.uint16)
        fine = bool(_fill(values.reshape(-1), codes.reshape(-1)))
    else:
        # In double precision 65535 times a float32 is exact; in single precision half-way cases would round away.
        scaled = np.asarray(probability, np.float64) * TOP
        scaled += 0.5
        fine = not np.isnan(scaled).any()
        codes = np.clip(scaled, 0, TOP).astype(np.uint16) if fine else np.empty(0, np.uint16)
    if not fine:
        raise ValueError("a probability is not a number")
    return codes


@numba.njit(nogil=True, cache=True)
def _fill(values: Any, codes: Any) -> Any:
    """The same number by number, in one pass; whether all are numbers."""
    fine = True
    for place in range(values.size):
        scaled = np.float64(values[place]) * TOP + 0.5
        fine &= scaled == scaled
        codes[place] = np.uint16(min(max(scaled, 0.0), np.float64(TOP)))
    return fine


def to_probability(codes: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Probabilities ``code / 65535``; ``to_codes`` takes them back to the same codes."""
    return np.asarray(codes, np.float32) / np.float32(TOP)
