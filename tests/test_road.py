"""The whole road through the command line, its CSV recomputed by hand from the stored probabilities."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import small_project
from forked import segfold
from small_project import TEST, TRAIN, make_project
from tiny_competition import brute_force_rle

COMPETITION = ("--competition", "configs/competitions/small.yaml")


def ok(home: Path, *arguments: str) -> str:
    done = segfold(home, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: all folds of one network, fold 0 of another at another size."""
    home = make_project(tmp_path_factory.mktemp("road"))
    ok(home, "folds", *COMPETITION, "--k", "2")
    listed = ok(home, "cv", "--config", "configs/small.yaml", "--run", "both", "stages.warm.epochs=1")
    assert "mean over 2 folds" in listed
    other = ("input.size=64", "input.fit=resize", "model.encoder=test_efficientnet", "predict.tta=[identity]")
    ok(home, "train", "--config", "configs/small.yaml", "--fold", "0", "--run", "other", *other)
    return home


def probabilities(home: Path, run: str, fold: int, split: str) -> dict[str, np.ndarray]:
    """Codes in a store, read without the package."""
    (folder,) = (home / f"runs/{run}/fold{fold}/pred").iterdir()
    flat = np.fromfile(folder / f"{split}.u16", "<u2")
    found = {}
    for row in csv.DictReader((folder / f"{split}.csv").open()):
        shape = tuple(int(row[key]) for key in ("channels", "height", "width"))
        start = int(row["offset"])
        found[row["id"]] = flat[start : start + int(np.prod(shape))].reshape(shape).astype(np.float64) / 65535
    return found


def rows(path: Path) -> dict[str, str]:
    return {row["id"]: row["rle_mask"] for row in csv.DictReader(path.open())}


def test_blend_of_two_runs_is_what_a_few_lines_of_numpy_make(home: Path) -> None:
    shown = ok(
        home,
        "submit",
        "--ensemble",
        "runs/both",
        "runs/other",
        "--weights",
        "1",
        "3",
        "--threshold",
        "0.3",
        "--min-area",
        "4",
        "--steps",
    )
    assert f"scores are over the {TRAIN // 2}" in shown and "plain" in shown
    both = [probabilities(home, "both", fold, "test") for fold in (0, 1)]
    other = probabilities(home, "other", 0, "test")
    found = rows(home / "submissions/both+other.csv")
    assert len(found) == TEST == len(other)
    for name, text in found.items():
        mean = ((both[0][name] + both[1][name]) / 2 + 3 * other[name]) / 4
        mask = (np.floor(65535 * mean[0] + 0.5) >= np.floor(65535 * 0.3 + 0.5)).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        for component, area in enumerate(stats[:, cv2.CC_STAT_AREA]):
            if component and area < 4:
                mask[labels == component] = 0
        assert text == brute_force_rle(mask)
    manifest = json.loads((home / "submissions/both+other.json").read_text())
    assert (manifest["threshold"], manifest["steps"]) == (0.3, {"components": {"min_area": 4}})
    assert [member["weight"] for member in manifest["members"]] == [1, 3]
    assert manifest["cv_images"] == TRAIN // 2


def test_plain_score_is_the_mean_over_images(home: Path) -> None:
    ok(home, "submit", "--ensemble", "runs/both", "--name", "alone")
    manifest = json.loads((home / "submissions/alone.json").read_text())
    truth = rows(home / "data/small/train.csv")
    scores = []
    for fold in (0, 1):
        for name, values in probabilities(home, "both", fold, "oof").items():
            mask = values[0] >= 0.5
            real = np.zeros(mask.size, bool)
            numbers = [int(part) for part in truth[name].split()]
            for start, length in zip(numbers[::2], numbers[1::2]):
                real[start - 1 : start - 1 + length] = True
            real = real.reshape(mask.T.shape).T
            union = (mask | real).sum()
            iou = (mask & real).sum() / union if union else 1.0
            scores.append(np.mean([iou > threshold / 100 for threshold in range(50, 100, 5)]))
    assert len(scores) == TRAIN == manifest["cv"]["plain"]["images"]
    assert manifest["cv"]["plain"]["mean"] == pytest.approx(np.mean(scores), abs=1e-6)
    assert manifest["cv"]["plain"]["standard_error"] == pytest.approx(np.std(scores, ddof=1) / np.sqrt(TRAIN), abs=1e-6)
    assert manifest["cv"]["tuned"]["mean"] >= manifest["cv"]["plain"]["mean"] - 1e-6


