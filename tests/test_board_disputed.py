"""Test images on which submitted ensembles disagree: votes by brute force, masks of the file and of each member."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from made_run import change_json, made_run
from oof_sets import BINARY, THREE, TWO, stored
from segfold import road
from segfold.board import disputed as module
from segfold.board.disputed import write_disputed
from segfold.board.kept import Kept
from segfold.board.masks import unpack
from segfold.board.script import read_script
from segfold.board.votes import disagreement
from segfold.competition import Competition, load_competition
from segfold.data.images import load_split
from segfold.errors import SegfoldError
from segfold.files import read_json
from segfold.runs.folder import RunFolder
from segfold.store import MeanStore, open_store
from segfold.store.writer import StoreWriter
from segfold.submission.blended import SubmissionOptions
from segfold.submission.write import write_submission
from small_project import make_project
from tiny_competition import brute_force_rle

Images = dict[str, np.ndarray]
"""C×H×W codes, or H×W masks, by id."""

SIDES = [(20, 30), (31, 8), (1, 5)]


def smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 14 * np.stack([cv2.GaussianBlur(plane, (0, 0), 4) for plane in rng.standard_normal(shape)])


def networks(count: int, images: int, classes: int, sides: Sequence[tuple[int, int]] = SIDES) -> list[Images]:
    """What some networks say of the same scenes; classes that exclude each other are as much at odds."""
    rng = np.random.default_rng(0)
    made: list[Images] = [{} for _ in range(count)]
    for number in range(images):
        shape = (classes, *sides[number % len(sides)])
        scene, apart = smooth(rng, shape), rng.random()
        for each in made:
            logits = scene + apart * smooth(rng, shape)
            each[f"é{images - number}"] = (65535 / (1 + np.exp(-3 * logits))).astype(np.uint16)
    return made


def votes(task: Any, networks: Sequence[np.ndarray]) -> float:
    """By the formula, pixel by pixel."""
    classes, count = len(task.classes), len(networks)
    if task.exclusive:
        said = np.stack([codes.argmax(axis=0) for codes in networks])
        most = np.max([(said == label).mean(axis=0) for label in range(classes)], axis=0)
        return float((1 - most).mean() * classes / (classes - 1))
    share = np.sum([codes >= 32768 for codes in networks], axis=0) / count
    return float((4 * share * (1 - share)).mean())


@pytest.mark.parametrize("block", [1 << 22, 900, 100, 1])
@pytest.mark.parametrize("task", [BINARY, TWO, THREE])
def test_votes_are_counted_as_the_formula_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Any, block: int
) -> None:
    monkeypatch.setattr("segfold.board.votes._BLOCK", block)
    made = networks(5, 10, len(task.classes))
    stores = []
    for number, images in enumerate(made):
        names = sorted(
            images, key=lambda name: hash((number, len(name), name[-1]))
        )  # each store in an order of its own
        stores.append(stored(tmp_path, f"run{number}", names, [images[name] for name in names]).stores[0])
    found = disagreement(stores, task)
    wanted = [votes(task, [images[name] for images in made]) for name in stores[0].ids]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)
    assert np.ptp(found) > 0.05
    assert (disagreement(stores[:1], task) == 0).all() and (disagreement([stores[0]] * 3, task) == 0).all()


def test_an_even_split_is_1(tmp_path: Path) -> None:
    yes, no = np.full((1, 4, 5), 40000, np.uint16), np.zeros((1, 4, 5), np.uint16)
    stores = [stored(tmp_path, f"{n}", ["a"], [codes]).stores[0] for n, codes in enumerate((yes, no, yes, no))]
    assert disagreement(stores, BINARY).tolist() == [1]
    each = [np.eye(3, dtype=np.uint16)[label][:, None, None] * np.full((4, 5), 9, np.uint16) for label in range(3)]
    assert disagreement(
        [stored(tmp_path, f"c{n}", ["a"], [c]).stores[0] for n, c in enumerate(each)], THREE
    ).tolist() == [1]


def competition(task: Any, **more: Any) -> Competition:
    values = {"name": "made", "title": "Made", "layout": "kaggle-rle", "task": task.name, "classes": task.classes}
    return Competition.model_validate({**values, "metric": "dice", **more})


def add_store(home: Path, run: str, fold: int, images: Images, weights: str = "model", data: str = "data") -> str:
    """A fold's predictions of the test set; returns the hash of its weights."""
    digest = hashlib.sha256(f"{run} {fold} {weights}".encode()).hexdigest()
    folder = RunFolder(home / "runs" / run).fold(fold).predictions(weights, "identity+hflip")
    shapes = [codes.shape for codes in images.values()]
    with StoreWriter(folder, "test", list(images), shapes, {"weights": digest, "data": data}) as writer:
        for name, codes in images.items():
            writer.append(name, codes)
        writer.finish()
    return digest


