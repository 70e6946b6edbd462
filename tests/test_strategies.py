"""Which runs a submission takes, and in what proportion: the four ways, their nested scores, and the choice among them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_run import made_run
from segfold.cli import main
from segfold.ensemble.nested import parts_of
from segfold.files import read_json
from segfold.metrics.precision import score
from segfold.store.cost import Cost, write_cost
from segfold.yaml_file import read_yaml
from small_project import fold_job, make_project, segfold

Painter = Any


def noisy(seed: int, spread: float, size: float = 1.0) -> Painter:
    """The truth, unsure of some pixels by a noise of its own."""

    def paint(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
        rng = np.random.default_rng([seed, *name.encode()])
        if mask is None:
            mask = np.zeros((28, 26), np.uint8)
            mask[5:15, 5:15] = 1
        return np.clip(np.where(mask > 0, 0.7, 0.3) + size * rng.normal(0, spread, mask.shape), 0, 1)

    return paint


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs whose errors have nothing to do with each other, and one that is mostly wrong."""
    home = make_project(tmp_path_factory.mktemp("strategies"), count=60)
    for number, name in enumerate(("one", "two", "three")):
        made_run(home, name, f"seed={number}", "folds.k=3", folds=range(3), paint=noisy(number, 0.13))
    made_run(home, "weak", "seed=9", "folds.k=3", folds=range(3), paint=noisy(9, 0.5))
    return home


