"""Folds: which images validate which model. Written once, and held to the data on every start."""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from segfold.errors import SegfoldError, shown
from segfold.files import write_atomic
from segfold.layouts.table import read_table, shorten
from segfold.tasks import Strata

TRAINED_ON = -1
"""Fold number of an image that no fold holds out: of the training part of a competition's own split."""
_TRAINED_ON = "train"  # in fold files


def fold_path(competition: str, k: int, home: Path = Path()) -> Path:
    """The usual place of a competition's fold file."""
    return home / "folds" / f"{competition}-{k}.csv"


def parse_fold(text: str) -> int | None:
    """The number of a fold that ``text`` is, if it is one: digits of ASCII, and no more than a number of folds has."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def fold_number(text: str, k: int) -> int:
    """Number of a fold as a user writes it.

    Args:
        k: how many folds there are; 1 of a competition that has a validation split of its own.

    Raises:
        SegfoldError: not a number from 0 to ``k`` - 1.
    """
    number = parse_fold(text)
    if k == 1 and number != 0:
        raise SegfoldError(
            f"--fold {text[:30]}: the competition has a validation split of its own, fold 0, and no other; use --fold 0, "
            "or folds.given=false for folds of the whole training set"
        )
    if number is None or number >= k:
        raise SegfoldError(f"--fold {text[:30]}: expected a number from 0 to {k - 1}, one less than folds.k")
    return number


def make_folds(
    ids: Iterable[str],
    strata: Strata,
    groups: Iterable[str] | None = None,
    k: int = 5,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> np.ndarray:
    """Assigns each image to one of ``k`` folds, evenly by stratum, by scikit-learn's splitters.

    They see the images in the order of a hash of (seed, id), so the order of the files does not matter. Without groups
    every class, and the whole, is spread as evenly as can be (folds differ by at most one image); with groups as evenly
    as ``StratifiedGroupKFold`` finds.

    Args:
        ids: N ids.
        strata: of the images, see ``segfold.tasks.Task.strata``.
        groups: N group names; a group stays in one fold. "" is an image in no group.
        k: number of folds.
        seed: another seed gives another split.
        say: told of strata that are too small to be in every fold.

    Returns:
        N fold numbers, 0…k-1, in the order of ``ids``.

    Raises:
        SegfoldError: doubled ids, or fewer images or groups than folds.
    """
    names = [str(name) for name in ids]
    if len(set(names)) < len(names):
        doubled = sorted({name for name in names if names.count(name) > 1})
        raise SegfoldError(f"id {shorten(doubled)} is there more than once: expected one image an id")
    classes = strata.numbers
    if len(classes) != len(names):
        raise ValueError(f"{len(classes)} strata for {len(names)} ids")
    keys = _group_keys(names, groups)
    count = len(set(keys))
    if k < 2 or k > count:
        what = "images" if groups is None else "groups"
        raise SegfoldError(f"k={k} folds of {count} {what}: expected 2…{count}")
    for line in _too_small(strata, keys, k, grouped=groups is not None):
        say(line)
    order = np.array(sorted(range(len(names)), key=lambda row: _random(names[row], seed)))
    folds = np.empty(len(names), np.int64)
    folds[order] = _split(classes[order], None if count == len(names) else [keys[row] for row in order], k, seed)
    return folds


def _group_keys(names: list[str], groups: Iterable[str] | None) -> list[str]:
    """A key of each image's group that no two groups share; an image in no group is one of its own."""
    given = ["" for _ in names] if groups is None else [str(group) for group in groups]
    if len(given) != len(names):
        raise ValueError(f"{len(given)} groups for {len(names)} ids")
    return [f"group:{group}" if group else f"image:{name}" for name, group in zip(names, given)]


def _too_small(strata: Strata, keys: Sequence[str], k: int, grouped: bool) -> Iterator[str]:
    """A line for each stratum, or each of one name, that cannot be in every fold."""
    rows: dict[str, list[int]] = {}
    for number in np.unique(strata.numbers).tolist():
        rows.setdefault(strata.names[number], []).extend(np.flatnonzero(strata.numbers == number).tolist())
    for named, inside in rows.items():
        groups = len({keys[row] for row in inside})
        if groups < k:
            among = f" in {groups} group{'s' * (groups > 1)}" if grouped else ""
            images = f"{len(inside)} image{'s' * (len(inside) > 1)}"
            yield f"{named}: {images}{among}, too few for {k} folds; some folds have none of them"


