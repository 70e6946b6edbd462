"""Where a probability becomes foreground."""

from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.store.reader import to_codes


def threshold_code(value: float) -> int:
    """Smallest stored code that is foreground at the probability ``value``; 0.5 gives 32768."""
    return int(to_codes(value))


class Threshold:
    """Foreground is what reaches a probability: ``code >= threshold_code(value)``.

    It compares stored codes, not probabilities, as the search on out-of-fold predictions does: the test
    images get exactly the rule that was chosen.
    """

    def __init__(self, *, value: float = 0.5) -> None:
        if not 0 < value <= 1:
            raise ValueError(f"threshold {value}: expected a probability above 0")
        self.value = value
        self.code = threshold_code(value)

    def __call__(self, codes: npt.NDArray[np.uint16]) -> npt.NDArray[Any]:
        """Codes of any shape -> uint8 {0, 1} of the same shape."""
        return (codes >= self.code).astype(np.uint8)