@pytest.fixture
def home(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Submissions of its own, and a copy of the runs."""
    for name in ("configs", "data", "folds"):
        (tmp_path / name).symlink_to(project / name)
    shutil.copytree(project / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


THREE = ("runs/one", "runs/two", "runs/three")
PLAIN = ("--threshold", "0.5", "--steps")


def submit(*arguments: str) -> int:
    return main(["submit", "--ensemble", *arguments])


def recipe(home: Path, name: str) -> dict[str, Any]:
    return dict(read_yaml(home / f"submissions/{name}.recipe.yaml"))


def oof(home: Path, run: str) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Ids, codes, true masks and folds of a run, read with nothing but numpy."""
    ids, codes, truth, folds = [], [], [], []
    for fold in range(3):
        job = fold_job(home, "folds.k=3", fold=fold, run=run)
        place = next((home / "runs" / run / f"fold{fold}/pred").iterdir())
        stored = np.fromfile(place / "oof.u16", "<u2").reshape(-1, 28, 26)
        for row, plane in zip(job.validation_rows, stored, strict=True):
            ids.append(str(job.images.ids[row]))
            codes.append(plane)
            truth.append(job.images.masks[row])
            folds.append(fold)
    return ids, np.array(codes), np.array(truth), np.array(folds)


def test_runs_that_err_apart_are_blended_and_each_way_is_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit(*THREE, "--name", "all", *PLAIN) == 0
    out = capsys.readouterr().out
    made = recipe(home, "all")
    assert set(made["strategies"]) == {"single", "equal", "greedy", "simplex"}
    assert set(made["members"]) == {"one", "two", "three"} and not made["weighed"].startswith("single")
    nested = {name: tried["nested"]["mean"] for name, tried in made["strategies"].items()}
    assert nested["equal"] > nested["single"] + 0.02
    assert made["scores"]["nested"]["mean"] == max(nested.values())
    for name, tried in made["strategies"].items():
        assert f"{tried['nested']['mean']:.4f}" in out and name in out
    assert [member["run"] for member in read_json(home / "submissions/all.json")["members"]] == list(THREE)


def test_scores_are_those_of_plain_numpy(home: Path) -> None:
    """At a fixed threshold the nested score of equal weights is the plain one, that of the best run is chosen by the other parts."""
    assert submit(*THREE, "--name", "all", *PLAIN) == 0
    made = recipe(home, "all")["strategies"]
    found = {name.removeprefix("runs/"): oof(home, name.removeprefix("runs/")) for name in THREE}
    ids, _, truth, folds = found["one"]
    assert all(other[0] == ids for other in found.values())
    each = {name: score(codes >= 32768, truth) for name, (_, codes, _, _) in found.items()}
    mean = np.floor(sum(codes.astype(np.int64) for _, codes, _, _ in found.values()) / 3 + 0.5)
    assert made["equal"]["nested"]["mean"] == pytest.approx(score(mean >= 32768, truth).mean(), abs=1e-6)
    assert made["equal"]["plain"]["mean"] == made["equal"]["nested"]["mean"]
    alone = recipe(home, "all")["alone"]
    for name, values in each.items():
        assert alone[name.removeprefix("runs/")]["nested"]["mean"] == pytest.approx(values.mean(), abs=1e-6)
    part, _ = parts_of(ids, folds)
    nested = np.zeros(len(ids))
    for number in range(3):
        best = max(each, key=lambda name: each[name][part != number].mean())
        nested[part == number] = each[best][part == number]
    assert made["single"]["nested"]["mean"] == pytest.approx(nested.mean(), abs=1e-6)
    assert made["single"]["plain"]["mean"] == pytest.approx(max(values.mean() for values in each.values()), abs=1e-6)
    gain = score(mean >= 32768, truth) - nested
    assert made["equal"]["gain"][0] == pytest.approx(gain.mean(), abs=1e-6)
    assert made["equal"]["gain"][1] == pytest.approx(gain.std() / np.sqrt(len(gain)), rel=0.1)


def test_a_weak_run_that_cannot_be_told_to_help_stays_out(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit("runs/one", "runs/weak", "--name", "both") == 0
    made = recipe(home, "both")
    assert list(made["members"]) == ["one"] and made["weighed"].startswith("single")
    assert made["strategies"]["equal"]["nested"]["mean"] < made["strategies"]["single"]["nested"]["mean"]
    assert "the best run alone" in capsys.readouterr().out
    assert len(read_json(home / "submissions/both.json")["members"]) == 1


def test_runs_are_weighed_at_the_threshold_that_is_asked_for(home: Path) -> None:
    """One is right at one half and empty at .8, the other full at one half and right at .8."""

    def levels(background: float, foreground: float) -> Painter:
        return lambda name, mask, fold: (
            np.full((28, 26), foreground) if mask is None else np.where(mask > 0, foreground, background)
        )

    made_run(home, "low", "seed=11", "folds.k=3", folds=range(3), paint=levels(0.3, 0.7))
    made_run(home, "high", "seed=12", "folds.k=3", folds=range(3), paint=levels(0.6, 0.9))
    for threshold, best in (("0.5", "low"), ("0.8", "high")):
        asked = ("--weights", "single", "--threshold", threshold, "--steps", "--name", best)
        assert submit("runs/low", "runs/high", *asked) == 0
        assert list(recipe(home, best)["members"]) == [best]


@pytest.mark.parametrize("way", ["equal", "greedy", "simplex"])
def test_a_way_that_is_asked_for_is_taken(home: Path, way: str) -> None:
    assert submit(*THREE, "--weights", way, "--name", way, *PLAIN) == 0
    made = recipe(home, way)
    assert set(made["strategies"]) == {"single", way} and made["weighed"].startswith(way)


def test_unknown_ways_and_wrong_weights_are_refused_in_a_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in ((("best",), "single, equal, greedy, simplex"), (("1", "x"), "--weights 1 x: 'x' is no finite")):
        assert submit(*THREE, "--weights", *words) == 2
        assert said in capsys.readouterr().err
    assert submit(*THREE, "--combine", "median") == 2
    assert "expected one of mean, logits, geometric, product, rank, vote" in capsys.readouterr().err
    assert not (home / "submissions").exists()


def test_a_dry_run_shows_the_tables_and_touches_neither_test_set_nor_disk(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in home.glob("runs/*/fold*/pred/*/test.u16"):
        path.unlink()
    before = sorted(home.rglob("*"))
    assert submit(*THREE, "--dry-run") == 0
    assert "a dry run: nothing is written" in capsys.readouterr().out
    assert sorted(home.rglob("*")) == before


@pytest.mark.parametrize("combine", ["logits", "product", "rank", "vote"])
def test_a_recipe_keeps_how_runs_are_combined(home: Path, combine: str) -> None:
    assert submit(*THREE, "--combine", combine, "--weights", "equal", "--name", "first") == 0
    made = recipe(home, "first")
    assert made["combine"] == combine and ("fitted" in made) == (combine == "rank")
    again = segfold(home, "submit", "--recipe", "submissions/first.recipe.yaml", "--name", "again")
    assert again.returncode == 0, again.stderr
    assert (home / "submissions/again.csv").read_bytes() == (home / "submissions/first.csv").read_bytes()
    assert json.loads((home / "submissions/again.json").read_text())["combine"] == combine


def test_runs_of_other_fold_files_are_blended_alike_without_a_nested_score(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_run(home, "apart", "folds.seed=5", "seed=4", "folds.k=2", folds=range(2), paint=noisy(4, 0.13))
    assert submit("runs/one", "runs/apart", "--mixed-folds", "--name", "mixed") == 0
    made = recipe(home, "mixed")
    assert set(made["members"]) == {"one", "apart"} and made["strategies"]["equal"].get("nested") is None
    assert "no nested score" in capsys.readouterr().out


def measured(home: Path, **seconds: float) -> None:
    """Notes what an image of each run takes, of all its folds together."""
    for run, each in seconds.items():
        for store in home.glob(f"runs/{run}/fold*/pred/*/oof.u16"):
            write_cost(store.parent, "oof", Cost(each / 3, 20, "cpu"))


def test_a_budget_leaves_out_what_takes_too_long_and_refuses_what_never_fits(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The test set has six images."""
    measured(home, one=1.0, two=2.0, three=4.0)
    assert submit(*THREE, "--budget", "19", "--name", "short", *PLAIN) == 0
    made = recipe(home, "short")
    assert set(made["members"]) == {"one", "two"} and "equal" not in made["strategies"]
    assert made["strategies"]["greedy"]["seconds"] == pytest.approx(18)
    assert all(tried["seconds"] <= 19 for tried in made["strategies"].values())
    assert submit(*THREE, "--budget", "42.1", "--name", "long", *PLAIN) == 0
    assert set(recipe(home, "long")["members"]) == {"one", "two", "three"}
    capsys.readouterr()
    assert submit(*THREE, "--budget", "5", "--name", "none") == 2
    assert "no run predicts the test set in so many seconds; the fastest takes 6 s" in capsys.readouterr().err
    assert submit(*THREE, "--budget", "19", "--weights", "1", "1", "1", "--name", "none") == 2
    assert "the given runs takes 42 s" in capsys.readouterr().err
    assert submit(*THREE, "--budget", "19", "--weights", "equal", "--name", "none") == 2
    assert "no such ensemble keeps --budget 19" in capsys.readouterr().err
    assert not (home / "submissions/none.csv").exists()


def test_a_run_that_was_not_measured_is_not_taken_for_fast(home: Path) -> None:
    measured(home, one=1.0)
    assert submit("runs/one", "runs/two", "--budget", "1000", "--name", "known", *PLAIN) == 0
    assert list(recipe(home, "known")["members"]) == ["one"]
