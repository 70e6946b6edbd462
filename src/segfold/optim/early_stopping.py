"""When to stop a stage whose validation score no longer grows."""

import math
from collections.abc import Sequence


def stopped_early(scores: Sequence[float], patience: int) -> bool:
    """Whether the last ``patience`` validations brought no new best score.

    A score that only equals the best is no new best; a NaN never is one. The answer depends on the scores
    alone, so a resumed run stops where the uninterrupted one did.

    Args:
        scores: validation scores so far, oldest first, higher is better.
        patience: validations, not epochs; at least 1.
    """
    best, since = -math.inf, 0
    for score in scores:
        best, since = (score, 0) if score > best else (best, since + 1)
    return since >= patience
