"""The recipe: written by a submission, read by another process, and applied to the bit."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_run import change_json, made_run
from segfold.cli import main
from segfold.ensemble.recipe import read_recipe, recipe_text
from segfold.errors import SegfoldError
from segfold.files import read_json
from segfold.yaml_file import read_yaml, yaml_text
from small_project import make_project, segfold


def speckled(seed: int) -> Any:
    """Noise on the truth, and a square where there is nothing, which the image heads mostly know."""

    def paint(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
        rng = np.random.default_rng([seed, fold, *name.encode()])
        if mask is None:
            mask = np.zeros((28, 26), np.uint8)
            mask[5:15, 5:15] = rng.random() < 0.7
        elif not mask.any():
            mask = np.zeros_like(mask)
            mask[9:19, 9:19] = 1
        return np.clip(np.where(mask > 0, 0.7, 0.25) + rng.normal(0, 0.2, mask.shape), 0, 1)

    return paint


def nonempty(name: str, mask: np.ndarray | None, fold: int) -> list[float]:
    rng = np.random.default_rng([7, fold, *name.encode()])
    there = rng.random() < 0.7 if mask is None else bool(mask.any())
    return [float(rng.normal(2 if there else -2, 1)) for _ in range(2)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = make_project(tmp_path_factory.mktemp("recipes"), count=40)
    made_run(home, "one", paint=speckled(1), heads=nonempty)
    made_run(home, "two", "seed=1", paint=speckled(2))
    made_run(home, "three", "seed=2", paint=speckled(3), heads=nonempty)
    return home


@pytest.fixture
def home(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Submissions of its own, and a copy of the runs."""
    for name in ("configs", "data", "folds"):
        (tmp_path / name).symlink_to(project / name)
    shutil.copytree(project / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


RUNS = ("runs/one", "runs/two", "runs/three")


def submit(*arguments: str) -> int:
    return main(["submit", *arguments])


def test_another_process_with_the_runs_in_another_order_writes_the_same_file(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit("--ensemble", *RUNS, "--weights", "1", "2.5", "0.3", "--name", "first") == 0
    written = read_yaml(home / "submissions/first.recipe.yaml")
    assert {"smooth", "gate"} <= set(written["steps"]) and list(written["members"]) == ["one", "two", "three"]
    assert [member["weight"] for member in written["members"].values()] == [1, 2.5, 0.3]
    assert written["tried"]["gate"][:2] == [None, {"least": 0.05}] and len(written["tried"]["threshold"]) == 61
    # The members' own order is another one as well, and so is that of the ids.
    path = home / "mine.yaml"
    written["members"] = dict(reversed(written["members"].items()))
    path.write_text(yaml_text(written))
    again = segfold(home, "submit", "--recipe", "mine.yaml", "--ensemble", *RUNS[::-1])
    assert again.returncode == 0, again.stderr
    first, second = (home / f"submissions/{name}.csv" for name in ("first", "mine"))
    assert first.read_bytes() == second.read_bytes() and len(first.read_bytes().split()) > 8
    assert read_json(second.with_suffix(".json"))["cv"] == read_json(first.with_suffix(".json"))["cv"] is not None
    assert read_json(first.with_suffix(".json"))["recipe"] == read_json(second.with_suffix(".json"))["recipe"]
    # Without the runs' names those of the recipe are found, and nothing is written twice.
    capsys.readouterr()
    assert submit("--recipe", "submissions/first.recipe.yaml") == 0
    assert "the same as before" in capsys.readouterr().out


def test_what_is_written_reads_back(home: Path) -> None:
    assert submit("--ensemble", *RUNS, "--name", "first") == 0
    path = home / "submissions/first.recipe.yaml"
    recipe = read_recipe(path)
    (home / "again.yaml").write_text(recipe_text(recipe, path.relative_to(home)))
    assert read_recipe(home / "again.yaml") == recipe
    assert (home / "again.yaml").read_bytes() == path.read_bytes()
    assert "python submit.py --recipe submissions/first.recipe.yaml" in path.read_text()
    scores = read_json(home / "submissions/first.json")["cv"]
    assert json.loads(json.dumps(asdict(recipe.scores))) == scores and [
        trial["name"] for trial in scores["trials"]
    ] == [*("threshold", "components", "gate", "constant", "smooth", "holes", "largest")]
    assert scores["nested"]["mean"] > scores["plain"]["mean"]


def test_a_recipe_is_applied_to_runs_that_were_renamed_and_have_further_folds(home: Path) -> None:
    shutil.move(home / "runs/one/fold1", home / "aside")
    assert submit("--ensemble", "runs/one", "runs/two", "--name", "first") == 0
    shutil.move(home / "aside", home / "runs/one/fold1")
    shutil.move(home / "runs/one", home / "runs/other-name")
    (home / "submissions/first.csv").rename(home / "first.csv")
    assert (
        submit("--recipe", "submissions/first.recipe.yaml", "--ensemble", "runs/other-name", "runs/two", "runs/three")
        == 0
    )
    assert (home / "submissions/first.csv").read_bytes() == (home / "first.csv").read_bytes()
    manifest = read_json(home / "submissions/first.json")
    assert [(member["run"], member["folds"]) for member in manifest["members"]] == [
        ("runs/other-name", [0]),
        ("runs/two", [0, 1]),
    ]


def test_a_recipe_by_hand_takes_its_steps_in_their_order(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit("--ensemble", "runs/one", "--name", "first", "--steps") == 0
    capsys.readouterr()
    values = read_yaml(home / "submissions/first.recipe.yaml")
    assert values["steps"] == {}
    for name, steps in (
        ("a", {"holes": {"max_area": 30}, "largest": {"count": 1}}),
        ("b", {"largest": {"count": 1}, "holes": {"max_area": 30}}),
    ):
        values |= {"threshold": 0.45, "steps": steps}
        (home / f"{name}.yaml").write_text(yaml_text(values))
        assert submit("--recipe", f"{name}.yaml") == 0
        assert list(read_yaml(home / f"submissions/{name}.recipe.yaml")["steps"]) == list(steps)
        manifest = read_json(home / f"submissions/{name}.json")
        # The scores in the file are of the fitted decision, which this is not.
        assert manifest["threshold"] == 0.45 and manifest["cv"] is None
        assert "no score" in capsys.readouterr().out
        assert "nested" not in (home / f"submissions/{name}.recipe.yaml").read_text()
    texts = {name: (home / f"submissions/{name}.csv").read_bytes() for name in ("a", "b", "first")}
    assert len(set(texts.values())) >= 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": {"hole": {}}}, "steps: unknown key hole; did you mean holes?"),
        ({"steps": {"gate": {"least": 2}}}, "gate.least: Input should be less than or equal to 1, found 2"),
        ({"threshold": 0}, "threshold: Input should be greater than 0, found 0"),
        ({"combine": "ranks"}, "combine: expected one of mean, logits, geometric, product, rank, vote (nearest: rank)"),
        ({"combine": "rank"}, "combine is rank, and fitted lacks *; fit the recipe anew"),
        ({"format": 2}, "format: Input should be 1, found 2"),
        ({"member": {}}, "unknown key member; did you mean members?"),
        ({"members": {}}, "members: "),
        ({"members": [1]}, "members: "),
        ({"steps": [1]}, "steps: Input should be a mapping, found [1]\n"),
        ({"steps": {"gate": 3}}, "steps: gate"),
        ({"scores": {"plain": 1}}, "scores."),
    ],
)
def test_a_recipe_that_is_wrong_is_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    assert submit("--ensemble", "runs/one", "--name", "first", "--steps") == 0
    values = read_yaml(home / "submissions/first.recipe.yaml") | change
    (home / "wrong.yaml").write_text(yaml_text(values))
    capsys.readouterr()
    assert submit("--recipe", "wrong.yaml") == 2
    line = capsys.readouterr().err
    assert "wrong.yaml" in line and said in line and len(line.splitlines()) == 1
    assert not (home / "submissions/wrong.csv").exists()


def test_runs_that_are_missing_or_trained_anew_are_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit("--ensemble", "runs/one", "runs/two", "--name", "first", "--steps") == 0
    assert submit("--recipe", "submissions/first.recipe.yaml", "--ensemble", "runs/one", "--name", "x") == 2
    assert "run two (runs/two) is not among the runs" in capsys.readouterr().err
    done = home / "runs/two/fold0/done.json"
    change_json(done, weights={"model": "0" * 64})
    assert submit("--recipe", "submissions/first.recipe.yaml", "--name", "x") == 2
    assert "run two (runs/two) has other weights now" in capsys.readouterr().err
    assert not (home / "submissions/x.csv").exists()


def test_what_a_recipe_has_decided_cannot_be_asked_for(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit("--ensemble", "runs/one", "--name", "first", "--steps") == 0
    for option in (
        ["--threshold", "0.4"],
        ["--steps", "holes"],
        ["--weights", "1"],
        ["--gate", "0"],
        ["--min-area", "0"],
    ):
        assert submit("--recipe", "submissions/first.recipe.yaml", *option) == 2
        assert f"--recipe says all that {option[0]} would" in capsys.readouterr().err
    assert submit() == 2 and "--ensemble runs/*, or --recipe FILE" in capsys.readouterr().err
    assert submit("--recipe", "nowhere.yaml") == 2 and "nowhere.yaml" in capsys.readouterr().err


def test_texts_that_look_like_something_else_are_quoted(tmp_path: Path) -> None:
    values = {"1e5": "1e5", "null": "null", "x": ["0x1f", "010", "1:30", "yes", "", "ä", 0.1, 1e-5, None, True, 7]}
    (tmp_path / "a.yaml").write_text(yaml_text(values), encoding="utf-8")
    assert read_yaml(tmp_path / "a.yaml") == values


def test_a_gate_in_the_settings_of_old_is_refused_with_the_new_spelling(home: Path) -> None:
    from segfold.config import load_experiment

    assert load_experiment(home / "configs/small.yaml", ["predict.gate=0"]) == load_experiment(
        home / "configs/small.yaml"
    )
    with pytest.raises(SegfoldError, match=r"predict\.gate is chosen by submit now.*--gate 0\.3"):
        load_experiment(home / "configs/small.yaml", ["predict.gate=0.3"])
