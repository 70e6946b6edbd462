"""Scores from disputed pixels alone: bit for bit those of the real blend, whatever the classes, metric and combination."""

import tempfile

import numpy as np
import pytest

from oof_sets import BINARY, THREE, TWO, OofSet, evidence, oof_set, stored
from segfold.ensemble import combination, disputed_pixels
from segfold.ensemble.combine import COMBINATIONS
from segfold.ensemble.disputed import Disputed
from segfold.errors import SegfoldError
from segfold.post.threshold import threshold_code

WEIGHTS = [[1, 1, 1], [1, 0, 0], [0, 0, 0.3], [0.55, 0.45, 0], [3, 1, 2], [0.01, 0.5, 0.49], [1 / 3, 2**0.5, 1e-7]]
CASES = [
    (BINARY, "precision"),
    (BINARY, "global_dice"),
    (TWO, "miou"),
    (TWO, "dice"),
    (THREE, "miou"),
    (THREE, "fw_iou"),
    (BINARY, "object_f2"),
    (TWO, "object_precision"),
    (THREE, "boundary_accuracy"),
]


@pytest.mark.parametrize("name", COMBINATIONS)
@pytest.mark.parametrize(("task", "metric"), CASES)
def test_features_are_those_of_the_real_blend(tmp_path, task, metric, name):
    made = oof_set(tmp_path, task, metric)
    averaged = combination(name, made.members, made.ids, task)
    disputed = Disputed.of(made.members, made.ids, made.images, averaged)
    for weights in WEIGHTS:
        np.testing.assert_array_equal(disputed.features(weights), made.features(weights, averaged))
    assert 0.01 < disputed.share < 0.45


@pytest.mark.parametrize("threshold", [0.2, 0.35, 0.8, 1.0])
@pytest.mark.parametrize("name", COMBINATIONS)
def test_so_they_are_at_any_threshold(tmp_path, name, threshold):
    made = oof_set(tmp_path, TWO, "dice")
    averaged = combination(name, made.members, made.ids, TWO)
    disputed = Disputed.of(made.members, made.ids, made.images, averaged, [threshold_code(threshold)] * 2)
    for weights in WEIGHTS:
        np.testing.assert_array_equal(disputed.features(weights), made.features(weights, averaged, threshold))


@pytest.mark.parametrize("metric", ["miou", "boundary_accuracy"])
@pytest.mark.parametrize("name", COMBINATIONS)
@pytest.mark.parametrize("low", [0, 300, 65530])
def test_classes_of_nearly_equal_codes_go_to_the_first_after_rounding(tmp_path, name, metric, low):
    """Every pixel of every member is a near tie, so that rounding decides."""
    rng, ids = np.random.default_rng(0), ["a", "b", "c"]
    members = [
        stored(tmp_path, f"run{k}", ids, list(rng.integers(low, low + 5, (3, 3, 20, 30), np.uint16))) for k in range(3)
    ]
    masks = dict(zip(ids, rng.integers(0, 3, (3, 20, 30), np.uint8)))
    made = OofSet(members, ids, evidence(ids, masks, THREE, metric))
    averaged = combination(name, members, ids, THREE)
    disputed = Disputed.of(members, ids, made.images, averaged)
    for weights in WEIGHTS:
        np.testing.assert_array_equal(disputed.features(weights), made.features(weights, averaged))


def test_some_images_are_scored_alone_and_in_any_order(tmp_path):
    made = oof_set(tmp_path)
    disputed = Disputed.of(made.members, made.ids, made.images)
    rows = np.array([7, 2, 2])
    np.testing.assert_array_equal(disputed.features([1, 2, 3], rows), made.features([1, 2, 3])[rows])
    assert disputed.features([1, 2, 3], rows[:0]).shape == (0, 1)
    assert disputed.rows_of([0, 2]).tolist() == [0, 2, 3, 5, 6, 8]
    assert disputed.score([1, 2, 3]) == pytest.approx(made.score([1, 2, 3]), abs=1e-7)


@pytest.mark.parametrize(("task", "metric"), CASES)
def test_exchanged_weights_score_what_they_score_by_themselves(tmp_path, task, metric):
    made = oof_set(tmp_path, task, metric)
    disputed = Disputed.of(made.members, made.ids, made.images)
    rows = np.arange(1, 8)
    given = disputed.exchanged([5, 3, 2], 0, [1, 2], [1, 4, 5], rows)
    added = disputed.exchanged([5, 3, 2], None, [0, 2], [1], rows)
    wanted = [[[4, 4, 2], [1, 7, 2], [0, 8, 2]], [[4, 3, 3], [1, 3, 6], [0, 3, 7]]]
    assert given.tolist() == [[disputed.score(each, rows) for each in some] for some in wanted]
    assert added.tolist() == [[disputed.score(each, rows)] for each in ([6, 3, 2], [5, 3, 3])]


def test_threads_change_nothing(tmp_path, monkeypatch):
    made = oof_set(tmp_path, count=70, sides=[(6, 9)])
    found = []
    for threads in (1, 3):
        monkeypatch.setattr("segfold.ensemble.disputed.cores", lambda threads=threads: threads)
        monkeypatch.setattr("segfold.ensemble.disputed_pixels.cores", lambda threads=threads: threads)
        found.append(Disputed.of(made.members, made.ids, made.images).features([1, 2, 3]))
    np.testing.assert_array_equal(*found)
    assert len(np.unique(found[0])) > 5


@pytest.mark.parametrize(("task", "metric"), CASES)
def test_what_does_not_fit_into_memory_goes_to_a_file(tmp_path, task, metric):
    made = oof_set(tmp_path, task, metric)
    held = Disputed.of(made.members, made.ids, made.images)
    filed = Disputed.of(made.members, made.ids, made.images, most=2000)
    assert filed.in_file and not held.in_file
    np.testing.assert_array_equal(filed.features([3, 1, 2]), held.features([3, 1, 2]))


def test_a_folder_that_takes_no_file_is_named(tmp_path, monkeypatch):
    made = oof_set(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nothing"))
    with pytest.raises(SegfoldError, match=r"nothing takes no temporary file \(No such file.*set TMPDIR"):
        Disputed.of(made.members, made.ids, made.images, most=2000)


@pytest.mark.parametrize(("task", "metric"), CASES)
def test_large_images_are_read_in_bands(tmp_path, monkeypatch, task, metric):
    made = oof_set(tmp_path, task, metric)
    whole = Disputed.of(made.members, made.ids, made.images)
    monkeypatch.setattr(disputed_pixels, "_BAND", 1500)
    bands = Disputed.of(made.members, made.ids, made.images)
    for name in ("starts", "codes", "truth", "counts", "masks", "places"):
        np.testing.assert_array_equal(getattr(bands.pixels, name), getattr(whole.pixels, name))


def test_predictions_of_another_size_than_the_mask_are_refused(tmp_path):
    made = oof_set(tmp_path)
    other = oof_set(tmp_path / "other", sides=[(40, 40), (24, 30)])
    with pytest.raises(SegfoldError, match=r"image i0001: run run0 predicts \(1, 24, 31\), its mask is \(24, 30\)"):
        Disputed.of(made.members, made.ids, other.images)


def test_weights_that_are_none_are_refused(tmp_path):
    made = oof_set(tmp_path)
    disputed = Disputed.of(made.members, made.ids, made.images)
    for weights in ([0, 0, 0], [1, -1, 1], [1, float("nan"), 1]):
        with pytest.raises(SegfoldError, match="expected numbers of 0 or more, not all 0"):
            disputed.features(weights)
