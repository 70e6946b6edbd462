"""What the board says of the data: histograms by fold, and an audit that is read back."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from made_run import made_run
from segfold.board.data_tab import SHOWN, SHOWN_OF_GROUP, data_record
from segfold.cli import main
from segfold.competition import Competition, load_competition
from segfold.data.images import ImageSet, load_split
from segfold.tasks import Multiclass, Multilabel
from small_images import image_set, store
from small_project import make_project
from tiny_competition import write_image


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with folds, a run, near-duplicates in both splits, a mask that is gone, and an audit."""
    home = make_project(tmp_path_factory.mktemp("audited"))
    train, test = (home / "data" / "small" / split / "images" for split in ("train", "test"))
    pixels = np.asarray(Image.open(train / "1e004t.png").convert("RGB"))
    write_image(train / "im005t.png", (pixels[:, ::-1] * 0.7 + 20).astype(np.uint8))
    shutil.copy(train / "im010t.png", test / "im002t.png")
    write_image(home / "data" / "small" / "train" / "masks" / "im007t.png", np.zeros((28, 26), np.uint8))
    (home / "data" / "small" / "train.csv").unlink()

    def paint(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
        wanted = np.zeros((28, 26)) if mask is None else mask.astype(float)
        if name == "im007t":
            wanted[8:20, 8:20] = 1
        return np.where(wanted > 0, 0.95, 0.05)

    made_run(home, "one", paint=paint)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main(["folds", "--competition", "small", "--k", "2"]) == 0
        assert main(["audit", "runs/one"]) == 0
    return home


@pytest.fixture
def home(audited: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(audited, tmp_path / "home")
    return tmp_path / "home"


def small(home: Path) -> tuple[Competition, ImageSet]:
    competition = load_competition("configs/competitions/small.yaml", home)
    return competition, load_split(competition, "train", home)


def said(home: Path) -> dict[str, Any]:
    return data_record(home, *small(home), 6)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def masks_of(home: Path) -> dict[str, np.ndarray]:
    folder = home / "data" / "small" / "train" / "masks"
    return {path.stem: np.asarray(Image.open(path).convert("L")) > 0 for path in folder.iterdir()}


def test_histograms_count_every_image_of_its_fold(home: Path) -> None:
    found, masks = said(home), masks_of(home)
    fold_of = {row["id"]: int(row["fold"]) for row in rows(home / "folds" / "small-2.csv")}
    assert (found["fold_file"], found["fold_problem"], found["folds"]) == ("folds/small-2.csv", None, [0, 1])
    assert found["images"] == {"train": 20, "test": 6} and found["classes"]["names"] == ["disc"]
    for fold in (0, 1):
        inside = [masks[name] for name in masks if fold_of[name] == fold]
        wanted = [0] * 11
        for mask in inside:
            wanted[next(place for place in range(11) if 10 * mask.sum() <= place * mask.size)] += 1
        assert found["coverage"]["counts"][fold] == wanted
        assert found["classes"]["images"][fold] == [sum(mask.any() for mask in inside)]
        assert found["classes"]["pixels"][fold] == [sum(mask.sum() for mask in inside)]
    assert found["coverage"]["names"][:3] == ["empty", "0 to 10 %", "10 to 20 %"]
    json.dumps(found, allow_nan=False)


def test_without_folds_there_is_one_row_and_folds_of_other_data_are_told(home: Path) -> None:
    file = home / "folds" / "small-2.csv"
    file.write_text(file.read_text().replace("im005t", "im999t"))
    other = said(home)
    assert "im005t" in other["fold_problem"] and other["folds"] is None and other["fold_file"] is None
    file.unlink()
    none = said(home)
    assert none["fold_problem"] is None and none["folds"] is None
    for found in (other, none):
        assert np.shape(found["coverage"]["counts"]) == (1, 11) and np.sum(found["coverage"]["counts"]) == 20


@pytest.mark.parametrize("task", [Multiclass(("road", "sky", "car"), 0), Multilabel(("a", "b", "c"))])
def test_classes_and_a_split_of_ones_own(task: Any, tmp_path: Path) -> None:
    stream = np.random.default_rng(1)
    masks = [stream.integers(0, 3 if task.exclusive else 8, (6, 5), np.uint8) for _ in range(8)]
    masks[3][:] = 0
    plain = image_set(8, (6, 5))
    held_out = np.arange(8) % 3 == 0
    train = ImageSet(
        **{**vars(plain), "masks": store(masks, masks=True), "areas": None, "task": task, "held_out": held_out}
    )
    (tmp_path / "folds").mkdir()
    (tmp_path / "folds" / "tgs-salt-5.csv").write_text("id,fold\nof other,0\nimages,1\n")
    found = data_record(tmp_path, load_competition("tgs-salt"), train, None)
    assert (found["fold_file"], found["folds"], found["images"]["test"]) == (None, ["train", 0], None)
    for row, inside in enumerate((~held_out, held_out)):
        has = [
            [(mask == index) if task.exclusive else (mask >> index & 1 > 0) for index in range(3)]
            for mask, wanted in zip(masks, inside)
            if wanted
        ]
        assert found["classes"]["images"][row] == np.any(has, axis=(2, 3)).sum(axis=0).tolist()
        assert found["classes"]["pixels"][row] == np.sum(has, axis=(0, 2, 3)).tolist()


def test_an_audit_is_read_back(home: Path) -> None:
    found = said(home)
    audit, folder = found["audit"], home / "audit" / "small"
    assert found["audit_problem"] is None and audit["summary"] == json.loads((folder / "audit.json").read_text())
    pairs = {frozenset(image["id"] for image in group["images"]): group for group in audit["alike"]}
    assert pairs.keys() == {frozenset({"1e004t", "im005t"}), frozenset({"im010t", "im002t"})}
    first = next(image for image in pairs[frozenset({"1e004t", "im005t"})]["images"] if image["id"] == "im005t")
    row = next(row for row in rows(folder / "alike.csv") if row["id"] == "im005t")
    assert first == {
        "id": "im005t",
        "split": "train",
        "fold": row["fold"],
        "correlation": float(row["correlation"]),
        "masks_agree": float(row["masks_agree"]),
    }
    test = next(image for image in pairs[frozenset({"im010t", "im002t"})]["images"] if image["id"] == "im002t")
    assert (test["split"], test["fold"], test["masks_agree"]) == ("test", "", None)
    assert [group["size"] for group in audit["alike"]] == [2, 2]
    label = audit["labels"][0]
    assert (label["id"], label["class"], label["kind"]) == ("im007t", "disc", "only in the runs")
    assert label["contradicted"] == 144 and label["suspicion"] > 0.5
    assert len(audit["labels"]) == len(rows(folder / "labels.csv"))
    assert audit["made"].endswith("Z") and len(audit["made"]) == 20


def test_an_audit_without_labels_and_none_at_all(home: Path) -> None:
    (home / "audit" / "small" / "labels.csv").unlink()
    found = said(home)
    assert found["audit"]["labels"] == [] and found["audit_problem"] is None and found["audit"]["alike"]
    shutil.rmtree(home / "audit")
    found = said(home)
    assert found["audit"] is None and found["audit_problem"] is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"images": 3}', '{"competition": "small", "images": {"train": 20, "test": 6}}', "\ud800"]
)
def test_a_damaged_summary_is_one_line(text: str, home: Path) -> None:
    (home / "audit" / "small" / "audit.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    found = said(home)
    assert found["audit"] is None and "audit.json" in found["audit_problem"] and "\n" not in found["audit_problem"]
    assert found["coverage"]["counts"]


@pytest.mark.parametrize(("key", "value"), [("competition", "other"), ("images", {"train": 21, "test": 6})])
def test_an_audit_of_other_data_is_one_line(key: str, value: object, home: Path) -> None:
    path = home / "audit" / "small" / "audit.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    found = said(home)
    assert found["audit"] is None and "here are small, 20 and 6" in found["audit_problem"]


@pytest.mark.parametrize("part", ["alike", "labels"])
@pytest.mark.parametrize("damage", ["bytes", "column", "number", "id", "empty"])
def test_a_damaged_table_leaves_the_rest(part: str, damage: str, home: Path) -> None:
    path = home / "audit" / "small" / f"{part}.csv"
    text = path.read_text()
    number = "correlation" if part == "alike" else "suspicion"
    lines = rows(path)
    changed = {
        "bytes": b"\xff\xfe\x00" + text.encode(),
        "column": text.replace(number, "another", 1).encode(),
        "number": text.replace(lines[0][number], "much").encode(),
        "id": text.replace("im007t" if part == "labels" else "im005t", "im999t").encode(),
        "empty": b"",
    }
    path.write_bytes(changed[damage])
    found = said(home)
    assert f"{part}.csv" in found["audit_problem"] and "\n" not in found["audit_problem"]
    assert found["audit"][part] == [] and found["audit"]["labels" if part == "alike" else "alike"]


def test_the_first_of_many_are_shown(home: Path) -> None:
    competition, train = small(home)
    path = home / "audit" / "small" / "alike.csv"
    header = path.read_text().splitlines()[0]
    ends = ",train,0,x,0.9,,,,,,"
    film = [f"0,{name},test,,x,0.9,,,,,," for name in (f"f{number}" for number in range(100))]
    pairs = [f"{number},p{number},test,,x,0.9,,,,,," for number in range(1, 300)]
    path.write_text("\n".join([header, *film, *pairs, f"300,im005t{ends}"]) + "\n")
    labels = home / "audit" / "small" / "labels.csv"
    one = labels.read_text().splitlines()
    labels.write_text("\n".join([one[0], *(one[1].replace(",disc,", f",c{number},") for number in range(500))]) + "\n")
    audit = data_record(home, competition, train, 6)["audit"]
    assert len(audit["alike"]) == len(audit["labels"]) == SHOWN
    assert audit["alike"][0]["size"] == 100 and len(audit["alike"][0]["images"]) == SHOWN_OF_GROUP
    assert audit["alike"][-1]["images"][0]["id"] == f"p{SHOWN - 1}"
