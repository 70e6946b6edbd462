"""Where a probability becomes foreground."""

from segfold.store.codes import to_codes


def threshold_code(value: float) -> int:
    """Smallest stored code that is foreground at the probability ``value``; 0.5 gives 32768.

    Stored codes are compared, not probabilities, as the search on out-of-fold predictions does: the test images get
    exactly the rule that was chosen.
    """
    return int(to_codes(value))
