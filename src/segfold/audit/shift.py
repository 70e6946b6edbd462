"""Whether test images differ from training images: a classifier is asked to tell them apart by simple numbers.

Adversarial validation: if it does no better than chance on images that it has not seen, what these numbers know of an
image says nothing against a score on training images; if it does, they say in what the test set differs, and which
training images are most like it.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segfold.audit.measures import Measures
from segfold.cores import cores

Floats = npt.NDArray[np.float64]

FOLDS = 5
CLEAR = 0.55
"""AUC from which a difference is worth a word, where it is also beyond chance."""
_SIDES = ("height", "width")


@dataclass(frozen=True)
class Auc:
    """How well numbers tell test images from training images.

    Attributes:
        value: the share of pairs of a test and a training image of which the test image has the larger number.
        standard_error: by DeLong, DeLong and Clarke-Pearson (Biometrics 1988).
    """

    value: float
    standard_error: float

    @property
    def beyond_chance(self) -> bool:
        """Whether it differs from one half by three standard errors."""
        return abs(self.value - 0.5) > 3 * self.standard_error

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.standard_error:.3f}"


@dataclass(frozen=True)
class Separating:
    """A number of images, and how it differs between the splits.

    Attributes:
        alone: AUC of the number by itself; below one half where test images have smaller ones.
        drop: what the classifier's AUC loses where the number is shuffled.
        train: 5 %, 50 % and 95 % of training images lie below these.
        test: the same of test images.
    """

    name: str
    alone: Auc
    drop: float
    train: tuple[float, float, float]
    test: tuple[float, float, float]


@dataclass(frozen=True)
class Shift:
    """What tells test images from training images.

    Attributes:
        auc: of the classifier, on images that it has not seen.
        without_sides: the same where it does not know height and width; None where all images have one size.
        separating: numbers that vary, those that separate most first.
        probability: (N + M,) of being a test image, by a classifier that has not seen the image; training images first.
    """

    auc: Auc
    without_sides: Auc | None
    separating: tuple[Separating, ...]
    probability: Floats


def auc_of(train: npt.ArrayLike, test: npt.ArrayLike) -> Auc:
    """AUC of numbers of N training images and M test images, two or more each; ties count one half."""
    from scipy.stats import rankdata

    low, high = np.asarray(train, np.float64), np.asarray(test, np.float64)
    ranks = rankdata(np.concatenate([low, high]))
    above = (ranks[len(low) :] - rankdata(high)) / len(low)
    below = 1 - (ranks[: len(low)] - rankdata(low)) / len(high)
    error = np.sqrt(above.var(ddof=1) / len(high) + below.var(ddof=1) / len(low))
    return Auc(float(above.mean()), float(error))


def find_shift(
    train: Measures, test: Measures, groups: Sequence[int] | npt.NDArray[np.int64], seed: int = 0
) -> Shift | None:
    """Adversarial validation by gradient boosting over five folds.

    Args:
        train: of N images, of the same names as ``test``, of M images.
        groups: (N + M,) images of a number are in one fold, so that none is told by its near-duplicate; -1 of an image by
            itself.

    Returns:
        None where there are fewer than ten images of a split, or no number varies.
    """
    if min(len(train.values), len(test.values)) < 2 * FOLDS:
        return None
    values = np.concatenate([train.values, test.values]).astype(np.float64)
    is_test = np.repeat([False, True], [len(train.values), len(test.values)])
    varies = values.min(axis=0) < values.max(axis=0)
    names = [name for name, kept in zip(train.names, varies) if kept]
    values = values[:, varies]
    if not names:
        return None
    numbers = np.asarray(groups, np.int64)
    numbers = np.where(numbers < 0, numbers.max(initial=-1) + 1 + np.arange(len(numbers)), numbers)
    probability, shuffled = _out_of_fold(values, is_test, numbers, seed)
    auc = auc_of(probability[~is_test], probability[is_test])
    sides = [name in _SIDES for name in names]
    without = None
    if any(sides) and not all(sides):
        others, _ = _out_of_fold(values[:, np.logical_not(sides)], is_test, numbers, seed)
        without = auc_of(others[~is_test], others[is_test])
    found = [
        Separating(
            name,
            auc_of(column[~is_test], column[is_test]),
            auc.value - auc_of(lost[~is_test], lost[is_test]).value,
            _spread(column[~is_test]),
            _spread(column[is_test]),
        )
        for name, column, lost in zip(names, values.T, shuffled)
    ]
    found.sort(key=lambda each: -max(abs(each.alone.value - 0.5), each.drop))
    return Shift(auc, without, tuple(found), probability)


def _out_of_fold(
    values: Floats, is_test: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64], seed: int
) -> tuple[Floats, Floats]:
    """Probabilities of being a test image, and S×(N + M) those where each number in turn is shuffled within the fold."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
    from threadpoolctl import threadpool_limits  # which scikit-learn needs

    count = min(FOLDS, len(np.unique(groups)))
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed) if count > 1 else None
    parts = [] if splitter is None else list(splitter.split(values, is_test, groups))
    if not all(len(np.unique(is_test[rows])) == 2 for rows, _ in parts) or not parts:
        # Too few groups to learn from the others: then by image.
        parts = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(values, is_test))
    probability, shuffled = np.empty(len(values)), np.empty((values.shape[1], len(values)))

    def work(part: int) -> None:
        rows, held_out = parts[part]
        rng = np.random.default_rng([seed, part])
        model = HistGradientBoostingClassifier(
            max_iter=60, max_leaf_nodes=15, min_samples_leaf=10, early_stopping=False, random_state=seed
        )
        # A fold a thread: the classifier's own threads wait for each other at every step of work this small.
        with threadpool_limits(1, "openmp"):
            model.fit(values[rows], is_test[rows])
            inside = values[held_out]
            probability[held_out] = model.predict_proba(inside)[:, 1]
            for column in range(values.shape[1]):
                changed = inside.copy()
                changed[:, column] = rng.permutation(changed[:, column])
                shuffled[column, held_out] = model.predict_proba(changed)[:, 1]

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(work, range(len(parts))))
    return probability, shuffled


def _spread(values: Floats) -> tuple[float, float, float]:
    low, middle, high = np.percentile(values, (5, 50, 95)).tolist()
    return low, middle, high
