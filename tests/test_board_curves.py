"""A run's curves: against loops over images with scores of scikit-learn, scipy and by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from scored_fold import ScoredFold, competition, images_of, scored_fold
from segfold.board import fold_sums, scored_store
from segfold.board.fold_images import fold_images
from segfold.board.run_curves import run_curves
from segfold.competition import Competition
from segfold.data.images import PixelStore

SHAPES = [(13, 17), (1, 1), (30, 41), (2, 60), (64, 33), (9, 9), (1, 12), (50, 50), (21, 8), (16, 16), (11, 40), (7, 7)]
THRESHOLDS = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]

Masks = Sequence[np.ndarray]
"""Of images; C×H×W planes."""


def sums_of(fold: ScoredFold) -> dict[str, Any]:
    found = fold_images(fold.folder, fold.done, None, fold.competition, fold.images)
    assert found.sums is not None, found.reason
    return found.sums


def curves_of(*folds: ScoredFold) -> dict[str, Any]:
    return run_curves("made", folds[0].competition, {fold.folder.number: sums_of(fold) for fold in folds})


def planes(mask: np.ndarray, fold: ScoredFold) -> np.ndarray:
    count = len(fold.competition.classes)
    if fold.competition.task.exclusive:
        return np.stack([mask == index for index in range(count)])
    return np.stack([mask >> bit & 1 == 1 for bit in range(count)])


def at(fold: ScoredFold, threshold: float) -> list[np.ndarray]:
    # A stored code is the nearest of 65,535 steps to a probability, half a step rounded up.
    return [codes >= np.floor(65535 * threshold + 0.5) for codes in fold.codes]


def image_mean(score: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[Masks, Masks], float]:
    """The mean over images of the mean over classes."""

    def mean(found: Masks, true: Masks) -> float:
        each = [np.mean([score(*pair) for pair in zip(p, t)]) for p, t in zip(found, true)]
        return float(np.mean(each))

    return mean


def iou(found: np.ndarray, true: np.ndarray) -> float:
    return jaccard_score(true.ravel(), found.ravel(), zero_division=1.0)


def dice(found: np.ndarray, true: np.ndarray) -> float:
    return f1_score(true.ravel(), found.ravel(), zero_division=1.0)


def precision(found: np.ndarray, true: np.ndarray) -> float:
    both, any_ = int((found & true).sum()), int((found | true).sum())
    return 1.0 if any_ == 0 else sum(100 * both > any_ * percent for percent in range(50, 100, 5)) / 10


def together(masks: Masks) -> np.ndarray:
    """(pixels, C) of all images."""
    return np.concatenate([each.reshape(len(each), -1).T for each in masks])


def set_dice(found: Masks, true: Masks) -> float:
    return f1_score(together(true).ravel(), together(found).ravel(), zero_division=1.0)


def set_iou(found: Masks, true: Masks) -> float:
    columns = zip(together(found).T, together(true).T)
    return float(np.mean([jaccard_score(t, p) for p, t in columns if p.any() or t.any()]))


def object_f2(found: np.ndarray, true: np.ndarray) -> float:
    """Every predicted object beside every true one, at each IoU threshold."""
    (ours, count), (theirs, wanted) = (ndimage.label(mask, np.ones((3, 3))) for mask in (found, true))
    if count + wanted == 0:
        return 1.0
    scores = []
    for percent in range(50, 100, 5):
        hits = 0
        for a in range(1, count + 1):
            for b in range(1, wanted + 1):
                both, any_ = ((ours == a) & (theirs == b)).sum(), ((ours == a) | (theirs == b)).sum()
                hits += 100 * both > percent * any_
        scores.append(5 * hits / (5 * hits + 4 * (wanted - hits) + count - hits))
    return float(np.mean(scores))


def boundary(found: Masks, true: Masks) -> float:
    """Share of right pixels among those with one of another label within 3 pixels, by looking at all of these."""
    right = near = 0
    for p, t in zip(found, true):
        padded = np.pad(t.astype(int), ((0, 0), (3, 3), (3, 3)), constant_values=-1)  # beyond the image is no label
        other = np.zeros(t.shape[1:], bool)
        for y, x in np.ndindex(7, 7):
            if (y - 3) ** 2 + (x - 3) ** 2 <= 9:
                around = padded[:, y : y + t.shape[1], x : x + t.shape[2]]
                other |= ((around != t) & (around >= 0)).any(axis=0)
        near += other.sum()
        right += (other & (p == t).all(axis=0)).sum()
    return right / near


METRICS: dict[str, tuple[Competition, Callable[[Masks, Masks], float]]] = {
    "precision": (competition("binary", ["salt"]), image_mean(precision)),
    "iou": (competition("binary", ["salt"], "iou"), image_mean(iou)),
    "global dice": (competition("binary", ["salt"], "global_dice"), set_dice),
    "labels dice": (competition("multilabel", ["a", "b", "c"], "dice"), image_mean(dice)),
    "labels miou": (competition("multilabel", list("abcdefghij"), "miou"), set_iou),
    "objects": (competition("binary", ["salt"], "object_f2"), image_mean(object_f2)),
    "boundary": (competition("binary", ["salt"], {"boundary_accuracy": {"width": 3}}), boundary),
    "labels boundary": (competition("multilabel", ["a", "b"], {"boundary_accuracy": {"width": 3}}), boundary),
}
CLASSES = competition("multiclass", ["sky", "road", "car", "bird"], "miou", void=255, background=0)


@pytest.mark.parametrize("name", METRICS)
def test_the_threshold_curve_is_that_of_a_loop_over_thresholds(name: str, tmp_path: Path) -> None:
    about, score = METRICS[name]
    fold = scored_fold(tmp_path, about, images_of(about.task, SHAPES))
    found = curves_of(fold)["threshold"]
    true = [planes(truth, fold) for truth in fold.truths]
    wanted = [score(at(fold, threshold), true) for threshold in THRESHOLDS]
    assert found["thresholds"] == THRESHOLDS
    assert found["all"] == found["folds"]["0"] == pytest.approx(wanted, abs=1e-6)
    assert max(wanted) - min(wanted) > 0.01
    assert found["all"][THRESHOLDS.index(0.5)] == fold.done["score"]


def test_classes_that_exclude_each_other_have_a_confusion_matrix_and_no_thresholds(tmp_path: Path) -> None:
    fold = scored_fold(tmp_path, CLASSES, images_of(CLASSES.task, SHAPES))
    found = curves_of(fold)
    assert found["threshold"] is None
    true, ours = (np.concatenate([mask.ravel() for mask in masks]) for masks in (fold.truths, fold.masks))
    assert (true == 255).any()
    valid = true != 255
    assert found["confusion"]["classes"] == list(CLASSES.classes)
    assert found["confusion"]["counts"] == confusion_matrix(true[valid], ours[valid], labels=range(4)).tolist()
    iou_of = jaccard_score(true[valid], ours[valid], labels=range(4), average=None)
    assert list(found["iou"].values()) == pytest.approx(iou_of, abs=1e-6)
    assert found["iou"] == {name: each["iou"] for name, each in fold.done["classes"].items()}


def test_labels_have_an_iou_each_and_no_confusion_matrix(tmp_path: Path) -> None:
    about = METRICS["labels dice"][0]
    fold = scored_fold(tmp_path, about, images_of(about.task, SHAPES))
    found = curves_of(fold)
    assert found["confusion"] is None
    assert found["iou"] == {name: each["iou"] for name, each in fold.done["classes"].items()}
    true, ours = (together([planes(mask, fold) for mask in masks]) for masks in (fold.truths, fold.masks))
    assert list(found["iou"].values()) == pytest.approx(jaccard_score(true, ours, average=None), abs=1e-6)


def test_a_class_that_is_nowhere_has_no_iou(tmp_path: Path) -> None:
    about = METRICS["labels boundary"][0]
    sums = sums_of(scored_fold(tmp_path, about, images_of(about.task, SHAPES)))
    sums["areas"] = {"intersection": [3, 0], "union": [4, 0]}
    assert run_curves("made", about, {0: sums})["iou"] == {"a": 0.75, "b": None}


def test_one_class_has_neither(tmp_path: Path) -> None:
    fold = scored_fold(tmp_path, METRICS["iou"][0], images_of(METRICS["iou"][0].task, SHAPES))
    found = curves_of(fold)
    assert found["confusion"] is None and found["iou"] is None


@pytest.mark.parametrize("name", ["precision", "global dice", "labels miou", "objects"])
def test_groups_score_what_their_images_alone_score(name: str, tmp_path: Path) -> None:
    about, score = METRICS[name]
    images = images_of(about.task, SHAPES * 2)
    rows = np.arange(0, len(images), 2)
    fold = scored_fold(tmp_path, about, images, rows)
    found = curves_of(fold)
    true, ours = ([planes(mask, fold) for mask in masks] for masks in (fold.truths, fold.masks))

    def group(number: np.ndarray, index: int) -> tuple[int, float]:
        inside = np.flatnonzero(number == index)
        return len(inside), score([ours[row] for row in inside], [true[row] for row in inside])

    covered = np.array([int(np.ceil(10 * each.any(axis=0).mean() - 1e-9)) for each in true])
    names = ["empty"] + [f"{10 * index} to {10 * index + 10} %" for index in range(10)]
    there = [index for index in range(11) if (covered == index).any()]
    assert [each["name"] for each in found["coverage"]] == [names[index] for index in there] and len(there) > 2
    for each, index in zip(found["coverage"], there):
        assert (each["images"], each["score"]) == pytest.approx(group(covered, index), abs=1e-6)

    # Ranges of all training images, so that every fold and run has the same ones.
    depths = np.sort(images.extra["depth"].to_numpy())
    firsts = [depths[len(depths) * part // 5] for part in range(5)]
    ranges = np.searchsorted(firsts, images.extra["depth"].to_numpy()[rows], side="right") - 1
    assert len(found["tables"]["depth"]) == len(set(ranges))
    for each, index in zip(found["tables"]["depth"], sorted(set(ranges))):
        assert each["name"].startswith(f"{firsts[index]:g}")
        assert (each["images"], each["score"]) == pytest.approx(group(ranges, index), abs=1e-6)


@pytest.mark.parametrize(
    "about", [METRICS["precision"][0], METRICS["labels miou"][0], CLASSES], ids=lambda c: c.task_name
)
def test_folds_add_up_to_all_images_at_once(about: Competition, tmp_path: Path) -> None:
    images = images_of(about.task, SHAPES * 3)
    parts = [np.arange(len(images))[start::3] for start in range(3)]
    folds = [scored_fold(tmp_path / "a", about, images, rows, fold=k) for k, rows in enumerate(parts)]
    apart = curves_of(*folds)
    assert apart["folds"] == [0, 1, 2]

    # The same predictions as of one fold.
    codes = dict(zip(np.concatenate(parts).tolist(), [each for fold in folds for each in fold.codes]))
    whole = scored_fold(tmp_path / "b", about, images)
    sums = fold_sums.FoldSums(images, whole.rows, about.scorer)
    task = about.task
    sums.add([(row, codes[row], task.decided(codes[row], task.plain(32768))) for row in range(len(images))])
    once = run_curves("made", about, {0: sums.record()})
    assert apart["coverage"] == once["coverage"] and apart["tables"] == once["tables"]
    assert apart["confusion"] == once["confusion"] and apart["iou"] == once["iou"]
    if not about.task.exclusive:
        assert apart["threshold"]["all"] == pytest.approx(once["threshold"]["all"], abs=1e-6)
        assert apart["threshold"]["folds"]["1"] == curves_of(folds[1])["threshold"]["folds"]["1"]


def test_folds_without_sums_are_left_out(tmp_path: Path) -> None:
    about = METRICS["precision"][0]
    fold = scored_fold(tmp_path, about, images_of(about.task, SHAPES), fold=2)
    assert run_curves("made", about, {0: None, 2: sums_of(fold)}) == curves_of(fold)
    assert run_curves("made", about, {0: None}) == {
        "run": "made",
        "folds": [],
        "threshold": None,
        "coverage": [],
        "tables": {},
        "confusion": None,
        "iou": None,
    }


@pytest.mark.parametrize("name", ["objects", "labels boundary"])
def test_of_many_pixels_a_dear_metric_is_asked_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = METRICS[name][0]
    fold = scored_fold(tmp_path, about, images_of(about.task, SHAPES))
    affordable = curves_of(fold)
    pixels = sum(height * width for height, width in SHAPES) * len(about.classes)
    monkeypatch.setattr(fold_sums, "_DEAR", pixels)
    assert curves_of(fold) == affordable
    monkeypatch.setattr(fold_sums, "_DEAR", pixels - 1)
    assert curves_of(fold) == {**affordable, "threshold": None}


def test_a_metric_of_counts_is_never_too_dear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = METRICS["precision"][0]
    fold = scored_fold(tmp_path, about, images_of(about.task, SHAPES))
    monkeypatch.setattr(fold_sums, "_DEAR", 0)
    assert curves_of(fold)["threshold"] is not None


def test_a_half_is_what_the_fold_scored_to_the_last_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scored_store, "_BLOCK", 1)  # image by image, so that sums are rounded in another order
    about = METRICS["iou"][0]
    fold = scored_fold(tmp_path, about, images_of(about.task, SHAPES * 5))
    sums = sums_of(fold)
    true = [planes(truth, fold) for truth in fold.truths]
    scores = [[iou(*pair)] for pair in zip(at(fold, 0.5), true)]
    assert sums["swept"][9] == sums["features"] == np.array(scores).sum(axis=0).tolist()


def test_masks_that_are_mapped_from_a_file_are_counted_alike(tmp_path: Path) -> None:
    about = METRICS["precision"][0]
    images = images_of(about.task, SHAPES)
    fold = scored_fold(tmp_path, about, images)
    assert images.masks is not None
    flat = np.concatenate([mask.ravel() for mask in images.masks])
    flat.tofile(tmp_path / "masks.bin")
    mapped = np.memmap(tmp_path / "masks.bin", np.uint8, "r")
    fold.images = replace(images, masks=PixelStore(mapped, images.masks.shapes, masks=True))
    again = sums_of(fold)
    fold.images = images
    assert again == sums_of(fold)