def _split(classes: np.ndarray, keys: Sequence[str] | None, k: int, seed: int) -> np.ndarray:
    """Fold of each image, all in hashed order; ``keys`` of the groups where there are any."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # takes a second

    folds = np.empty(len(classes), np.int64)
    if np.bincount(classes).max() < k:  # the splitters refuse what has no class to stratify by
        if keys is None:
            folds[np.argsort(classes, kind="stable")] = np.arange(len(classes)) % k
            return folds
        classes = np.zeros_like(classes)
    numbers = None
    if keys is not None:
        place = {key: number for number, key in enumerate(sorted(set(keys), key=lambda key: _random(key, seed)))}
        numbers = [place[key] for key in keys]
    splitter = StratifiedKFold(k) if keys is None else StratifiedGroupKFold(k)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of small classes, about which _too_small says more
        for fold, (_, rows) in enumerate(splitter.split(classes, classes, numbers)):
            folds[rows] = fold
    return folds


def _random(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{text}".encode()).digest()


def given_folds(held_out: np.ndarray) -> np.ndarray:
    """Folds of a competition's own split: fold 0 alone, which holds out its validation part.

    Args:
        held_out: (N,) whether an image is in the validation part.
    """
    return np.where(np.asarray(held_out, bool), 0, TRAINED_ON).astype(np.int64)


def write_folds(path: Path, ids: Iterable[str], folds: Iterable[int]) -> bool:
    """Writes a fold file (``id,fold``, sorted by id) unless the same one is there.

    Returns:
        Whether it was written.

    Raises:
        SegfoldError: a different fold file is there, which runs may have been trained on.
    """
    names, numbers = [str(name) for name in ids], [int(fold) for fold in folds]
    if path.exists():
        try:
            same = read_folds(path, names).tolist() == numbers
        except SegfoldError:
            same = False
        if same:
            return False
        raise SegfoldError(
            f"{path} is there and differs, and runs may have been trained on it: delete it, or choose another file"
        )
    texts = [_TRAINED_ON if fold == TRAINED_ON else str(fold) for fold in numbers]
    lines = [f"{_quoted(name)},{text}\n" for name, text in sorted(zip(names, texts))]
    with write_atomic(path, "w") as handle:
        handle.writelines(["id,fold\n", *lines])
    return True


def read_folds(path: Path, ids: Iterable[str]) -> np.ndarray:
    """Reads a fold file and holds it to the data.

    Returns:
        Fold number of each id, in the order of ``ids``; ``TRAINED_ON`` where the file has ``train``.

    Raises:
        SegfoldError: no file, doubled, missing or unknown ids, a fold that is no number or has no images.
    """
    if not path.exists():
        raise SegfoldError(f"no fold file {path}: run `make folds`")
    table = read_table(path, ["id", "fold"])
    lines = dict(zip(table["id"], table["fold"]))
    names = list(ids)
    if missing := [name for name in names if name not in lines]:
        raise SegfoldError(f"{path} has no line for {shorten(missing)}: the data has more images, make folds for it")
    if unknown := sorted(set(lines) - set(names)):
        raise SegfoldError(f"{path} has id {shorten(unknown)}, which the data has not: make folds for this data")
    numbers = {name: TRAINED_ON if fold == _TRAINED_ON else parse_fold(fold) for name, fold in lines.items()}
    if bad := [f"{name} ({shown(lines[name])})" for name, number in numbers.items() if number is None]:
        raise SegfoldError(f"{path}: the fold of {shorten(bad)} is no number: expected 0, 1, …")
    folds = np.array([numbers[name] for name in names], np.int64)
    used = np.unique(folds[folds != TRAINED_ON])
    if len(used) < (1 if TRAINED_ON in folds else 2) or used[-1] != len(used) - 1:
        found = ", ".join(map(str, used[:20]))
        raise SegfoldError(f"{path} has the folds {found}: expected two or more, numbered 0, 1, … without a gap")
    return folds


def kept_folds(path: Path, ids: Iterable[str], k: int) -> np.ndarray | None:
    """The folds of a file of ``k`` folds of these images, whatever made it; None where there is no such file."""
    try:
        folds = read_folds(path, ids)
    except SegfoldError:
        return None
    return folds if int(folds.max()) + 1 == k else None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(mark in name for mark in ',"\r\n') else name


def ensure_folds(path: Path, ids: Sequence[str] | np.ndarray, k: int, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The ``k`` folds in ``path``, made first where there is no file. Errors as of ``read_folds``."""
    if not path.exists():
        write_folds(path, ids, make())
    folds = read_folds(path, ids)
    if int(folds.max()) + 1 != k:
        raise SegfoldError(
            f"{path} has {int(folds.max()) + 1} folds, the experiment says folds.k={k}: make one of them fit"
        )
    return folds
