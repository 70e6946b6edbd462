"""Which of many runs enter a submission: one that cannot is left out with its reason, and never stops the others."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from made_run import bright, change_json, made_run
from segfold.cli import main
from segfold.files import read_json
from segfold.tasks import FOREGROUND
from small_project import make_project
from tiny_competition import write_image

Submit = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two runs of both folds, ``good`` and ``other``, and a ``quick-fast`` of a few images."""
    home = make_project(tmp_path_factory.mktemp("made"))
    made_run(home, "good")
    made_run(home, "other", "seed=1", paint=lambda name, mask, fold: np.full((28, 26), 0.3))
    made_run(home, "quick-fast", "fast=true", "seed=2", paint=lambda name, mask, fold: np.full((28, 26), 0.8))
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to break."""
    shutil.copytree(made, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def submit(home: Path, capsys: pytest.CaptureFixture[str]) -> Submit:
    """Runs ``segfold submit``, with all usable runs alike, and returns exit code, standard output and error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        alike = [] if "--weights" in arguments else ["--weights", "equal"]
        code = main(["submit", "--ensemble", *arguments, *alike])
        return code, *capsys.readouterr()

    return run


def members(home: Path, name: str) -> list[str]:
    """The runs that a submission was made of."""
    return [member["run"] for member in read_json(home / "submissions" / f"{name}.json")["members"]]


def test_fast_runs_are_left_out_unless_asked_for_or_alone(home: Path, submit: Submit) -> None:
    code, out, _ = submit("runs/good", "runs/quick-fast", "--name", "a")
    assert code == 0 and "skipped runs/quick-fast: a fast=true run" in out
    assert members(home, "a") == ["runs/good"] and read_json(home / "submissions/a.json")["cv_images"] == 20
    assert submit("runs/good", "runs/quick-fast", "--fast", "--name", "b")[0] == 0
    assert members(home, "b") == ["runs/good", "runs/quick-fast"]
    assert submit("runs/quick-fast", "--name", "c")[0] == 0
    assert members(home, "c") == ["runs/quick-fast"]


def unknown_key(home: Path) -> None:
    path = home / "runs/other/config.yaml"
    path.write_text(path.read_text() + "momentum_of_old: 3\n")


def no_competition(home: Path) -> None:
    shutil.copy(home / "configs/competitions/small.yaml", home / "configs/competitions/gone.yaml")
    path = home / "runs/other/config.yaml"
    path.write_text(path.read_text().replace("small.yaml", "gone.yaml"))
    (home / "configs/competitions/gone.yaml").unlink()


def broken_record(home: Path) -> None:
    (home / "runs/other/fold1/done.json").write_text('{"score": 0.5, "weig')


def record_of_another_version(home: Path) -> None:
    change_json(home / "runs/other/fold0/done.json", weights=None, held_out=None)


def copied_fold(home: Path) -> None:
    shutil.rmtree(home / "runs/other/fold1")
    shutil.copytree(home / "runs/other/fold0", home / "runs/other/fold1")


def other_data(home: Path) -> None:
    change_json(home / "runs/other/fold0/done.json", data_hash="0" * 64)
    change_json(home / "runs/other/fold1/done.json", data_hash="0" * 64)


def other_folds(home: Path) -> None:
    change_json(home / "runs/other/fold1/done.json", folds_hash="0" * 64)


def edited_settings(home: Path) -> None:
    path = home / "runs/other/config.yaml"
    path.write_text(path.read_text().replace("size: 32", "size: 64"))


def no_weights(home: Path) -> None:
    """Neither predictions nor the weights to make them with."""
    shutil.rmtree(home / "runs/other/fold0/pred")


def another_competition_file(home: Path) -> None:
    text = (home / "configs/competitions/small.yaml").read_text()
    (home / "configs/competitions/copy.yaml").write_text(text.replace("metric: precision", "metric: iou"))
    path = home / "runs/other/config.yaml"
    path.write_text(path.read_text().replace("small.yaml", "copy.yaml"))
    for fold in (0, 1):
        change_json(home / f"runs/other/fold{fold}/done.json", settings=None)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (unknown_key, "unknown key momentum_of_old"),
        (no_competition, "gone.yaml"),
        (broken_record, "fold1/done.json cannot be read as JSON"),
        (record_of_another_version, "fold0/done.json lacks held_out, weights"),
        (copied_fold, "fold1 holds fold 0"),
        (other_data, "trained on other data"),
        (other_folds, "fold 1 was trained or scored with other folds than fold 0"),
        (edited_settings, "other input.size than config.yaml says"),
        (no_weights, "model.safetensors does not exist"),
        (another_competition_file, "differs from another run's"),
    ],
)
def test_a_run_that_cannot_be_used_does_not_stop_the_others(
    home: Path, submit: Submit, fault: Callable[[Path], None], reason: str
) -> None:
    fault(home)
    code, out, err = submit("runs/good", "runs/other", "--name", "both")
    assert code == 0, err
    (line,) = [line for line in out.splitlines() if line.startswith("skipped")]
    assert line.startswith("skipped runs/other: ") and reason in line
    assert members(home, "both") == ["runs/good"]
    if fault is not another_competition_file:
        code, _, err = submit("runs/other", "--name", "none")
        assert code == 2 and reason in err and len(err.splitlines()) == 1
        assert not (home / "submissions/none.csv").exists()


