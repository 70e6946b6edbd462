"""The whole road on images that are read by windows, trained on by crops and predicted by tiles."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from forked import start
from large_competition import make_competition
from segfold.layouts import large

COMPETITION = ("--competition", "configs/competitions/large.yaml")
TRAIN = ("--config", "configs/large.yaml")


def call_most_large() -> None:
    """As if the images were as large as those that are not read whole."""
    large.LARGE = 100_000


def ok(home: Path, *arguments: str) -> str:
    done = start(home, *arguments, before=call_most_large).wait(900)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def imported(home: Path) -> str:
    """Takes the data from a folder elsewhere, as a competitor does."""
    (home / "data" / "large").rename(home / "given")
    return ok(home, "data", *COMPETITION, "--from", "given")


def trained(home: Path, run: str, *overrides: str) -> dict[str, float]:
    """Trains both folds; returns Dice of each training image, predicted by the fold that did not see it."""
    ok(home, "cv", *TRAIN, "--run", run, *overrides)
    rows = [row for fold in (0, 1) for row in csv.DictReader((home / f"runs/{run}/fold{fold}/scores.csv").open())]
    return {row["id"]: float(row["dice"]) for row in rows}


def submitted(home: Path, run: str) -> float:
    """The checked submission's score on the test masks, which are known."""
    ok(home, "submit", "--ensemble", f"runs/{run}", "--steps", "--name", run)
    path = f"submissions/{run}.csv"
    ok(home, "check-csv", path, *COMPETITION)
    found = re.search(r"dice (\d\.\d+)", ok(home, "score", path, "--truth", "given/solution.csv", *COMPETITION))
    assert found is not None
    return float(found[1])


def sign_flips(ours: np.ndarray, theirs: np.ndarray) -> float:
    """How likely a mean difference as large as that of ours over theirs is by chance: by all signs of all pairs."""
    found = stats.permutation_test(
        (ours, theirs),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        alternative="greater",
        vectorized=True,
    )
    return float(found.pvalue)


def test_the_road_by_windows_crops_and_tiles(tmp_path: Path) -> None:
    """Of ten images that are read in place, and one that is smaller than a crop."""
    home = make_competition(tmp_path, [(512, 512)] * 10 + [(60, 100)], [(500, 300)])
    assert "11 are too large" not in (said := imported(home)) and "10 are read by windows" in said
    crops = ("input={crop: 64}", "sample={focus: 0.5, images: 512}", "predict.tiles={size: 128, overlap: 16}")
    dice = trained(home, "crops", *crops)
    assert len(dice) == 11 and np.mean(list(dice.values())) > 0.2
    assert submitted(home, "crops") > 0.2


@pytest.mark.slow
def test_crops_find_what_shrinking_loses(tmp_path: Path) -> None:
    """Ten images of 4,096²: a network on crops beats the same one on whole images shrunk to the crops' size."""
    side = 4096
    home = make_competition(tmp_path, [(side, side)] * 10, [(side, side)] * 2)
    imported(home)
    same = ("sample.images=240", "batch_size=2")
    by_crops = trained(home, "crops", "input={crop: 512}", "sample.focus=0.5", "predict.tiles={overlap: 64}", *same)
    shrunk = trained(home, "shrunk", "input={size: 512, fit: resize}", *same)
    ids = sorted(by_crops)
    assert sorted(shrunk) == ids and len(ids) == 10
    ours, theirs = (np.array([found[name] for name in ids]) for found in (by_crops, shrunk))
    p = sign_flips(ours, theirs)
    for name, found in (("crops", ours), ("shrunk", theirs)):
        print(f"{name}: Dice {found.mean():.4f} ± {found.std(ddof=1) / len(ids) ** 0.5:.4f} out of fold")
    print(f"p = {p:.2g} of {len(ids)} pairs")
    assert p < 0.05
    tests = {run: submitted(home, run) for run in ("crops", "shrunk")}
    print("test: ", tests)
    assert tests["crops"] > tests["shrunk"]
