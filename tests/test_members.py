"""Members of an ensemble: named sets of a run's weights, runs that miss folds, have other sizes or other competitions."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from made_run import bright, change_json, made_run
from segfold.cli import main
from segfold.files import read_json
from segfold.yaml_file import read_yaml
from small_project import make_project

Submit = Callable[..., tuple[int, str, str]]
SETS = ["model", "snapshot1", "snapshot2"]


def shade(level: float) -> Callable[[str, np.ndarray | None, int], np.ndarray]:
    return lambda name, mask, fold: np.where(bright(name, mask, fold) > 0.5, level, 0.1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``sets`` has two snapshots that predict otherwise than its model; ``plain`` has a model alone."""
    home = make_project(tmp_path_factory.mktemp("members"))
    run = made_run(home, "sets", sets=2)
    made_run(home, "plain", "seed=1", paint=shade(0.6))
    for number, level in ((1, 0.4), (2, 0.8)):
        other = made_run(home, f"level{number}", paint=shade(level))
        for fold in (0, 1):
            place, source = (
                each.fold(fold).predictions(name, "identity+hflip")
                for each, name in ((run, f"snapshot{number}"), (other, "model"))
            )
            metas = read_json(place / "meta.json")
            for path in source.glob("*.u16"):
                shutil.copy(path, place / path.name)
            samples = read_json(source / "meta.json")
            change_json(place / "meta.json", **{s: e | {"sample": samples[s]["sample"]} for s, e in metas.items()})
        shutil.rmtree(other.path)
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to break."""
    shutil.copytree(made, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def submit(home: Path, capsys: pytest.CaptureFixture[str]) -> Submit:
    """Runs ``segfold submit``, with equal weights unless others or a recipe are given, so that every member stays in."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        equal = () if {"--weights", "--recipe"} & set(arguments) else ("--weights", "equal")
        code = main(["submit", *arguments, *equal])
        return code, *capsys.readouterr()

    return run


def members(home: Path, name: str) -> list[tuple[str, list[str]]]:
    """The label of each member of a submission, and the sets that its first fold predicts with."""
    found = read_json(home / "submissions" / f"{name}.json")["members"]
    return [(member["member"], list(member["weights"]["0"])) for member in found]


def test_a_set_of_a_run_is_a_member_of_its_own(home: Path, submit: Submit) -> None:
    code, out, err = submit("--ensemble", "runs/sets@snapshot1", "runs/sets@model", "runs/plain", "--name", "three")
    assert code == 0, err
    assert members(home, "three") == [
        ("sets@snapshot1", ["snapshot1"]),
        ("sets@model", ["model"]),
        ("plain", ["model"]),
    ]
    # What a fold scored was scored with its model: the first table gives no other set that score.
    rows = {name: next(line for line in out.splitlines() if name in line) for name in ("sets@snapshot1", "sets@model")}
    assert rows["sets@snapshot1"].rstrip(" │").endswith("–") and "0.5500" in rows["sets@model"]
    # A snapshot is blended with its own predictions: at .4 nothing is foreground, with the model's .9 all of it is.
    submit("--ensemble", "runs/sets@snapshot1", "--threshold", "0.5", "--steps", "--name", "one")
    submit("--ensemble", "runs/sets@snapshot1", "runs/sets@model", "--threshold", "0.5", "--steps", "--name", "two")
    assert read_json(home / "submissions/one.json")["empty_share"] == 1
    assert read_json(home / "submissions/two.json")["empty_share"] == 0
    assert (home / "submissions/three.recipe.yaml").exists()


def test_snapshots_are_one_member_and_each_is_many(home: Path, submit: Submit) -> None:
    assert submit("--ensemble", "runs/sets@snapshots", "--threshold", "0.59", "--name", "mean")[0] == 0
    assert members(home, "mean") == [("sets@snapshots", SETS[1:])]
    manifest = read_json(home / "submissions/mean.json")
    assert manifest["cv"]["plain"]["mean"] == 1 and manifest["empty_share"] == 0  # (.4 + .8) / 2 = .6
    assert submit("--ensemble", "runs/sets@each", "--name", "each")[0] == 0
    assert members(home, "each") == [(f"sets@{name}", [name]) for name in SETS]
    change_json(home / "runs/sets/fold1/done.json", weights={"model": "0" * 64})
    code, out, err = submit("--ensemble", "runs/sets@each", "runs/plain", "--name", "some")
    assert code == 0, err
    assert "left out runs/sets@snapshot2: fold 1 has no such weights" in out


def test_members_of_one_run_come_back_from_a_recipe(home: Path, submit: Submit) -> None:
    runs = ("runs/sets@snapshot2", "runs/plain", "runs/sets@model")
    assert submit("--ensemble", *runs, "--weights", "1", "2", "3", "--name", "first")[0] == 0
    recipe = read_yaml(home / "submissions/first.recipe.yaml")["members"]
    assert [(name, each["run"], each["weight"]) for name, each in recipe.items()] == [
        ("sets@snapshot2", "runs/sets", 1),
        ("plain", "runs/plain", 2),
        ("sets@model", "runs/sets", 3),
    ]
    first = (home / "submissions/first.csv").read_bytes()
    shutil.copy(home / "submissions/first.recipe.yaml", home / "mine.yaml")
    shutil.rmtree(home / "submissions")
    for given in ([], ["--ensemble", "runs/plain", "runs/sets"], ["--ensemble", "runs/sets@model", "runs/plain"]):
        code, _, err = submit(*given, "--recipe", "mine.yaml")
        assert code == 0, err
        assert (home / "submissions/mine.csv").read_bytes() == first
        assert members(home, "mine") == [(name, [name.partition("@")[2] or "model"]) for name in recipe]
    # Found by its weights, wherever it lies.
    (home / "runs/sets").rename(home / "runs/moved")
    code, _, err = submit("--ensemble", "runs/moved", "runs/plain", "--recipe", "mine.yaml")
    assert code == 0 and (home / "submissions/mine.csv").read_bytes() == first, err