def test_weights_follow_their_runs_past_one_that_falls_out(home: Path, submit: Submit) -> None:
    no_weights(home)
    made_run(home, "third", "seed=3")
    code, _, err = submit("runs/good", "runs/other", "runs/third", "--weights", "1", "2", "5", "--name", "three")
    assert code == 0, err
    found = read_json(home / "submissions/three.json")["members"]
    assert [(member["run"], member["weight"]) for member in found] == [("runs/good", 1), ("runs/third", 5)]
    code, _, err = submit("runs/good", "runs/third", "--weights", "1", "--name", "short")
    assert code == 2 and "1 numbers for 2 usable runs (good, third)" in err


def test_weights_that_are_not_those_of_the_record_are_not_predicted_with(home: Path, submit: Submit) -> None:
    from segfold.inference.networks import build_network, save_weights
    from segfold.runs.folder import RunFolder
    from segfold.runs.record import read_run

    no_weights(home)
    run = RunFolder(home / "runs/other")
    save_weights(build_network(read_run(run), channels=3, task=FOREGROUND), run.fold(0).weights())
    code, out, _ = submit("runs/good", "runs/other", "--name", "both")
    assert code == 0 and "model.safetensors is not the file that" in out
    assert members(home, "both") == ["runs/good"]


def test_a_copied_run_does_not_count_twice(home: Path, submit: Submit) -> None:
    shutil.copytree(home / "runs/good", home / "runs/good-copy")
    shutil.rmtree(home / "runs/good-copy/fold1")
    code, out, _ = submit("runs/good", "runs/good-copy", "runs/other", "--name", "once")
    assert code == 0 and "skipped runs/good-copy: a copy of runs/good" in out
    assert members(home, "once") == ["runs/good", "runs/other"]
    # Whichever comes first, the one with more folds is taken.
    assert submit("runs/good-copy", "runs/good", "runs/other", "--name", "once")[0] == 0
    assert "the same as before" in submit("runs/good-copy", "runs/good", "runs/other", "--name", "once")[1]


def test_a_copy_that_predicts_in_another_way_is_another_member(home: Path, submit: Submit) -> None:
    shutil.copytree(home / "runs/good", home / "runs/plain")
    path = home / "runs/plain/config.yaml"
    path.write_text(path.read_text().replace("tta:\n  - identity\n  - hflip", "tta:\n  - identity"))
    for fold in (0, 1):
        folder = home / f"runs/plain/fold{fold}/pred/model-identity+hflip"
        meta = json.loads((folder / "meta.json").read_text())
        for entry in meta.values():
            entry["meta"]["tta"] = ["identity"]
        (folder / "meta.json").write_text(json.dumps(meta))
        folder.rename(folder.with_name("model-identity"))
    code, _, err = submit("runs/good", "runs/plain", "--name", "two")
    assert code == 0, err
    assert [m["tta"] for m in read_json(home / "submissions/two.json")["members"]] == [
        ["identity", "hflip"],
        ["identity"],
    ]


def test_a_copy_that_merges_in_another_way_is_another_member(home: Path, submit: Submit) -> None:
    shutil.copytree(home / "runs/good", home / "runs/max")
    path = home / "runs/max/config.yaml"
    path.write_text(path.read_text().replace("merge: mean", "merge: max"))
    for file in home.glob("runs/max/fold*/pred/*/meta.json"):
        meta = json.loads(file.read_text())
        for entry in meta.values():
            entry["meta"]["views"] = {"merge": "max"}
        file.write_text(json.dumps(meta))
    code, out, err = submit("runs/good", "runs/max", "--name", "two")
    assert code == 0 and "predicting" not in out, err
    assert members(home, "two") == ["runs/good", "runs/max"]


def test_two_runs_of_one_name_are_told_apart(home: Path, submit: Submit) -> None:
    (home / "elsewhere").mkdir()
    (home / "runs/other").rename(home / "elsewhere/good")
    code, out, err = submit("runs/good", "elsewhere/good")
    assert code == 0, err
    assert members(home, "good+good") == ["runs/good", "elsewhere/good"] and "elsewhere/good" in out


