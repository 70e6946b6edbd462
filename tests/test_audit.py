"""`segfold audit` from the command line, on data of which it is known what is wrong with it."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from made_run import made_run
from segfold.audit.whole import agreement, find_folds
from segfold.cli import main
from segfold.competition import load_competition
from segfold.data.images import load_split
from segfold.files import read_json
from segfold.tasks import Binary, Multiclass
from small_project import make_project
from tiny_competition import write_image

Audit = Callable[..., tuple[int, str, str]]


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def picture(folder: Path, name: str) -> np.ndarray:
    return np.asarray(cv2.imread(str(folder / f"{name}.png")))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 training images, of which ``im005t`` is ``im004t`` mirrored in another light, ``im001t`` is black, a test image is
    one of them; and the mask of ``im007t`` is gone."""
    home = make_project(tmp_path_factory.mktemp("audit"))
    train, test = (home / "data" / "small" / split / "images" for split in ("train", "test"))
    first = picture(train, "1e004t")
    write_image(train / "im005t.png", (first[:, ::-1] * 0.7 + 20).astype(np.uint8))
    write_image(train / "im001t.png", np.zeros_like(first))
    write_image(test / "im002t.png", picture(train, "im010t"))
    masks = home / "data" / "small" / "train" / "masks"
    for name in ("im001t", "im007t"):
        write_image(masks / f"{name}.png", np.zeros((28, 26), np.uint8))
    (home / "data" / "small" / "train.csv").unlink()
    return home


@pytest.fixture
def audit(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Audit:
    monkeypatch.chdir(home)
    monkeypatch.setenv("COLUMNS", "220")

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["audit", *arguments])
        return code, *capsys.readouterr()

    return run


def test_what_is_wrong_is_found_and_grouped(home: Path, audit: Audit) -> None:
    assert main(["folds", "--competition", "small"]) == 0
    code, out, err = audit("--competition", "small")
    assert code == 0, err
    folder = home / "audit" / "small"
    assert [row["id"] for row in rows(folder / "constant.csv")] == ["im001t"]
    alike = {row["id"]: row for row in rows(folder / "alike.csv")}
    assert alike.keys() == {"1e004t", "im005t", "im010t", "im002t"}
    assert alike["im005t"]["nearest"] == "1e004t" and alike["im005t"]["flip"] == "hflip"
    assert float(alike["im005t"]["correlation"]) > 0.99
    groups = {row["id"]: row["group"] for row in rows(folder / "groups.csv")}
    assert len(groups) == 20 and groups["im005t"] == groups["1e004t"] != "" and groups["1e008t"] == ""
    figures = read_json(folder / "audit.json")
    assert figures["constant"] == {"train": 1, "train_with_mask": 0, "test": 0}
    assert figures["alike"]["test_like_train"] == 1 and figures["labels"] is None
    assert "1 training, none with a mask; 0 test" in out and "in 2 groups of up to 2" in out
    assert "1 of 6 test images have one in the training set" in out
    assert cv2.imread(str(folder / "alike.png")).ndim == 3
    assert not (folder / "labels.csv").exists()


def test_its_groups_keep_a_group_in_one_fold(home: Path, audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    assert audit("--competition", "small")[0] == 0
    text = (home / "configs/competitions/small.yaml").read_text()
    grouped = text.replace("name: small", "name: small\ngroups: {file: groups.csv, column: group, id_column: id}")
    (home / "data/small/groups.csv").write_bytes((home / "audit/small/groups.csv").read_bytes())
    (home / "grouped.yaml").write_text(grouped)
    images = load_split(load_competition("grouped.yaml", home), "train", home)
    assert images.groups is not None
    inside = images.position(["1e004t", "im005t"])
    assert len(set(images.groups[inside])) == 1 and (images.groups == "").sum() >= 16
    code, *_ = audit("--competition", "grouped.yaml", "--out", "again")
    assert code == 0 and rows(home / "again/groups.csv") == rows(home / "audit/small/groups.csv")


def test_labels_that_all_runs_contradict(home: Path, audit: Audit) -> None:
    def truthful(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
        if mask is not None and name == "im007t":
            mask = np.zeros_like(mask)
            mask[8:18, 8:18] = 1
        return np.full((28, 26), 0.2) if mask is None else np.where(mask > 0, 0.95, 0.05)

    def doubting(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
        found = truthful(name, mask, fold)
        return 1 - found if name == "1e008t" else found

    made_run(home, "good", paint=truthful)
    made_run(home, "other", "seed=1", paint=doubting)
    file = "configs/competitions/small.yaml"
    code, out, err = audit("runs/good", "runs/other", "--competition", file, "--out", "found")
    assert code == 0, err
    (row,) = rows(home / "found/labels.csv")
    assert (row["id"], row["kind"], row["mask"], row["all_runs"]) == ("im007t", "only in the runs", "0", "100")
    assert float(row["suspicion"]) == pytest.approx(90 / (100 + 28 * 26 / 1000), abs=1e-3)
    assert "1 in 1 images, of" in out and "2 runs are sure of something else" in out
    assert cv2.imread(str(home / "found/labels.png")).ndim == 3
    assert read_json(home / "found/audit.json")["labels"]["runs"] == ["good", "other"]
    # The next audit, without runs, leaves no labels of another one behind.
    assert audit("--competition", "small", "--out", "found")[0] == 0
    assert not (home / "found/labels.csv").exists() and not (home / "found/labels.png").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--competition", "smal"], "did you mean small?"),
        (["--competition", "small", "--alike", "1.5"], "expected a number above 0, up to 1"),
        (["--competition", "small", "--folds", "no.csv"], "no fold file"),
        (["runs/none"], "no usable run among runs/none"),
    ],
)
def test_what_cannot_be_done_is_one_line(audit: Audit, arguments: list[str], says: str) -> None:
    code, _, err = audit(*arguments)
    assert code == 2 and says in err and len(err.splitlines()) == 1


def test_folds_are_the_split_or_the_file_that_is_there(home: Path, tmp_path: Path) -> None:
    competition = load_competition("small", home)
    train = load_split(competition, "train", home)
    assert find_folds(competition, train, tmp_path) is None
    (tmp_path / "folds").mkdir()
    lines = [f"{name},{row % 3}" for row, name in enumerate(train.ids)]
    (tmp_path / "folds" / "small-3.csv").write_text("\n".join(["id,fold", *lines]) + "\n")
    found = find_folds(competition, train, tmp_path)
    assert found is not None and found.tolist() == [row % 3 for row in range(20)]


def test_how_far_masks_agree() -> None:
    rng = np.random.default_rng(0)
    one, other = (rng.integers(0, 2, (6, 5)).astype(np.uint8) for _ in range(2))
    binary = Binary(("x",))
    assert agreement(binary, one, other) == (one & other).sum() / (one | other).sum()
    assert agreement(binary, one, one) == agreement(binary, one * 0, one * 0) == 1
    assert agreement(binary, one, 1 - one) == 0
    classes = np.array([[0, 1, 2, 255]], np.uint8)
    others = np.array([[0, 1, 1, 2]], np.uint8)
    assert agreement(Multiclass(("a", "b", "c")), classes, others) == 2 / 3
    assert agreement(Multiclass(("a", "b", "c"), 0), classes, others) == 1 / 2
