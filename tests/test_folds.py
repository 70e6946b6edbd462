"""Folds: even in every coverage class, the same whatever the order, groups kept whole; and the fold file."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from segfold import road
from segfold.competition import load_competition
from segfold.data.folds import fold_number, fold_path, given_folds, read_folds, write_folds
from segfold.data.folds import make_folds as make_folds_by
from segfold.errors import SegfoldError
from segfold.settings import Experiment
from segfold.tasks.strata import coverage_class, coverage_strata
from small_images import image_set


def make_folds(ids, coverage, *arguments, **options):  # type: ignore[no-untyped-def]
    """Folds by coverage, the strata of one class."""
    return make_folds_by(ids, coverage_strata(coverage), *arguments, **options)


# Images in each coverage class of the salt competition.
SALT = [1562, 576, 296, 224, 186, 225, 205, 174, 148, 159, 245]


def salt_like(seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Ids in random order, with coverages whose classes have exactly the counts of the salt competition."""
    rng = np.random.default_rng(seed)
    tenths = np.repeat(np.arange(11), SALT)
    coverage = np.where(tenths == 0, 0.0, (tenths - rng.uniform(0.01, 0.99, len(tenths))) / 10)
    order = rng.permutation(len(tenths))
    return [f"{number:010x}" for number in rng.permutation(len(tenths))], coverage[order]


def class_counts(folds: np.ndarray, coverage: np.ndarray, k: int) -> np.ndarray:
    counts = np.zeros((k, 11), int)
    for fold, share in zip(folds, coverage):
        counts[fold, int(np.ceil(round(10 * share, 9)))] += 1
    return counts


def test_coverage_class() -> None:
    shares = [0, 1e-4, 0.1, 0.1001, 0.3, 0.7, 7 / 10, 0.99, 1]
    assert coverage_class(np.array(shares)).tolist() == [0, 1, 1, 2, 3, 7, 7, 10, 10]
    # The exact rule, in integers.
    for area in (10, 100, 10201):
        for pixels in range(0, area + 1, max(area // 100, 1)):
            assert coverage_class(np.array([pixels / area]))[0] == -(-10 * pixels // area)


@pytest.mark.parametrize("k", [2, 5, 7])
def test_every_class_is_spread_evenly(k: int) -> None:
    """Published folds that apply the permutation the wrong way round have .364 to .409 empty images."""
    ids, coverage = salt_like()
    folds = make_folds(ids, coverage, k=k)
    counts = class_counts(folds, coverage, k)
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(axis=1)) <= 1
    empty = counts[:, 0] / counts.sum(axis=1)
    assert np.abs(empty - 1562 / 4000).max() < 0.002


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=60), st.integers(2, 9), st.integers(0, 3))
def test_even_for_any_coverage(coverage: list[float], k: int, seed: int) -> None:
    k = min(k, len(coverage))
    ids = [str(i) for i in range(len(coverage))]
    folds = make_folds(ids, coverage, k=k, seed=seed)
    assert set(folds) == set(range(k))
    assert np.ptp(np.bincount(folds)) <= 1
    classes = coverage_class(np.array(coverage))
    for one in set(classes):
        assert np.ptp(np.bincount(folds[classes == one], minlength=k)) <= 1


@pytest.mark.parametrize("grouped", [False, True])
def test_order_of_images_does_not_matter(grouped: bool) -> None:
    ids, coverage = salt_like()
    groups = [name[-2:] for name in ids] if grouped else None
    folds = make_folds(ids, coverage, groups)
    order = np.random.default_rng(3).permutation(len(ids))
    again = make_folds(
        [ids[i] for i in order], coverage[order], [groups[i] for i in order] if groups is not None else None
    )
    np.testing.assert_array_equal(again, folds[order])
    np.testing.assert_array_equal(make_folds(ids, coverage, groups), folds)


def test_seed_matters_and_order_of_ids_does_not_leak() -> None:
    ids, coverage = salt_like()
    one, other = make_folds(ids, coverage, seed=0), make_folds(ids, coverage, seed=1)
    assert 0.7 < (one != other).mean() < 0.9  # independent splits into five agree on a fifth
    # Neither does the fold follow the id or the coverage within a class.
    rank = np.argsort(np.argsort(ids))
    assert abs(np.corrcoef(rank, one)[0, 1]) < 0.05
    part = coverage_class(coverage) == 1
    assert abs(np.corrcoef(coverage[part], one[part])[0, 1]) < 0.15


