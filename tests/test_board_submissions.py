"""What the board says of submissions: the ledger, the manifests and what lies between CV and leaderboard."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from made_run import change_json, made_run
from segfold import road
from segfold.board.submissions import fits_of, known_submissions, leaderboard_of, medal, submission_records
from segfold.competition import load_competition
from segfold.files import read_json
from segfold.leaderboard.ledger import note
from segfold.store import open_store
from segfold.submission.blended import SubmissionOptions
from small_project import make_project

LINES = "leaderboard: {lines: {gold: 0.9, silver: 0.8, median: 0.5}}\n"


def wrong(seed: int) -> Any:
    """The truth with discs of its own in the way; of a test image, a square that moves with the fold."""

    def paint(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
        rng = np.random.default_rng([seed, *name.encode()])
        seen = np.zeros((28, 26)) if mask is None else mask.astype(float)
        top, left = rng.integers(0, 20, 2)
        seen[top : top + 6 + fold, left : left + 7] = 1 - seen[top, left]
        return 0.1 + 0.8 * seen

    return paint


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs; ``mix`` is of all of them, ``alone`` of ``a``."""
    home = make_project(tmp_path_factory.mktemp("submitted"))
    file = home / "configs/competitions/small.yaml"
    file.write_text(file.read_text() + LINES)
    for number, name in enumerate("abc"):
        made_run(home, name, f"seed={number}", paint=wrong(number))
    runs = [home / "runs" / name for name in "abc"]
    road.submit(runs, SubmissionOptions(weights="equal", name="mix"), home)
    road.submit(runs[:1], SubmissionOptions(name="alone"), home)
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "home")
    return tmp_path / "home"


def records(home: Path) -> dict[str, dict[str, Any]]:
    """By the name of the file."""
    return {Path(each["file"]).name: each for each in submission_records(home)}


def noted(home: Path, name: str) -> str:
    return str(read_json(home / f"submissions/{name}.json")["sha256"])


def out_of_fold(home: Path, name: str) -> np.ndarray:
    """All codes of a run, by id."""
    images = {}
    for folder in (home / "runs" / name).glob("fold*/pred/*"):
        store = open_store(folder, "oof", None)
        assert store is not None
        images |= dict(store)
    return np.concatenate([images[key].ravel() for key in sorted(images)])


def test_a_manifest_keeps_what_each_run_adds(home: Path) -> None:
    manifest = read_json(home / "submissions/mix.json")
    found = manifest["contributions"]
    assert found["names"] == ["a", "b", "c"] and found["weights"] == pytest.approx([1 / 3] * 3)
    codes = [out_of_fold(home, name) for name in "abc"]
    np.testing.assert_allclose(found["correlation"], np.corrcoef(codes))
    masks = [each >= 32768 for each in codes]
    np.testing.assert_allclose(found["disagreement"], [[np.mean(one != two) for one in masks] for two in masks])
    for gain in found["adds"]:
        assert gain["low"] <= gain["difference"] <= gain["high"] and 0 <= gain["probability"] <= 1
        assert gain["standard_error"] > 0
    assert read_json(home / "submissions/alone.json")["contributions"] is None
    shown = records(home)["mix.csv"]["contributions"]
    assert shown == found


def test_the_same_again_is_kept_though_its_manifest_is_older_than_contributions(home: Path) -> None:
    change_json(home / "submissions/mix.json", contributions=None)
    runs = [home / "runs" / name for name in "abc"]
    again = road.submit(runs, SubmissionOptions(weights="equal", name="mix"), home)
    assert again.written is not None and again.written.kept and again.contributions is not None
    assert records(home)["mix.csv"]["contributions"] is None


def test_records_say_what_ledger_and_manifest_say(home: Path) -> None:
    note(home, noted(home, "mix"), "sending", slug="small-slug", message="a try")
    note(home, noted(home, "mix"), "sent", slug="small-slug", message="a try", ref=7)
    note(home, noted(home, "mix"), "scored", public=0.85, private=None)
    note(home, noted(home, "alone"), "recorded", public=0.95, private=0.61)
    found, manifest = records(home), read_json(home / "submissions/mix.json")
    mix, alone = found["mix.csv"], found["alone.csv"]
    assert list(found) == ["mix.csv", "alone.csv"]
    assert mix["file"] == "submissions/mix.csv" and mix["competition"] == "small" and mix["members"] == ["a", "b", "c"]
    assert (mix["cv"], mix["cv_error"]) == (
        manifest["cv"]["nested"]["mean"],
        manifest["cv"]["nested"]["standard_error"],
    )
    assert mix["nested"] is True and mix["state"] == "scored" and mix["message"] == "a try" and mix["sent"]
    assert (mix["public"], mix["private"], mix["medal"], mix["medal_by"]) == (0.85, None, "silver", "public")
    assert (alone["public"], alone["private"], alone["medal"], alone["medal_by"]) == (0.95, 0.61, "median", "private")
    competition = load_competition("small", home)
    assert leaderboard_of("a", competition, found.values()) == {
        "public": 0.95, "private": 0.61, "medal": "median", "medal_by": "private",
    }  # fmt: skip
    nothing = {"public": None, "private": None, "medal": None, "medal_by": None}
    assert leaderboard_of("b", competition, found.values()) == nothing
    json.dumps(list(found.values()), allow_nan=False)


