"""What a user can mend gives one clear line and exit code 2, through the whole command line."""

import functools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import small_project
from damaged_files import DAMAGES, picture, written
from forked import segfold
from small_project import make_project
from tiny_competition import write_image

TRAIN = ("train", "--config", "configs/small.yaml", "--fold", "0")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one finished fold and a submission."""
    home = make_project(tmp_path_factory.mktemp("trained"))
    for arguments in (
        (*TRAIN, "fast=true", "--run", "one"),
        ("submit", "--ensemble", "runs/one", "--name", "good"),
    ):
        done = segfold(home, *arguments)
        assert done.returncode == 0, done.stderr
    return home


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, to break."""
    shutil.copytree(trained, tmp_path / "home")
    return tmp_path / "home"


def refused(home: Path, *arguments: str, run: Callable[..., Any] = segfold) -> str:
    """The one line that a refused command prints.

    Args:
        run: runs the command; ``small_project.segfold`` does it in a fresh interpreter.
    """
    before = set((home / "submissions").glob("*"))
    done = run(home, *arguments)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("decoding")]
    assert len(lines) == 1, lines
    assert set((home / "submissions").glob("*")) == before
    return lines[0]


def test_no_data_folder(home: Path) -> None:
    shutil.rmtree(home / "data" / "small")
    line = refused(home, *TRAIN)
    assert "data/small" in line and "make data from=PATH" in line


def test_corrupt_png(home: Path) -> None:
    path = next((home / "data/small/train/images").glob("*.png"))
    path.write_bytes(path.read_bytes()[:60])
    assert path.name in refused(home, *TRAIN)


def test_mask_of_another_size(home: Path) -> None:
    path = next((home / "data/small/train/masks").glob("im*.png"))
    write_image(path, np.zeros((9, 9), np.uint8))
    line = refused(home, *TRAIN)
    assert path.name in line and "9×9" in line


def enlarge(home: Path, split: str, name: str) -> None:
    write_image(home / f"data/small/{split}/images/{name}.png", np.zeros((40, 33, 3), np.uint8))
    if split == "train":
        write_image(home / f"data/small/{split}/masks/{name}.png", np.zeros((40, 33), np.uint8))


@pytest.mark.parametrize("what", ["held-out image", "stage warm: training image"])
def test_a_training_image_larger_than_the_input(home: Path, what: str) -> None:
    folds = dict(row.split(",") for row in (home / "folds/small-2.csv").read_text().split()[1:])
    enlarge(home, "train", "00tr")
    fold = int(folds["00tr"]) if what == "held-out image" else 1 - int(folds["00tr"])
    arguments = ("train", "--config", "configs/small.yaml", "--fold", str(fold), "--run", "other", "machine.workers=1")
    line = refused(home, *arguments)
    assert f"{what} 00tr: an image of 40×33 does not fit into a network input of 32×32: set input.fit=resize" in line


def test_a_stage_with_an_input_smaller_than_the_images(home: Path) -> None:
    line = refused(home, *TRAIN, "--run", "other", "stages.lovasz.size=16", "machine.workers=1")
    assert re.search(r"stage lovasz: training image \w+: an image of 28×26 [^(]*\(10 of 10 are too large\)$", line), (
        line
    )
    assert not (home / "runs/other/fold0/last.pt").exists()


def test_a_test_image_larger_than_the_input(home: Path) -> None:
    enlarge(home, "test", "im003t")
    said = "test image im003t: an image of 40×33 does not fit into a network input of 32×32"
    assert f"skipped runs/one: {said}" in refused(home, "submit", "--ensemble", "runs/one")
    # That has decoded it, so a training sees it coming.
    assert said in refused(home, *TRAIN, "--run", "other")