def test_what_is_predicted_is_not_predicted_again(home: Path) -> None:
    ok(home, "submit", "--ensemble", "runs/both", "--name", "first")
    again = ok(home, "submit", "--ensemble", "runs/both", "--name", "second")
    assert "predicting" not in again
    assert (home / "submissions/first.csv").read_bytes() == (home / "submissions/second.csv").read_bytes()


def test_score_is_that_of_the_host(home: Path) -> None:
    truth = home / "data/small/solution.csv"
    perfect = home / "perfect.csv"
    perfect.write_text(truth.read_text())
    assert "1.0000" in ok(home, "score", "perfect.csv", "--truth", str(truth), *COMPETITION)
    # In a fresh interpreter, as a user has it; the others share their imports.
    done = small_project.segfold(home, "score", "perfect.csv", "--truth", str(truth), *COMPETITION)
    assert done.returncode == 0 and "1.0000" in done.stdout and done.stderr == ""
    empty = home / "empty.csv"
    empty.write_text("\n".join(["id,rle_mask", *(f"{name}," for name in rows(truth))]) + "\n")
    share = np.mean([not text for text in rows(truth).values()])
    assert f"{share:.4f}" in ok(home, "score", "empty.csv", "--truth", str(truth), *COMPETITION)


def test_look_draws_what_the_network_sees(home: Path) -> None:
    ok(home, "look", "--config", "configs/small.yaml", "--images", "3", "--draws", "2", "augment.hflip.p=1")
    sheet = cv2.imread(str(home / "runs/look-small.png"))
    assert sheet is not None and min(sheet.shape[:2]) > 400
    plain = ok(
        home,
        "look",
        "--config",
        "configs/small.yaml",
        "--images",
        "3",
        "--draws",
        "2",
        "--out",
        "x.png",
        "augment.hflip=null",
    )
    assert "x.png" in plain
    assert not np.array_equal(cv2.imread(str(home / "x.png")), sheet)
    few = ("--images", "3", "--draws", "2", "--out", "crops.png")
    cropped = ok(home, "look", "--config", "configs/small.yaml", *few, "input.crop=9", "sample.focus=1")
    assert "each as it is and 2 augmented crops of it" in cropped and (home / "crops.png").exists()
    boxes = ("stages.warm.boxes={}", "stages.lovasz.boxes={of: proposals, overlap: 0.3}")
    for stage in ((), ("--stage", "lovasz")):
        boxed = ok(home, "look", "--config", "configs/small.yaml", *few[:-1], "boxes.png", *stage, *boxes)
        assert "each as it is and 2 augmented boxes of it" in boxed and (home / "boxes.png").exists()


def test_runs_of_other_fold_files_are_refused(home: Path) -> None:
    ok(home, "folds", *COMPETITION, "--k", "3")
    ok(home, "train", "--config", "configs/small.yaml", "--fold", "1", "--run", "three", "folds.k=3", "fast=true")
    done = segfold(home, "submit", "--ensemble", "runs/both", "runs/three", "--fast")
    assert done.returncode == 2 and "different fold files" in done.stderr
    ok(home, "submit", "--ensemble", "runs/both", "runs/three", "--fast", "--mixed-folds", "--name", "mixed")


def test_fold_file_is_never_rewritten(home: Path) -> None:
    before = (home / "folds/small-2.csv").read_bytes()
    assert "same file" in ok(home, "folds", *COMPETITION, "--k", "2")
    done = segfold(home, "folds", *COMPETITION, "--k", "2", "--seed", "7")
    assert done.returncode == 2 and (home / "folds/small-2.csv").read_bytes() == before


def test_a_fold_file_of_another_segfold_stays_valid(tmp_path: Path) -> None:
    home = make_project(tmp_path)
    ok(home, "folds", *COMPETITION, "--k", "2", "--seed", "7")
    path = home / "folds/small-2.csv"
    before = path.read_bytes()
    said = ok(home, "folds", *COMPETITION, "--k", "2")
    assert "kept" in said and "fold 1:" in said and path.read_bytes() == before


def test_environment_says_what_the_run_was_made_with(home: Path) -> None:
    record = json.loads((home / "runs/both/environment.json").read_text())
    assert record["packages"]["torch"] and record["device"] and len(record["data"]) == 64 == len(record["folds"])
