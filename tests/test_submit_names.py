"""No submission is lost: another one has another name, the same one has the same, and the manifest tells them apart."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from made_run import made_run
from segfold.cli import main
from segfold.errors import SegfoldError
from segfold.files import read_json
from segfold.inference import stored
from segfold.submission.names import Taken, place
from small_project import make_project


def ramp(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
    """Every threshold gives other masks; rows of one image are alike."""
    return np.broadcast_to(np.linspace(0, 1, 26) ** (1 + fold), (28, 26)).copy()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the runs ``one`` and ``two``; each test has submissions of its own."""
    home = make_project(tmp_path_factory.mktemp("names"))
    made_run(home, "one", "stages.lovasz.snapshots=true", paint=ramp, sets=1)
    made_run(home, "two", "seed=1")
    return home


@pytest.fixture
def home(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("configs", "data", "folds", "runs"):
        (tmp_path / name).symlink_to(project / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def submit(*arguments: str) -> int:
    return main(["submit", "--ensemble", *arguments])


def names(home: Path) -> set[str]:
    """What lies beside the ledger."""
    return {path.name for path in (home / "submissions").iterdir()} - {"ledger.jsonl"}


def test_a_second_try_does_not_replace_the_first(home: Path) -> None:
    """Other weights, another threshold: three submissions of the same runs, and each has its manifest."""
    alike = ["--weights", "equal"]
    tries = [alike, [*alike, "--threshold", "0.7"], ["--weights", "1", "3"]]
    contents = []
    for extra in tries:
        before = names(home) if contents else set()
        assert submit("runs/one", "runs/two", *extra) == 0
        (new,) = {name for name in names(home) - before if name.endswith(".csv")}
        assert new == "one+two.csv" if not contents else new.startswith("one+two-")
        contents.append((home / "submissions" / new).read_bytes())
        assert read_json(home / "submissions" / new.replace(".csv", ".json"))["csv"] == new
    assert len(names(home)) == 9 and len(set(contents)) == 3
    assert (home / "submissions/one+two.csv").read_bytes() == contents[0]


def test_the_same_submission_again_has_the_same_name_and_content(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for extra in ([], ["--threshold", "0.7"]):
        assert submit("runs/one", *extra) == 0
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (home / "submissions").iterdir()}
    assert len(before) == 7  # and the ledger
    capsys.readouterr()
    for extra in (["--threshold", "0.7"], []):
        assert submit("./runs/one", *extra) == 0
        assert "the same as before" in capsys.readouterr().out
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (home / "submissions").iterdir()} == before
    # What was chosen before, asked for by number, is the same submission.
    chosen = read_json(home / "submissions/one.json")
    assert submit("runs/one", "--steps") == 0 and len(names(home)) <= 9
    before_names = names(home)
    assert submit("runs/one", "--threshold", str(chosen["threshold"]), "--min-area", "0", "--gate", "0") == 0
    assert names(home) == before_names or chosen["steps"]
    # A run among others has the same part in either order.
    assert submit("runs/one", "runs/two", "--name", "pair") == submit("runs/two", "runs/one", "--name", "pair") == 0


def test_a_chosen_name_is_kept_for_what_has_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit("runs/one", "--name", "mine") == 0
    before = (home / "submissions/mine.csv").read_bytes()
    assert submit("runs/one", "--threshold", "0.7", "--name", "mine") == 2
    line = capsys.readouterr().err
    assert "mine.csv is another submission" in line and "--force" in line and len(line.splitlines()) == 1
    assert (home / "submissions/mine.csv").read_bytes() == before and names(home) == {
        "mine.csv",
        "mine.json",
        "mine.recipe.yaml",
    }
    assert submit("runs/one", "--name", "mine.csv") == 0
    assert submit("runs/one", "--threshold", "0.7", "--name", "mine", "--force") == 0
    assert (home / "submissions/mine.csv").read_bytes() != before and names(home) == {
        "mine.csv",
        "mine.json",
        "mine.recipe.yaml",
    }
    assert read_json(home / "submissions/mine.json")["threshold"] == 0.7


def test_the_manifest_holds_all_that_decides_the_csv(home: Path) -> None:
    assert (
        submit("runs/one", "runs/two", "--use", "model", "--weights", "equal", "--min-area", "3", "--name", "used") == 0
    )
    manifest = read_json(home / "submissions/used.json")
    done = read_json(home / "runs/one/fold1/done.json")
    one, two = manifest["members"]
    assert one["weights"]["1"] == {"model": done["weights"]["model"]} and one["folds"] == [0, 1]
    assert one["tta"] == ["identity", "hflip"] and two["weight"] == 1
    assert manifest["asked"] == {
        "use": ["model"],
        "weights": "equal",
        "combine": "mean",
        "budget": None,
        "threshold": None,
        "min_area": 3,
        "gate": None,
        "steps": None,
        "recipe": None,
        "mixed_folds": False,
        "fast": False,
    }
    assert manifest["pipeline"] == stored.PIPELINE and manifest["mixed_folds"] is False
    assert manifest["data"]["train"] == done["data_hash"] and len(manifest["data"]["test"]) == 64
    assert manifest["steps"]["components"] == {"min_area": 3}


def test_other_sets_of_weights_are_another_submission(home: Path) -> None:
    """The snapshot's predictions are those of ``model`` here, so the two files differ in their manifest alone."""
    assert submit("runs/one") == submit("runs/one", "--use", "snapshots") == 0
    first, second = sorted(path for path in (home / "submissions").glob("*.json"))[::-1]
    assert first.stem == "one" and second.stem.startswith("one-")
    assert set(read_json(second)["members"][0]["weights"]["0"]) == {"snapshot1"}
    assert first.with_suffix(".csv").read_bytes() == second.with_suffix(".csv").read_bytes()


def test_a_name_that_the_file_system_refuses_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit("runs/one", "--name", "n" * 200) == 2
    assert "at most 150 bytes" in capsys.readouterr().err
    assert not (home / "submissions").exists()


def test_places(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    assert place(path, b"a", "r", Taken.RENAME) == (path, False)
    path.write_bytes(b"a")
    # A kill between the two renames leaves a CSV without its manifest.
    assert place(path, b"a", "r", Taken.RENAME) == (path, False)
    (other, there) = place(path, b"b", "r", Taken.RENAME)
    assert other != path and not there
    with pytest.raises(SegfoldError, match="another submission"):
        place(path, b"b", "r", Taken.REFUSE)
    (tmp_path / "s.json").write_text('{"recipe": "r"}')
    assert place(path, b"a", "r", Taken.REFUSE) == (path, True)
    with pytest.raises(SegfoldError, match="another submission"):
        place(path, b"a", "q", Taken.REFUSE)
    (tmp_path / "s.json").write_text('{"made": "by a version without recipes"}')
    assert place(path, b"a", "r", Taken.REFUSE) == (path, False)
    # Renamed and then the first one deleted: the second keeps the name that it has.
    other.write_bytes(b"b")
    other.with_suffix(".json").write_text('{"recipe": "r"}')
    path.unlink()
    assert place(path, b"b", "r", Taken.RENAME) == (other, True)
    assert place(path, b"b", "q", Taken.REPLACE) == (path, False)


def tries(home: str, threshold: str) -> None:
    import os

    os.chdir(home)
    os._exit(submit("runs/one", "--threshold", threshold))


def test_two_at_once_do_not_take_one_name(home: Path) -> None:
    submit("runs/two")  # all kernels and caches are there
    context = multiprocessing.get_context("fork")
    running = [context.Process(target=tries, args=(str(home), value)) for value in ("0.3", "0.4", "0.6", "0.7")]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
        assert process.exitcode == 0
    found = sorted(path.stem for path in (home / "submissions").glob("one*.csv"))
    assert len(found) == 4 and "one" in found
    kept = {read_json(home / "submissions" / f"{name}.json")["threshold"] for name in found}
    assert kept == {0.3, 0.4, 0.6, 0.7}