def test_a_sheet_of_images_that_do_not_fit(home: Path) -> None:
    line = refused(home, "look", "--config", "configs/small.yaml", "input.size=16")
    assert re.search(r"look: image \w+: an image of 28×26 does not fit", line), line
    line = refused(home, "look", "--config", "configs/small.yaml", "--stage", "third")
    assert line.endswith("--stage third: expected one of warm, lovasz")


def spoil_samples() -> None:
    """One image cannot be made a sample of, which nobody can know beforehand."""
    from segfold.data import dataset
    from segfold.errors import SegfoldError

    whole = dataset.InputPlanes.__call__

    def planes(self, image, row, *place):  # type: ignore[no-untyped-def]
        if row == 3:
            raise SegfoldError("no plane of image 3: take it out")
        return whole(self, image, row, *place)

    dataset.InputPlanes.__call__ = planes  # type: ignore[method-assign]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_worker_is_the_line_that_it_raised(home: Path, workers: int) -> None:
    wanted = (*TRAIN, "--run", "other", f"machine.workers={workers}")
    line = refused(home, *wanted, run=functools.partial(segfold, before=spoil_samples))
    assert line == "segfold train: no plane of image 3: take it out"


def test_doubled_id_in_the_fold_file(home: Path) -> None:
    path = home / "folds" / "small-2.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1]]) + "\n")
    assert lines[1].split(",")[0] in refused(home, *TRAIN, "--run", "other")


def test_ids_that_look_like_numbers_are_text(home: Path) -> None:
    ids = [line.split(",")[0] for line in (home / "submissions/good.csv").read_text().splitlines()[1:]]
    expected = [line.split(",")[0] for line in (home / "data/small/sample_submission.csv").read_text().splitlines()[1:]]
    assert ids == expected
    assert "00te" in ids and "1e004t" in ids
    held_out = json.loads((home / "runs/one/fold0/done.json").read_text())["held_out"]
    assert any(name.startswith("1e") for name in held_out)


def test_fold_out_of_range(home: Path) -> None:
    line = refused(home, "train", "--config", "configs/small.yaml", "--fold", "2")
    assert "--fold 2" in line and "0 to 1" in line


@pytest.mark.parametrize("fold", ["9" * 21, "9" * 5000, "٣", "²", "-1", "", "0\x1f", "1e0"])
def test_fold_that_is_no_number(trained: Path, fold: str) -> None:
    run = ("--run", "one", "fast=true", "--jobs", "2")
    line = refused(trained, "train", "--config", "configs/small.yaml", f"--fold={fold}", *run)
    assert "--fold " in line and "0 to 1" in line and line.isprintable()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("folds", "--k", "9" * 21), "argument --k: '999"),
        (("folds", "--k", "9" * 5000), "argument --k: '999"),
        (("folds", "--seed", "1.5"), "argument --seed: '1.5' is no whole number"),
        (("look", "--config", "configs/small.yaml", "--images", "9" * 21), "argument --images: '999"),
        (("look", "--config", "configs/small.yaml", "--draws", "999999999"), "--draws: expected"),
        ((*TRAIN, "--jobs", "²"), "argument --jobs: '²' is no whole number"),
        (("submit", "--ensemble", "runs/one", "--min-area", "9" * 21), "argument --min-area: '999"),
        (("submit", "--ensemble", "runs/one", "--weights", "nan"), "--weights nan: 'nan' is no finite number"),
        (("submit", "--ensemble", "runs/one", "--threshold", "inf"), "argument --threshold: 'inf' is no finite number"),
        (("submit",), "nothing to blend: give --ensemble runs/*, or --recipe FILE"),
        ((*TRAIN, "--rum", "x"), "unrecognized arguments: --rum"),
    ],
)
def test_arguments_that_cannot_be_are_refused_in_one_line(trained: Path, arguments: tuple[str, ...], said: str) -> None:
    line = refused(trained, *arguments)
    assert line.startswith(f"segfold {arguments[0]}: ") and said in line and len(line) < 300