def add_submission(
    home: Path, name: str, made: Competition, members: Mapping[str, Mapping[int, Sequence[str]]], masks: Images
) -> None:
    """A file with its manifest, of runs by their folds and sets of weights."""
    listed = [
        {
            "member": run,
            "run": f"runs/{run}",
            "folds": list(folds),
            "weights": {
                str(fold): {each: hashlib.sha256(f"{run} {fold} {each}".encode()).hexdigest() for each in sets}
                for fold, sets in folds.items()
            },
            "tta": ["identity", "hflip"],
        }
        for run, folds in members.items()
    ]
    details = {"recipe": name, "members": listed, "data": {"train": "t", "test": "data"}, "cv": None}
    path = home / "submissions" / name
    write_submission(path, masks.items(), made, list(masks), lambda file: [], details)


def built(home: Path, made: Competition, kept: Kept | None = None) -> dict[str, Any]:
    files = home / "runs/board-files"
    name = write_disputed(Kept(files) if kept is None else kept, files, home, made)
    assert name == f"sets/{made.name}/disputed"
    found, value = read_script(files / f"{name}.js")
    assert found == name
    return dict(value)


def masks_in(record: Mapping[str, Any], name: str) -> Images:
    """By id."""
    (found,) = [each for each in record["masks"] if each["name"] == name]
    return {record["ids"][image]: unpack(found["masks"], place) for place, image in enumerate(found["images"])}


FORMS: list[tuple[Any, dict[str, Any], str]] = [
    (BINARY, {}, ".csv"),
    (BINARY, {"submission": {"rows": "instance", "order": "row", "relative": True, "empty": "-1"}}, ".csv"),
    (TWO, {"submission": {"rows": "class", "key": "{id}.jpg_{class}"}}, ".csv"),
    (THREE, {"background": 0, "submission": {"rows": "class", "class_column": "what"}}, ".csv"),
    (THREE, {"submission": {"form": "png"}}, ".zip"),
    (BINARY, {"submission": {"form": "png"}}, ".zip"),
]