def test_of_several_submissions_of_a_run_alone_the_best_public_one_counts(home: Path) -> None:
    competition = load_competition("small", home)

    def one(public: float | None, private: float | None, *members: str, of: str = "small") -> dict[str, Any]:
        return {"competition": of, "members": list(members), "public": public, "private": private}

    made = [one(0.7, 0.9, "a"), one(0.8, 0.6, "a"), one(None, 0.99, "a"), one(None, 0.5, "b"), one(None, 0.6, "b")]
    made += [one(None, None, "c"), one(0.99, 0.99, "a", "b"), one(0.97, 0.97, "a", of="other")]
    found = [leaderboard_of(name, competition, made) for name in "abc"]
    assert [(each["public"], each["private"]) for each in found] == [(0.8, 0.6), (None, 0.6), (None, None)]


def test_the_highest_line_that_is_reached() -> None:
    lines = {"median": 0.5, "gold": 0.9, "silver": 0.8}
    assert [medal(score, lines) for score in (None, 0.3, 0.5, 0.8999, 0.9, 1.0)] == [
        None, None, "median", "silver", "gold", "gold",
    ]  # fmt: skip
    assert medal(0.9, {}) is None


@pytest.mark.parametrize(
    "damage",
    [
        "", "[]", "{", "null", '{"sha256": 3, "competition": "small"}',
        '{"sha256": "SHA", "competition": "small", "cv": 7, "members": 3, "contributions": {"names": ["a"]}}',
        '{"sha256": "SHA", "competition": "small", "cv": {"nested": {"mean": NaN}}, "members": [1, {"run": 2}]}',
        '{"sha256": "SHA", "competition": "small", "contributions": {"names": ["a", "b"], "weights": [1, "x"], "adds": [0, 0]}}',
    ],
)  # fmt: skip
def test_a_damaged_manifest_takes_nothing_from_the_ledger(home: Path, damage: str) -> None:
    before = records(home)["mix.csv"]
    text = damage.replace("SHA", noted(home, "mix"))
    (home / "submissions/mix.json").write_text(text)
    found = records(home)
    assert found["alone.csv"]["nested"] is True
    kept = {key: value for key, value in before.items() if key not in ("nested", "contributions")}
    assert {key: found["mix.csv"][key] for key in kept} == kept
    assert found["mix.csv"]["contributions"] is None


@pytest.mark.parametrize("lost", [True, False])
def test_without_a_ledger_the_manifests_remain(home: Path, lost: bool) -> None:
    before = records(home)
    ledger = home / "submissions/ledger.jsonl"
    if lost:
        ledger.unlink()
    else:
        ledger.write_text(ledger.read_text() + "no event\n")
    found = records(home)
    for name, each in found.items():
        assert each["state"] == "written" and each["public"] is None
        same = ("file", "competition", "cv", "cv_error", "nested", "members", "contributions")
        assert {key: each[key] for key in same} == {key: before[name][key] for key in same}
        assert each["written"].endswith("Z")
        assert (each["problem"] is None) or "ledger.jsonl line 3 is not JSON" in each["problem"]
        assert bool(each["problem"]) != lost
    assert len(known_submissions(home)) == len(found) == 2


def test_without_the_competitions_file_no_medal_is_known(home: Path) -> None:
    note(home, noted(home, "alone"), "recorded", public=0.95, private=None)
    assert records(home)["alone.csv"]["medal"] == "gold"
    (home / "configs/competitions/small.yaml").unlink()
    assert (records(home)["alone.csv"]["public"], records(home)["alone.csv"]["medal"]) == (0.95, None)


def test_no_submissions_at_all(tmp_path: Path) -> None:
    assert submission_records(tmp_path) == [] and fits_of([], "small") == {"public": None, "private": None}


def test_the_line_is_of_one_competition_and_what_has_both_scores() -> None:
    rng = np.random.default_rng(0)
    cv = 0.8 + 0.05 * rng.random(12)
    lb = 0.1 + 0.9 * cv + 0.002 * rng.standard_normal(12)
    lb[3] = 0.05
    made = [
        {"file": f"s{place}.csv", "competition": "small", "cv": one, "public": other, "private": None}
        for place, (one, other) in enumerate(zip(cv.tolist(), lb.tolist()))
    ]
    made.append({"file": "other.csv", "competition": "other", "cv": 0.2, "public": 0.9, "private": 0.9})
    made.append({"file": "unknown.csv", "competition": "small", "cv": None, "public": 0.1, "private": 0.1})
    found = fits_of(made, "small")
    assert found["private"] is None
    fit = found["public"]
    assert fit is not None and fit["outliers"] == ["s3.csv"] and fit["submissions"] == 11 and fit["level"] == 0.95
    wanted = stats.linregress(np.delete(cv, 3), np.delete(lb, 3))
    assert (fit["slope"], fit["intercept"]) == pytest.approx((wanted.slope, wanted.intercept))
    drawn = {key: np.array(values) for key, values in fit["line"].items()}
    np.testing.assert_allclose(drawn["middle"], wanted.intercept + wanted.slope * drawn["cv"])
    assert drawn["cv"].min() < cv.min() and drawn["cv"].max() > cv.max()
    assert (drawn["low"] < drawn["middle"]).all() and (drawn["middle"] < drawn["high"]).all()
    assert np.argmin(drawn["high"] - drawn["low"]) not in (0, 40)