@pytest.mark.parametrize("grouped", [False, True])
def test_the_splitters_of_scikit_learn_in_hashed_order(grouped: bool) -> None:
    """Class after class, each in the order of a hash of its ids: what a user gets who shuffles that way."""
    ids, coverage = salt_like()
    groups = [name[-2:] for name in ids] if grouped else None
    order = sorted(range(len(ids)), key=lambda row: hashlib.sha256(f"7:{ids[row]}".encode()).digest())
    labels = coverage_class(coverage[order])
    own = [f"group:{groups[row]}" for row in order] if groups else ["" for _ in order]
    rank = {
        name: i for i, name in enumerate(sorted(set(own), key=lambda g: hashlib.sha256(f"7:{g}".encode()).digest()))
    }
    splitter = StratifiedGroupKFold(5) if grouped else StratifiedKFold(5)
    expected = np.empty(len(ids), int)
    for fold, (_, rows) in enumerate(splitter.split(labels, labels, [rank[name] for name in own] if groups else None)):
        expected[np.array(order)[rows]] = fold
    np.testing.assert_array_equal(make_folds(ids, coverage, groups, seed=7), expected)


def test_what_is_too_small_for_the_folds_is_said() -> None:
    said: list[str] = []
    coverage = [0.0] * 7 + [0.05] * 3 + [0.35]
    ids = [f"id{i}" for i in range(11)]
    make_folds(ids, coverage, k=4, say=said.append)
    assert said == [
        "masks that cover 0 to 10 %: 3 images, too few for 4 folds; some folds have none of them",
        "masks that cover 30 to 40 %: 1 image, too few for 4 folds; some folds have none of them",
    ]
    said.clear()
    groups = ["a", "a", "a", "a", "b", "b", "b", "", "", "c", "d"]
    make_folds(ids, coverage, groups, k=3, say=said.append)
    assert said[0] == "empty masks: 7 images in 2 groups, too few for 3 folds; some folds have none of them"
    said.clear()
    make_folds(ids, coverage, k=3, say=said.append)
    assert len(said) == 1  # three images are enough for three folds


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.05, 0.5]), st.integers(0, 6)), min_size=6, max_size=30),
    st.integers(2, 5),
)
def test_groups_leave_no_fold_empty(images: list[tuple[float, int]], k: int) -> None:
    groups = [f"g{group}" for _, group in images]
    k = max(2, min(k, len(set(groups))))
    if len(set(groups)) < k:
        return
    folds = make_folds([str(i) for i in range(len(images))], [share for share, _ in images], groups, k=k)
    assert set(folds.tolist()) == set(range(k))
    assert all(len({fold for fold, name in zip(folds, groups) if name == group}) == 1 for group in groups)


def test_groups_stay_whole_and_classes_even() -> None:
    ids, coverage = salt_like()
    rng = np.random.default_rng(5)
    groups = [f"g{rng.integers(900)}" if rng.random() < 0.5 else "" for _ in ids]
    folds = make_folds(ids, coverage, groups)
    for group in set(groups) - {""}:
        assert len({fold for fold, name in zip(folds, groups) if name == group}) == 1
    counts = class_counts(folds, coverage, 5)
    assert np.ptp(counts, axis=0).max() <= 3
    assert np.ptp(counts.sum(axis=1)) <= 8
    # Images in no group are not one large group.
    assert len({fold for fold, name in zip(folds, groups) if name == ""}) == 5


def test_a_few_large_groups() -> None:
    ids = [str(i) for i in range(60)]
    groups = ["a"] * 20 + ["b"] * 20 + ["c"] * 20
    folds = make_folds(ids, [i % 2 * 0.5 for i in range(60)], groups, k=3)
    assert sorted(folds[::20].tolist()) == [0, 1, 2]


def test_what_cannot_be_split() -> None:
    with pytest.raises(SegfoldError, match=r"k=1 .*expected 2…3"):
        make_folds(["a", "b", "c"], [0, 0, 0], k=1)
    with pytest.raises(SegfoldError, match="k=4 folds of 3 images"):
        make_folds(["a", "b", "c"], [0, 0, 0], k=4)
    with pytest.raises(SegfoldError, match="k=3 folds of 2 groups"):
        make_folds(["a", "b", "c"], [0, 0, 0], ["x", "x", "y"], k=3)
    with pytest.raises(SegfoldError, match="id a is there more than once"):
        make_folds(["a", "b", "a"], [0, 0, 0], k=2)


# The file

IDS = ["1e1000", "00123", "a,b", "nan"]


def test_file_round_trip(tmp_path: Path) -> None:
    path = fold_path("tiny", 2, tmp_path)
    assert path == tmp_path / "folds" / "tiny-2.csv"
    assert write_folds(path, IDS, np.array([1, 0, 1, 0]))
    assert path.read_text() == 'id,fold\n00123,0\n1e1000,1\n"a,b",1\nnan,0\n'
    assert read_folds(path, IDS).tolist() == [1, 0, 1, 0]
    assert read_folds(path, IDS[::-1]).tolist() == [0, 1, 0, 1]
    assert [entry.name for entry in path.parent.iterdir()] == ["tiny-2.csv"]