@pytest.mark.parametrize(("task", "more", "suffix"), FORMS)
def test_masks_of_the_file_and_of_each_member(tmp_path: Path, task: Any, more: dict[str, Any], suffix: str) -> None:
    made = competition(task, **more)
    said = networks(4, 8, len(task.classes))
    for place, (run, fold, weights) in enumerate(
        [("a", 0, "model"), ("a", 1, "model"), ("b", 3, "swa"), ("b", 3, "best")]
    ):
        add_store(tmp_path, run, fold, said[place], weights)
    rng = np.random.default_rng(1)
    masks: Images = {}
    for name, codes in said[0].items():
        planes = smooth(rng, codes.shape)
        masks[name] = planes.argmax(axis=0).astype(np.uint8) if task.exclusive else made.task.mask(planes > 0.3)
    add_submission(
        tmp_path, f"try{suffix}", made, {"a": {0: ["model"], 1: ["model"]}, "b": {3: ["swa", "best"]}}, masks
    )
    record = built(tmp_path, made)
    mean = {name: (said[2][name].astype(int) + said[3][name] + 1) // 2 for name in said[0]}
    networks_of = [said[0], said[1], mean]
    scores = {name: votes(task, [images[name] for images in networks_of]) for name in said[0]}
    assert record["ids"] == sorted(scores, key=lambda name: (-scores[name], name)) and record["networks"] == 3
    np.testing.assert_allclose(record["disagreement"], sorted(scores.values(), reverse=True), atol=1e-6)
    shapes = [said[0][name].shape[1:] for name in record["ids"]]
    assert list(zip(record["height"], record["width"])) == shapes
    assert record["thumbs"] is None and record["pictures"] is None and record["left_out"] == []
    assert [(each["name"], each["kind"]) for each in record["masks"]] == [
        (f"try{suffix}", "submission"), ("a", "run"), ("b", "run"),
    ]  # fmt: skip
    halves = {name: (said[0][name].astype(int) + said[1][name] + 1) // 2 for name in said[0]}
    for label, images in (("a", halves), ("b", mean)):
        for name, mask in masks_in(record, label).items():
            codes = images[name]
            if task.exclusive:
                wanted = codes.argmax(axis=0)
            else:
                wanted = sum((plane >= 32768).astype(int) << bit for bit, plane in enumerate(codes))
            np.testing.assert_array_equal(mask, wanted)
    found = masks_in(record, f"try{suffix}")
    assert found.keys() == masks.keys()
    for name, mask in masks.items():
        np.testing.assert_array_equal(found[name], mask)


def test_masks_that_are_submitted_in_another_size_lie_on_the_images(tmp_path: Path) -> None:
    made = competition(BINARY, submission={"size": [10, 15]})
    (said,) = networks(1, 3, 1, [(20, 30)])
    add_store(tmp_path, "a", 0, said)
    masks = {name: np.kron(smooth(np.random.default_rng(2), (1, 10, 15))[0] > 0.2, np.ones((2, 2))) for name in said}
    add_submission(tmp_path, "try.csv", made, {"a": {0: ["model"]}}, {name: each > 0 for name, each in masks.items()})
    found = masks_in(built(tmp_path, made), "try.csv")
    for name, mask in masks.items():
        assert found[name].shape == (20, 30) and np.mean(found[name] != mask) < 0.05


def test_what_is_gone_or_was_made_anew_is_left_out_by_name(tmp_path: Path) -> None:
    made, said = competition(BINARY), networks(5, 6, 1)
    for number, run in enumerate("abcde"):
        add_store(tmp_path, run, 0, said[number])
    masks = {name: (codes[0] >= 32768).astype(np.uint8) for name, codes in said[0].items()}
    add_submission(tmp_path, "all.csv", made, {run: {0: ["model"]} for run in "abcde"}, masks)
    assert built(tmp_path, made)["left_out"] == []
    shutil.rmtree(tmp_path / "runs/b")
    store = RunFolder(tmp_path / "runs/c").fold(0).predictions("model", "identity+hflip")
    with (store / "test.u16").open("r+b") as file:
        file.truncate(100)
    anew = RunFolder(tmp_path / "runs/d").fold(0).predictions("model", "identity+hflip")
    change_json(anew / "meta.json", test={**read_json(anew / "meta.json")["test"], "meta": {"weights": "f" * 64}})
    fewer = {name: codes for name, codes in said[4].items() if not name.endswith("1")}
    shutil.rmtree(tmp_path / "runs/e")
    add_store(tmp_path, "e", 0, fewer)
    (tmp_path / "submissions/all.csv").write_text("id,rle_mask\n")
    record = built(tmp_path, made)
    assert [each["name"] for each in record["masks"]] == ["a"] and record["networks"] == 1
    lines = "\n".join(record["left_out"])
    for words in (
        "b fold 0: predictions of the test set are gone", "c fold 0: predictions of the test set are damaged",
        "d fold 0: trained and predicted anew", "e fold 0: predicted on other test images",
        "all.csv: the file has changed",
    ):  # fmt: skip
        assert words in lines
    shutil.rmtree(tmp_path / "runs/a")
    shutil.rmtree(tmp_path / "runs/e")
    record = built(tmp_path, made)
    assert record["ids"] == [] and record["masks"] == [] and len(record["left_out"]) == 6


STRANGE = '{"sha256": "x", "competition": "made", "data": {"test": "d"}, "members": [{"member": 1, "run": 2, "weights": [3]}]}'


@pytest.mark.parametrize("damage", [None, "{", '{"sha256": "x", "competition": "made"}', STRANGE])
def test_without_a_submitted_ensemble_there_is_nothing(tmp_path: Path, damage: str | None) -> None:
    (tmp_path / "submissions").mkdir()
    if damage is not None:
        (tmp_path / "submissions/x.json").write_text(damage)
    files = tmp_path / "runs/board-files"
    assert write_disputed(Kept(files), files, tmp_path, competition(BINARY)) is None


def test_the_most_disputed_are_shown_and_room_ends_with_the_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, said = competition(BINARY), networks(3, 30, 1)
    for fold, images in enumerate(said):
        add_store(tmp_path, "a", fold, images)
    masks = {name: np.zeros(codes.shape[1:], np.uint8) for name, codes in said[0].items()}
    add_submission(tmp_path, "try.csv", made, {"a": {0: ["model"], 1: ["model"], 2: ["model"]}}, masks)
    monkeypatch.setattr(module, "MOST", 7)
    record = built(tmp_path, made)
    scores = {name: votes(BINARY, [images[name] for images in said]) for name in said[0]}
    assert record["ids"] == sorted(scores, key=lambda name: (-scores[name], name))[:7]
    assert [each["images"] for each in record["masks"]] == [list(range(7))] * 2
    monkeypatch.setattr(module, "_RUNS", 120)
    less = built(tmp_path, made)
    (submitted, run) = less["masks"]
    assert submitted["images"] == list(range(7)) and run["images"] == list(range(len(run["images"])))
    assert 0 < len(run["images"]) < 7 and sum(run["masks"]["counts"]) <= 60 + len(run["images"])


def test_the_newest_ensembles_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segfold.board.submitted.NEWEST", 2)
    made, said = competition(BINARY), networks(4, 4, 1)
    masks = {name: (codes[0] >= 32768).astype(np.uint8) for name, codes in said[0].items()}
    for number, run in enumerate("abcd"):
        add_store(tmp_path, run, 0, said[number])
    for hour, (name, runs) in enumerate(
        [("older", "ac"), ("old", "ab"), ("mid", "cd"), ("again", "ba"), ("last", "cd")]
    ):
        add_submission(tmp_path, f"{name}.csv", made, {run: {0: ["model"]} for run in runs}, masks)
        masks = {each: np.roll(mask, 3, axis=1) for each, mask in masks.items()}  # no two files are alike
        change_json(tmp_path / f"submissions/{name}.json", created=f"2026-01-01T0{hour}:00:00+00:00")
    record = built(tmp_path, made)
    assert [each["name"] for each in record["masks"]] == ["last.csv", "again.csv", "c", "d", "b", "a"]
    assert record["networks"] == 4


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that were submitted together, with the data."""
    home = make_project(tmp_path_factory.mktemp("disputed"))
    rng = np.random.default_rng(3)
    for seed, run in enumerate("ab"):
        painted = {name: smooth(rng, (1, 28, 26))[0] for name in [f"t{number}" for number in range(40)]}

        def paint(name: str, mask: Any, fold: int, painted: Any = painted) -> np.ndarray:
            seen = painted[f"t{(fold * 17 + sum(name.encode())) % 40}"]
            return 1 / (1 + np.exp(-4 * (seen if mask is None else 4 * mask - 2 + 0.3 * seen)))

        made_run(home, run, f"seed={seed}", paint=paint)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(home)  # so that the manifest says runs/a, wherever this is copied to
        road.submit([Path("runs/a"), Path("runs/b")], SubmissionOptions(weights="equal", name="mix"))
    return home


@pytest.fixture
def home(project: Path, tmp_path: Path) -> Path:
    shutil.copytree(project, tmp_path / "home")
    return tmp_path / "home"


def test_pictures_and_masks_of_a_submission_of_the_road(home: Path) -> None:
    made = load_competition("small", home)
    record, files = built(home, made), home / "runs/board-files"
    test = load_split(made, "test", home)
    assert sorted(record["ids"]) == test.ids.tolist() and record["networks"] == 4
    folders = [home / f"runs/{run}/fold{fold}/pred" for run in "ab" for fold in (0, 1)]
    stores = [open_store(next(folder.iterdir()), "test", None) for folder in folders]
    scores = [votes(BINARY, [store.codes(store.rows[name]) for store in stores if store]) for name in record["ids"]]
    np.testing.assert_allclose(record["disagreement"], scores, atol=1e-6)
    assert scores[0] > scores[-1] > 0
    assert (record["height"], record["width"]) == (28, 26) and record["thumbs"]["side"] == 64
    assert all((files / sheet).is_file() for sheet in record["thumbs"]["sheets"])
    for place, name in enumerate(record["ids"]):
        with Image.open(files / record["pictures"] / f"{place:05}.jpg") as picture:
            shown = np.asarray(picture.convert("L")).astype(float)
        image = test.images[int(test.position([name])[0])][:, :, 0].astype(float)
        assert np.corrcoef(shown.ravel(), image.ravel())[0, 1] > 0.9
    lines = (home / "submissions/mix.csv").read_text().splitlines()[1:]
    texts = dict(line.split(",") for line in lines)
    for name, mask in masks_in(record, "mix.csv").items():
        assert brute_force_rle(mask) == texts[name]


def test_nothing_is_made_again_but_for_what_changed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    made, files = load_competition("small", home), home / "runs/board-files"
    kept = Kept(files)
    record = built(home, made, kept)
    assert len(kept.made) == 3
    kept.save()
    kept = Kept(files)
    assert built(home, made, kept) == record and kept.made == []
    assert kept.remove_unused() == [] and (files / record["pictures"]).is_dir()
    options = SubmissionOptions(weights="equal", name="other", threshold=0.2, steps=())
    road.submit([Path("runs/a"), Path("runs/b")], options)
    kept = Kept(files)
    other = built(home, made, kept)
    assert kept.made == ["sets/small/disputed.js"], "the votes are those of before"
    assert [each["name"] for each in other["masks"]] == ["other.csv", "a", "b"]
    assert other["disagreement"] == record["disagreement"] and other["pictures"] == record["pictures"]


def test_without_data_or_with_other_data_there_are_masks_alone(home: Path) -> None:
    made = load_competition("small", home)
    record = built(home, made)
    (image,) = list((home / "data/small/test/images").glob("00*.png"))
    original = image.read_bytes()
    with Image.open(image) as picture:
        Image.fromarray(255 - np.asarray(picture)).save(image)
    changed = built(home, made)
    assert changed["pictures"] is None and changed["thumbs"] is None and changed["masks"] == record["masks"]
    assert "other test images" in changed["left_out"][0]
    image.write_bytes(original)
    shutil.rmtree(home / "data")
    alone = built(home, made)
    assert (alone["thumbs"], alone["pictures"], alone["tables"], alone["left_out"]) == (None, None, {}, [])
    for same in ("ids", "disagreement", "height", "width", "masks", "networks"):
        assert alone[same] == record[same]


def test_a_test_image_that_has_gone_leaves_masks_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = load_competition("small", home)
    record = built(home, made)
    shutil.rmtree(home / "runs/board-files")

    def gone(*_: object) -> None:
        raise SegfoldError("data/small/test/images/0.tif has gone")

    monkeypatch.setattr("segfold.board.pictures.small_picture", gone)
    found = built(home, made)
    assert found["pictures"] is None and found["masks"] == record["masks"]
    assert found["left_out"] == ["the pictures: data/small/test/images/0.tif has gone"]


def test_the_mean_over_sets_is_that_of_the_store(tmp_path: Path) -> None:
    made = networks(3, 4, 1)
    stores = [stored(tmp_path, f"{n}", list(images), list(images.values())).stores[0] for n, images in enumerate(made)]
    mean = {name: ((2 * sum(images[name].astype(int) for images in made) + 3) // 6) for name in made[0]}
    found = disagreement([MeanStore(stores), stores[0]], BINARY)
    np.testing.assert_allclose(found, [votes(BINARY, [mean[name], made[0][name]]) for name in stores[0].ids])