def test_a_set_of_weights_that_a_run_lacks_is_refused_before_anything_is_predicted(home: Path, submit: Submit) -> None:
    no_weights(home)
    code, out, err = submit("runs/other", "runs/good", "--use", "swa")
    assert code == 2 and "runs/other/fold0 has no weights named swa" in err and "predicting" not in out


def test_runs_of_other_folds_have_no_nested_score(home: Path, submit: Submit) -> None:
    made_run(home, "three", "folds.k=3", "seed=5", folds=(0, 1, 2))
    code, _, err = submit("runs/good", "runs/three")
    assert code == 2 and "different fold files" in err
    code, out, _ = submit("runs/good", "runs/three", "--mixed-folds", "--name", "mixed")
    assert code == 0 and "no nested score" in out
    manifest = read_json(home / "submissions/mixed.json")
    assert manifest["mixed_folds"] and manifest["cv"]["nested"] is None
    assert (
        submit("runs/good", "runs/three", "--mixed-folds", "--threshold", "0.5", "--min-area", "0", "--name", "x")[0]
        == 0
    )
    assert read_json(home / "submissions/x.json")["cv"]["nested"] is None
    # The flag alone takes nothing from runs that share their folds.
    assert submit("runs/good", "runs/other", "--mixed-folds", "--name", "shared")[0] == 0
    manifest = read_json(home / "submissions/shared.json")
    assert not manifest["mixed_folds"] and manifest["cv"]["nested"]["images"] == 20


def test_changed_pixels_leave_out_the_run_that_saw_others(home: Path, submit: Submit) -> None:
    path = next((home / "data/small/train/images").glob("im*.png"))
    write_image(path, 255 - cv2.imread(str(path)))
    shutil.rmtree(home / "runs/other")
    made_run(home, "new", "seed=9")
    code, out, err = submit("runs/good", "runs/new", "--name", "kept")
    assert code == 0, err
    assert "skipped runs/good: trained on other data" in out and members(home, "kept") == ["runs/new"]


def test_a_folder_that_cannot_be_listed_is_skipped(home: Path, submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Path.iterdir

    def denied(path: Path) -> Any:
        if path.name == "other":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", denied)
    code, out, _ = submit("runs/good", "runs/other", "--name", "open")
    assert code == 0 and "skipped runs/other: cannot be read (Permission denied)" in out


def test_a_choice_at_the_end_of_what_is_tried_is_said_and_recorded(home: Path, submit: Submit) -> None:
    """Noise of probability .79 everywhere: the highest threshold of all is the first without it."""
    made_run(
        home, "noisy", "seed=4", paint=lambda name, mask, fold: np.where(bright(name, mask, fold) > 0.5, 0.9, 0.79)
    )
    code, out, _ = submit("runs/noisy", "--name", "edge")
    assert code == 0 and "the best threshold, 0.80, is at the end of what was tried" in out
    cv = read_json(home / "submissions/edge.json")["cv"]
    assert cv["at_edge"] == ["threshold"] and cv["tuned"]["mean"] == 1
    code, out, _ = submit("runs/noisy", "--name", "inside", "--threshold", "0.85")
    cv = read_json(home / "submissions/inside.json")["cv"]
    assert code == 0 and "was tried" not in out and cv["at_edge"] == []
    assert cv["tuned"]["mean"] == cv["nested"]["mean"] == 1 and cv["nested_over"] == "5 parts of 2 folds"


def test_small_components_are_removed_up_to_the_size_of_the_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five images without an object, each predicted with a blob of 12×12 pixels, and five of 70×70 found exactly."""
    home = make_project(tmp_path / "home", count=10)
    monkeypatch.chdir(home)
    for number, path in enumerate(sorted((home / "data/small/train/images").glob("*.png"))):
        mask = np.zeros((101, 101), np.uint8)
        mask[9:79, 9:79] = 255 * (number % 2)
        write_image(path, np.full((101, 101, 3), number, np.uint8))
        write_image(path.parents[1] / "masks" / path.name, mask)

    def blob(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
        found = np.zeros((28, 26) if mask is None else mask.shape)
        found[:12, :12] = 0.9
        return found if mask is None or not mask.any() else mask * 0.9

    made_run(home, "blobs", "input.fit=resize", paint=blob)
    assert main(["submit", "--ensemble", "runs/blobs"]) == 0
    manifest = read_json(home / "submissions/blobs.json")
    assert manifest["cv"]["plain"]["mean"] == 0.5 and 144 < manifest["steps"]["components"]["min_area"] <= 4900
    assert manifest["cv"]["tuned"]["mean"] == manifest["cv"]["nested"]["mean"] == 1
    assert manifest["cv"]["at_edge"] == [] and manifest["empty_share"] == 1
    capsys.readouterr()
    assert main(["submit", "--ensemble", "runs/blobs", "--min-area", str(10**8)]) == 2
    assert "expected 0 to 10201 pixels, the size of the largest image" in capsys.readouterr().err
