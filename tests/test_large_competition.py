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


def trained(home: Path, run: str, *overrides: str) -> tuple[dict[str, float], str]:
    """Trains both folds: Dice of each training image, predicted by the fold that did not see it; and what was said."""
    said = ok(home, "cv", *TRAIN, "--run", run, *overrides)
    rows = [row for fold in (0, 1) for row in csv.DictReader((home / f"runs/{run}/fold{fold}/scores.csv").open())]
    return {row["id"]: float(row["dice"]) for row in rows}, said


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
    assert "train images: 10 are too large for a whole read" in (said := imported(home))
    assert "10 are read by windows from tiled TIFF" in said
    crops = ("input={crop: 64}", "sample={focus: 0.5, images: 384}", "predict.tiles={size: 128, overlap: 16}")
    dice, said = trained(home, "crops", *crops)
    assert "1 of 6 training images are smaller than a crop of 64×64, the smallest 60×100: they are padded" in said
    assert len(dice) == 11 and np.mean(list(dice.values())) > 0.5
    assert submitted(home, "crops") > 0.5


@pytest.mark.slow
def test_crops_find_what_shrinking_loses(tmp_path: Path) -> None:
    """Ten images of 4,096²: a network on crops of 512² beats the same one on as many whole images shrunk to 512²."""
    side = 4096
    home = make_competition(tmp_path, [(side, side)] * 10, [(side, side)] * 2)
    imported(home)
    same = ("sample.images=240", "batch_size=2")
    ways = {
        "crops": ("input={crop: 512}", "sample.focus=0.5", "predict.tiles={overlap: 64}"),
        "shrunk": ("input={size: 512, fit: resize}",),
    }
    found = {name: trained(home, name, *same, *way)[0] for name, way in ways.items()}
    ids = sorted(found["crops"])
    assert sorted(found["shrunk"]) == ids and len(ids) == 10
    dice = {name: np.array([each[image] for image in ids]) for name, each in found.items()}
    p = sign_flips(dice["crops"], dice["shrunk"])
    for name, each in dice.items():
        error = each.std(ddof=1) / len(ids) ** 0.5
        print(
            f"{name}: Dice {each.mean():.4f} ± {error:.4f} out of fold, {submitted(home, name):.4f} on the test images"
        )
    print(f"p = {p:.2g} of {len(ids)} pairs")
    assert p < 0.05