def test_a_set_that_is_the_run_itself_is_no_further_member(home: Path, submit: Submit) -> None:
    code, out, _ = submit("--ensemble", "runs/sets", "runs/sets@model", "runs/sets@model", "--name", "once")
    assert code == 0 and members(home, "once") == [("sets", ["model"])]
    assert "skipped runs/sets@model: a copy of runs/sets, with the same weights" in out
    # With other sets asked of every run it is one.
    code, _, err = submit("--ensemble", "runs/sets", "runs/sets@model", "--use", "snapshot1", "--name", "two")
    assert code == 0, err
    assert members(home, "two") == [("sets", ["snapshot1"]), ("sets@model", ["model"])]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("runs/sets@swa", "runs/sets/fold0 has no weights named swa; it has model, snapshot1, snapshot2"),
        ("runs/sets@", "expected a set of weights after @, such as runs/sets@swa, or runs/sets@each for all"),
        ("runs/gone@swa", "skipped runs/gone@swa: does not exist"),
    ],
)
def test_a_set_that_is_not_there_is_refused(home: Path, submit: Submit, given: str, problem: str) -> None:
    code, _, err = submit("--ensemble", given, "--name", "none")
    assert code == 2 and problem in err and len(err.splitlines()) == 1
    assert not (home / "submissions/none.csv").exists()


def test_a_folder_of_that_name_wins_over_a_set(home: Path, submit: Submit) -> None:
    (home / "runs/plain").rename(home / "runs/sets@snapshot1")
    assert submit("--ensemble", "runs/sets@snapshot1", "runs/sets/@snapshot2", "--name", "both")[0] == 0
    assert members(home, "both") == [("sets@snapshot1", ["model"]), ("sets@snapshot2", ["snapshot2"])]


def test_predict_takes_sets_too(home: Path, submit: Submit, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "runs/sets@snapshots", "runs/plain"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "was there" in line]
    assert len(rows) == 12 and sum("sets@snapshots" in row for row in rows) == 8


def test_a_run_that_misses_a_fold_is_scored_where_all_have_predicted(home: Path, submit: Submit) -> None:
    shutil.rmtree(home / "runs/plain/fold1")
    held = read_json(home / "runs/plain/fold0/done.json")["held_out"]
    code, out, err = submit("--ensemble", "runs/sets", "runs/plain", "--name", "part")
    assert code == 0, err
    line = f"run plain lacks {20 - len(held)} of 20 images: scores are over the {len(held)} that all runs predicted"
    assert line in out
    manifest = read_json(home / "submissions/part.json")
    assert manifest["cv_images"] == len(held) and [each["folds"] for each in manifest["members"]] == [[0, 1], [0]]


def test_runs_that_share_no_fold_are_refused_by_name(home: Path, submit: Submit) -> None:
    shutil.rmtree(home / "runs/plain/fold1")
    shutil.rmtree(home / "runs/sets/fold0")
    code, _, err = submit("--ensemble", "runs/sets", "runs/plain")
    assert code == 2 and len(err.splitlines()) == 1
    assert "no image is predicted by every run (sets 10; plain 10); finish the same folds of each" in err


def test_runs_of_another_input_size_are_blended(home: Path, submit: Submit) -> None:
    """Predictions are kept at the images' own size, whatever the network takes."""
    made_run(home, "large", "input.size=64", "input.fit=resize", "seed=4", paint=shade(0.2))
    code, _, err = submit("--ensemble", "runs/sets", "runs/large", "--threshold", "0.56", "--steps", "--name", "sizes")
    assert code == 0, err
    manifest = read_json(home / "submissions/sizes.json")
    assert manifest["cv"]["tuned"]["mean"] < 1 and manifest["empty_share"] == 1  # (.9 + .2) / 2 = .55


def test_runs_of_other_competitions_are_refused_by_name_or_left_out(home: Path, submit: Submit) -> None:
    configs = home / "configs/competitions"
    text = (configs / "small.yaml").read_text()
    (configs / "twin.yaml").write_text(text.replace("name: small", "name: twin"))
    shutil.copytree(home / "data/small", home / "data/twin")
    made_run(home, "foreign", "competition=configs/competitions/twin.yaml", "seed=7")
    code, _, err = submit("--ensemble", "runs/sets@model", "runs/foreign", "runs/sets@snapshots")
    assert code == 2 and len(err.splitlines()) == 1
    assert "2 competitions (small: sets@model, sets@snapshots; twin: foreign)" in err and "--competition NAME" in err
    code, out, err = submit(
        "--ensemble", "runs/foreign@each", "runs/sets@each", "--competition", "small", "--name", "a"
    )
    assert code == 0, err
    assert "skipped runs/foreign@model: of another competition" in out
    assert members(home, "a") == [(f"sets@{name}", [name]) for name in SETS]