def test_a_name_too_long_for_the_file_system(home: Path) -> None:
    """Of the file, and of the temporary one that is written first."""
    assert "File name too long" in refused(home, *TRAIN, "--run", "x" * 300)
    assert "File name too long" in refused(home, *TRAIN, "--run", "other", "model.weights=" + "x" * 300)
    line = refused(home, "look", "--config", "configs/small.yaml", "--out", "x" * 250)
    assert "cannot be written (File name too long)" in line


@pytest.mark.parametrize(
    ("override", "near"),
    [
        ("model.encodr=resnet34", "did you mean encoder?"),
        ("stages.warm.los=1", "did you mean loss?"),
        ("stages.warm.loss.mask.lovas.weight=1", "did you mean lovasz?"),
        ("augment.hflipp=true", "did you mean hflip?"),
        ("bach_size=4", "did you mean batch_size?"),
    ],
)
def test_unknown_key(home: Path, override: str, near: str) -> None:
    assert near in refused(home, *TRAIN, override)


def test_unknown_encoder(home: Path) -> None:
    line = refused(home, *TRAIN, "--run", "other", "model.encoder=resnet43")
    assert "resnet43" in line and "resnet34" in line


def without_the_hub() -> None:
    """As ``HF_HUB_OFFLINE=1`` and an empty cache are; the hub's library reads its environment when it is imported."""
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True
    constants.HF_HUB_CACHE = "no-cache"


def test_weights_that_cannot_be_downloaded(home: Path) -> None:
    wanted = ("--run", "other", "model.encoder=resnet34", "model.weights=imagenet")
    line = refused(home, *TRAIN, *wanted, run=functools.partial(segfold, before=without_the_hub))
    assert "model.weights=none" in line and "model.weights=PATH" in line


def test_refused_run_leaves_its_name_free(home: Path) -> None:
    refused(home, *TRAIN, "--run", "other", "model.encoder=resnet43")
    done = segfold(home, *TRAIN, "--run", "other", "fast=true")
    assert done.returncode == 0, done.stderr


def test_changed_config_on_an_existing_run(home: Path) -> None:
    line = refused(home, *TRAIN, "--run", "one", "fast=true", "model.decoder_channels=16", "stages.warm.lr=0.1")
    assert "model.decoder_channels" in line and "stages.warm.lr" in line and "--run" in line


def test_machine_settings_may_change(home: Path) -> None:
    done = segfold(home, *TRAIN, "--run", "one", "fast=true", "machine.workers=1")
    assert done.returncode == 0 and "is done" in done.stdout


def test_epochs_left_by_a_kill_after_the_proof_are_removed(home: Path) -> None:
    left = home / "runs/one/fold0/epoch1.safetensors"
    left.write_bytes(b"")
    assert segfold(home, *TRAIN, "--run", "one", "fast=true").returncode == 0
    assert not left.exists() and (home / "runs/one/fold0/model.safetensors").exists()


def test_runs_of_two_competitions(home: Path) -> None:
    shutil.copytree(home / "runs/one", home / "runs/two")
    config, done = home / "runs/two/config.yaml", home / "runs/two/fold0/done.json"
    config.write_text(re.sub(r"^competition: .*", "competition: tgs-salt", config.read_text(), flags=re.M))
    record = json.loads(done.read_text())
    record["settings"]["competition"] = record["competition"] = "tgs-salt"
    done.write_text(json.dumps(record))
    line = refused(home, "submit", "--ensemble", "runs/one", "runs/two")
    assert "tgs-salt: two" in line and "--competition NAME" in line


def test_no_usable_run(home: Path) -> None:
    (home / "runs/foreign").mkdir()
    (home / "runs/file.txt").write_text("")
    (home / "runs/one/fold0/done.json").unlink()
    line = refused(home, "submit", "--ensemble", "runs/foreign", "runs/file.txt", "runs/one")
    assert "no usable run" in line and "no finished fold" in line


