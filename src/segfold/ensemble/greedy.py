"""Members chosen one after the other: greedy forward selection with replacement.

Reference:
    Caruana et al., Ensemble selection from libraries of models, ICML 2004.
"""

from collections.abc import Sequence

import numpy as np

from segfold.ensemble.disputed import Disputed, Numbers
from segfold.errors import SegfoldError

PATIENCE = 5
"""Members that may be added without a gain before the selection ends."""


def greedy(
    disputed: Disputed,
    rows: Numbers | None = None,
    steps: int = 20,
    bags: int = 1,
    seed: int = 0,
    costs: Sequence[float] | None = None,
    budget: float | None = None,
) -> list[int]:
    """How often each member is chosen; these counts are its weights.

    It begins with the best member and goes on to add, of all members, those chosen already too, the one with which the
    equal mean of all that were added scores best; of equals one that is in already, then the first. The selection is what
    was there when the score was best, of equals the shortest. ``steps`` without a gain end it early.

    A selection from few images fits their chances. With bags, it is made from random halves of the members, one after the
    other, and the counts are added up. Where there is a budget, the members chosen most often stay as long as they fit
    into it.

    Args:
        rows: images to choose on; None for all.
        steps: members that a selection adds at most, 1 or more.
        bags: random halves of the members; 1 for one selection from all of them.
        seed: of the bags.
        costs: (M,) seconds that each member takes, however often it is chosen.
        budget: seconds that the chosen members may take together; None for any.

    Returns:
        (M,) counts of 0 or more, not all 0.

    Raises:
        SegfoldError: no member fits into the budget.
    """
    count = len(disputed.names)
    if steps < 1 or bags < 1:
        raise ValueError(f"{steps} steps, {bags} bags: expected 1 or more")
    if (costs is None) != (budget is None) or (costs is not None and len(costs) != count):
        raise ValueError(f"costs {costs}, budget {budget}: expected a cost a member and a budget, or neither")
    price = np.zeros(count) if costs is None else np.asarray(costs, np.float64)
    limit = np.inf if budget is None else budget
    if price.min() > limit:
        raise SegfoldError(
            f"no run fits into {limit:g} seconds: the fastest, {disputed.names[int(price.argmin())]}, takes "
            f"{price.min():.3g}; allow more, or add a faster run"
        )
    chosen = np.zeros(count, np.int64)
    for members in _bags(np.flatnonzero(price <= limit), bags, seed):
        chosen += _select(disputed, rows, members, steps, price, limit)
    return _affordable(chosen, price, limit).tolist()


def _bags(members: Numbers, bags: int, seed: int) -> list[Numbers]:
    """Random halves, rounded up; or all members, once."""
    if bags == 1:
        return [members]
    rng = np.random.default_rng(seed)
    half = (len(members) + 1) // 2
    return [np.sort(rng.choice(members, half, replace=False)) for _ in range(bags)]


def _select(
    disputed: Disputed, rows: Numbers | None, members: Numbers, steps: int, price: np.ndarray, limit: float
) -> Numbers:
    """(M,) counts of one selection."""
    counts = np.zeros(len(disputed.names), np.int64)
    best, best_score, since = counts.copy(), -np.inf, 0
    for _ in range(steps):
        spent = price[counts > 0].sum()
        open_to = [member for member in members if counts[member] or spent + price[member] <= limit]
        scores = disputed.exchanged(counts.tolist(), None, open_to, [1], rows)[:, 0]
        equals = [member for member, score in zip(open_to, scores) if score == scores.max()]
        # Members that are in already cost nothing more.
        counts[next((member for member in equals if counts[member]), equals[0])] += 1
        if scores.max() > best_score:
            best, best_score, since = counts.copy(), scores.max(), 0
        else:
            since += 1
            if since == PATIENCE:
                break
    return best


def _affordable(counts: Numbers, price: np.ndarray, limit: float) -> Numbers:
    """The counts of the members chosen most often that fit together, others 0; of equals the cheaper goes first."""
    kept, spent = np.zeros_like(counts), 0.0
    for member in sorted(np.flatnonzero(counts), key=lambda member: (-counts[member], price[member], member)):
        if spent + price[member] <= limit:
            kept[member] = counts[member]
            spent += price[member]
    return kept