def test_a_different_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "folds.csv"
    write_folds(path, IDS, [1, 0, 1, 0])
    before = path.stat().st_mtime_ns
    assert not write_folds(path, IDS[::-1], [0, 1, 0, 1])  # the same in another order
    assert path.stat().st_mtime_ns == before
    for ids, folds in ((IDS, [0, 1, 1, 0]), (IDS[:3], [1, 0, 1]), ([*IDS, "z"], [1, 0, 1, 0, 0])):
        with pytest.raises(SegfoldError, match="is there and differs"):
            write_folds(path, ids, folds)
    path.write_text("something else\n")
    with pytest.raises(SegfoldError, match="is there and differs"):
        write_folds(path, IDS, [1, 0, 1, 0])
    assert path.read_text() == "something else\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,fold\na,0\nb,1\na,1\n", "id a more than once"),
        ("id,fold\na,0\n", "no line for b"),
        ("id,fold\na,0\nb,1\nc,0\n", "has id c, which the data has not"),
        ("id,fold\na,0\nb,1.0\n", r"fold of b \('1\.0'\)"),
        ("id,fold\na,0\nb,\n", r"fold of b \(''\)"),
        ("id,fold\na,0\nb,-1\n", r"fold of b \('-1'\)"),
        ("id,fold\na,0\nb,1" + 20 * "0" + "\n", r"fold of b \('10{20}'\)"),
        ("id,fold\na,0\nb,2\n", "folds 0, 2: expected"),
        (f"id,fold\na,0\nb,{'9' * 21}\n", r"fold of b \('9{21}'\) is no number"),
        (f"id,fold\na,0\nb,{'1' * 5000}\n", r"fold of b \('1{79}…\) is no number"),
        ("id,fold\na,0\nb,²\n", r"fold of b \('²'\)"),
        ("id,fold\na,0\nb,٣\n", r"fold of b \('٣'\)"),
        ("id,fold\na,0\nb,1\x1f\n", r"fold of b \('1\\x1f'\)"),
        ("id,fold\na,0\nb,0\n", "folds 0: expected two"),
        ("a,0\nb,1\n", "no column id, fold"),  # without a header the first id would be lost
    ],
)
def test_bad_fold_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "folds.csv"
    path.write_text(text)
    with pytest.raises(SegfoldError, match=said):
        read_folds(path, ["a", "b"])


def test_no_fold_file(tmp_path: Path) -> None:
    with pytest.raises(SegfoldError, match=r"no fold file .*make folds"):
        read_folds(tmp_path / "folds.csv", ["a"])


def test_the_split_of_a_competition_is_fold_0_alone(tmp_path: Path) -> None:
    path = tmp_path / "folds.csv"
    folds = given_folds(np.array([True, False, False, True]))
    assert write_folds(path, IDS, folds)
    assert path.read_text() == 'id,fold\n00123,train\n1e1000,0\n"a,b",train\nnan,0\n'
    assert read_folds(path, IDS).tolist() == [0, -1, -1, 0]
    assert fold_number("0", 1) == 0
    with pytest.raises(SegfoldError, match="--fold 1: the competition has a validation split of its own, fold 0"):
        fold_number("1", 1)


def test_a_fold_file_that_holds_nothing_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folds.csv").write_text("id,fold\na,train\nb,train\n")
    with pytest.raises(SegfoldError, match="has the folds"):
        read_folds(tmp_path / "folds.csv", ["a", "b"])


@pytest.mark.parametrize(("given", "file"), [(True, "camvid-1.csv"), (False, "camvid-3.csv")])
def test_a_competitions_own_split_or_folds_of_all(tmp_path: Path, given: bool, file: str) -> None:
    competition = load_competition("camvid")
    images = replace(image_set(12), held_out=np.arange(12) < 4)
    stages = {"one": {"epochs": 1, "lr": 1e-3, "loss": {"mask": {"ce": 1}}}}
    experiment = Experiment.model_validate(
        {"competition": "camvid", "folds": {"k": 3, "given": given}, "stages": stages}
    )
    folds = road.experiment_folds(experiment, competition, images, tmp_path)
    assert [path.name for path in (tmp_path / "folds").iterdir()] == [file]
    assert road.fold_count(experiment, competition) == (1 if given else 3)
    assert folds.tolist() == [0] * 4 + [-1] * 8 if given else sorted(set(folds.tolist())) == [0, 1, 2]


def test_a_split_that_is_named_and_not_there(tmp_path: Path) -> None:
    stages = {"one": {"epochs": 1, "lr": 1e-3, "loss": {"mask": {"ce": 1}}}}
    experiment = Experiment.model_validate({"competition": "camvid", "stages": stages})
    with pytest.raises(
        SegfoldError, match=r"camvid names a validation split, but the data has none: .*folds\.given=false"
    ):
        road.experiment_folds(experiment, load_competition("camvid"), image_set(12), tmp_path)
    assert not (tmp_path / "folds").exists()