def test_other_things_among_runs_are_skipped(home: Path) -> None:
    (home / "runs/foreign").mkdir()
    (home / "runs/file.txt").write_text("")
    done = segfold(home, "submit", "--ensemble", "runs/foreign", "runs/file.txt", "runs/one", "--name", "again")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("skipped") == 2
    assert (home / "submissions/again.csv").read_bytes() == (home / "submissions/good.csv").read_bytes()


def rows(home: Path) -> list[str]:
    return (home / "submissions/good.csv").read_text().splitlines()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lines: lines[:-1], "id"),
        (lambda lines: [*lines[:-1], lines[-1].split(",")[0] + ",1 5 3 4"], "overlap"),
        (lambda lines: [*lines[:-1], lines[-1].split(",")[0] + ",720 20"], "728"),
    ],
    ids=["missing id", "overlap", "outside"],
)
def test_bad_csv(home: Path, change, expected: str) -> None:  # type: ignore[no-untyped-def]
    (home / "bad.csv").write_text("\n".join(change(rows(home))) + "\n")
    assert expected in refused(home, "check-csv", "bad.csv", "--competition", "configs/competitions/small.yaml")


def test_good_csv(home: Path) -> None:
    done = segfold(home, "check-csv", "submissions/good.csv", "--competition", "configs/competitions/small.yaml")
    assert done.returncode == 0 and "good, 6 images" in done.stdout


def test_touching_runs_are_a_remark(home: Path) -> None:
    lines = rows(home)
    (home / "touching.csv").write_text("\n".join([*lines[:-1], lines[-1].split(",")[0] + ",1 5 6 4"]) + "\n")
    small = ("--competition", "configs/competitions/small.yaml")
    done = segfold(home, "check-csv", "touching.csv", *small)
    assert done.returncode == 0 and not done.stderr
    remark, good = done.stdout.splitlines()
    assert "run 1 touches the next one" in remark and "good, 6 images" in good
    done = segfold(home, "score", "touching.csv", "--truth", "submissions/good.csv", *small)
    assert done.returncode == 0, done.stderr


def test_changed_data_under_a_run(home: Path) -> None:
    path = next((home / "data/small/train/images").glob("im*.png"))
    write_image(path, 255 - cv2.imread(str(path)))
    assert "other data" in refused(home, "submit", "--ensemble", "runs/one")


def test_unknown_verb() -> None:
    done = small_project.segfold(Path(), "trian")
    assert done.returncode == 2 and "did you mean train?" in done.stderr


def test_nothing_but_our_line_on_a_jpeg_that_is_damaged_inside(home: Path) -> None:
    shutil.copytree(home / "data/small", home / "given", ignore=shutil.ignore_patterns("cache"))
    path = home / "given/train/images/im002t.png"
    rng = np.random.default_rng(0)
    path.write_bytes(DAMAGES["half and the end"](written(picture(rng), "jpeg"), rng))
    done = segfold(home, "data", "--from", "given", "--force", "--competition", "configs/competitions/small.yaml")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "im002t.png is damaged: its decoder says 'Corrupt JPEG data: premature end of data segment'" in done.stderr


def test_import_names_every_problem(home: Path) -> None:
    """Twelve broken files: the line names some and counts all, the list above it has each."""
    shutil.copytree(home / "data/small", home / "given", ignore=shutil.ignore_patterns("cache"))
    broken = sorted((home / "given/train/images").glob("*.png"))[:12]
    for path in broken:
        path.write_bytes(b"not a PNG")
    done = segfold(home, "data", "--from", "given", "--force", "--competition", "configs/competitions/small.yaml")
    assert done.returncode == 2 and "12 problems" in done.stderr and len(done.stderr.splitlines()) == 1
    assert all(path.name in done.stdout for path in broken)
    assert segfold(home, *TRAIN, "--run", "one", "fast=true").returncode == 0
