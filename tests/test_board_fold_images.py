"""A fold's images on the board: the masks that its scores are of, or none and the reason."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_run import change_json
from scored_fold import DATA, ScoredFold, competition, images_of, scored_fold
from segfold.board.fold_images import FoldImages, fold_images, fold_key
from segfold.board.masks import SIDE, unpack
from segfold.board.run_curves import run_curves
from segfold.board.script import read_script, write_script
from segfold.competition import Competition
from segfold.config import check_experiment
from segfold.yaml_file import parse_yaml
from small_project import EXPERIMENT, fold_job, make_project, train

ODD = [(7, 5), (1, 1), (30, 41), (2, 60), (64, 33), (9, 9), (1, 12), (50, 50)]
KINDS: dict[str, Competition] = {
    "binary": competition("binary", ["salt"]),
    "multiclass": competition("multiclass", ["sky", "road", "car"], "miou", background=0, void=255),
    "multilabel": competition("multilabel", ["cat", "dog", "fish"], "dice"),
}
BINARY = KINDS["binary"]


def made(fold: ScoredFold, data: bool = True, done: dict[str, Any] | None = None) -> FoldImages:
    return fold_images(fold.folder, done or fold.done, None, fold.competition, fold.images if data else None)


def record_of(fold: ScoredFold, data: bool = True) -> dict[str, Any]:
    found = made(fold, data)
    assert found.record is not None and found.reason is None, found.reason
    return found.record


def table_of(fold: ScoredFold) -> list[dict[str, str]]:
    with fold.folder.scores.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("data", [True, False], ids=["data", "no data"])
@pytest.mark.parametrize("sets", [["model"], ["snapshot1", "snapshot2", "snapshot3"]], ids=["one", "mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_those_of_the_store_that_was_scored(kind: str, sets: list[str], data: bool, tmp_path: Path) -> None:
    images = images_of(KINDS[kind].task, ODD)
    fold = scored_fold(tmp_path, KINDS[kind], images, rows=[1, 2, 4, 5, 6, 7], fold=3, sets=sets, made=["model", *sets])
    record = record_of(fold, data)
    assert (record["run"], record["fold"]) == ("made", 3)
    assert record["ids"] == [str(images.ids[row]) for row in fold.rows] == fold.done["held_out"]
    for place, mask in enumerate(fold.masks):
        assert np.array_equal(unpack(record["masks"], place), mask)


def test_what_the_settings_ask_for_is_shown_where_a_fold_does_not_say_it(tmp_path: Path) -> None:
    fold = scored_fold(tmp_path, BINARY, images_of(BINARY.task, ODD), sets=["swa"], made=["model", "swa"])
    change_json(fold.folder.done, predicted_with=None, settings=None)
    predict = {"weights": ["swa"], "tta": ["identity", "hflip"]}
    experiment = check_experiment(parse_yaml(EXPERIMENT, "") | {"predict": predict, "swa": {}}, "")
    found = fold_images(fold.folder, fold.done, experiment, BINARY, fold.images)
    assert found.record is not None
    assert np.array_equal(unpack(found.record["masks"], 2), fold.masks[2])
    alone = made(fold)
    assert alone.record is None and "does not say" in str(alone.reason)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_table_and_areas_those_of_the_masks(kind: str, tmp_path: Path) -> None:
    task = KINDS[kind].task
    fold = scored_fold(tmp_path, KINDS[kind], images_of(task, ODD))
    record, table = record_of(fold), table_of(fold)
    for name in ("precision", "iou", "dice"):
        assert record["scores"][name] == [float(line[name]) for line in table]
    for place, (line, truth) in enumerate(zip(table, fold.truths)):
        mask = unpack(record["masks"], place)
        valid = truth != 255 if task.exclusive else np.ones(truth.shape, bool)
        for index, each in enumerate(task.classes):
            there = mask == index if task.exclusive else mask >> index & 1 == 1
            named = "predicted_area" if len(task.classes) == 1 else f"predicted_area:{each}"
            assert np.count_nonzero(there & valid) == int(line[named])


@pytest.mark.parametrize("kind", KINDS)
def test_coverage_is_the_share_of_true_objects(kind: str, tmp_path: Path) -> None:
    task = KINDS[kind].task
    fold = scored_fold(tmp_path, KINDS[kind], images_of(task, ODD))
    shares = [np.mean((truth != 0) & (truth != 255)) for truth in fold.truths]
    assert record_of(fold)["coverage"] == pytest.approx(shares, abs=1e-6)
    without = record_of(fold, data=False)["coverage"]
    if kind == "multilabel":  # classes may overlap, so areas do not say it
        assert without == [None] * len(shares)
    else:
        assert without == pytest.approx(shares, abs=1e-6)


def test_a_large_mask_is_shown_with_fewer_pixels_and_counted_whole(tmp_path: Path) -> None:
    fold = scored_fold(tmp_path, BINARY, images_of(BINARY.task, [(2 * SIDE + 5, 31), (12, 13)], seed=3))
    record = record_of(fold)
    assert record["masks"]["step"] == [3, 1]
    assert np.array_equal(unpack(record["masks"], 0), fold.masks[0][::3, ::3])
    assert np.array_equal(unpack(record["masks"], 1), fold.masks[1])
    # The check against scores.csv is of the whole mask.
    assert int(table_of(fold)[0]["predicted_area"]) == fold.masks[0].sum()


def test_the_record_is_a_script_and_the_sums_are_json(tmp_path: Path) -> None:
    fold = scored_fold(tmp_path, BINARY, images_of(BINARY.task, ODD))
    found = made(fold)
    write_script(tmp_path / "x.js", "images/made-fold0", found.record)
    assert read_script(tmp_path / "x.js") == ("images/made-fold0", found.record)
    assert json.loads(json.dumps(found.sums, allow_nan=False)) == found.sums


def test_without_data_there_are_no_sums(tmp_path: Path) -> None:
    fold = scored_fold(tmp_path, BINARY, images_of(BINARY.task, ODD))
    with_data, without = made(fold), made(fold, data=False)
    assert without.sums is None and with_data.sums is not None
    assert with_data.record is not None and without.record is not None
    assert (
        with_data.record["masks"] == without.record["masks"] and with_data.record["scores"] == without.record["scores"]
    )


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-6])


def turned_over(path: Path) -> None:
    """The same number of bytes, all of them others."""
    path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))


def place(fold: ScoredFold) -> Path:
    return fold.folder.predictions("model", "identity+hflip")


def other_scores(fold: ScoredFold) -> None:
    """As of a store that predicts one pixel more of an image."""
    lines = table_of(fold)
    lines[2]["predicted_area"] = str(int(lines[2]["predicted_area"]) + 1)
    with fold.folder.scores.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def other_meta(fold: ScoredFold, **values: str) -> None:
    entry = json.loads((place(fold) / "meta.json").read_text())["oof"]
    change_json(place(fold) / "meta.json", oof=entry | {"meta": entry["meta"] | values})


DAMAGE: dict[str, tuple[Callable[[ScoredFold], Any], str]] = {
    "no store": (lambda fold: (place(fold) / "meta.json").unlink(), "oof.u16 is not there"),
    "no codes": (lambda fold: (place(fold) / "oof.u16").unlink(), "oof.u16 is damaged or unfinished"),
    "codes cut off": (lambda fold: cut(place(fold) / "oof.u16"), "is damaged or unfinished"),
    "other codes": (lambda fold: turned_over(place(fold) / "oof.u16"), "is damaged or unfinished"),
    "other table": (lambda fold: cut(place(fold) / "oof.csv"), "is damaged or unfinished"),
    "torn meta": (lambda fold: cut(place(fold) / "meta.json"), "is damaged or unfinished"),
    "meta of text": (lambda fold: change_json(place(fold) / "meta.json", oof="x"), "is damaged or unfinished"),
    "other weights": (lambda fold: change_json(fold.folder.done, weights={"model": "0" * 64}), "other weights"),
    "predicted anew with others": (lambda fold: other_meta(fold, weights="0" * 64), "other weights"),
    "predicted on other data": (lambda fold: other_meta(fold, data="0" * 64), "other data"),
    "other images": (lambda fold: change_json(fold.folder.done, held_out=["a", "b"]), "oof.u16 holds other images"),
    "no such weights": (lambda fold: change_json(fold.folder.done, predicted_with=["swa"]), "no weights named swa"),
    "weights that are no names": (lambda fold: change_json(fold.folder.done, predicted_with=[1]), "does not say"),
    "scores of another store": (other_scores, "scores.csv is of other predictions"),
    "no scores": (lambda fold: fold.folder.scores.unlink(), "scores.csv is not there"),
    "scores cut off": (lambda fold: cut(fold.folder.scores), "scores.csv"),
    "empty scores": (lambda fold: fold.folder.scores.write_text(""), "scores.csv cannot be read"),
    "scores of bytes": (lambda fold: fold.folder.scores.write_bytes(b"\xff\x00"), "scores.csv cannot be read"),
}


@pytest.mark.parametrize("data", [True, False], ids=["data", "no data"])
@pytest.mark.parametrize("case", DAMAGE)
def test_what_is_not_what_was_scored_is_not_shown(case: str, data: bool, tmp_path: Path) -> None:
    fold = scored_fold(tmp_path, BINARY, images_of(BINARY.task, ODD))
    damage, said = DAMAGE[case]
    key, kept = key_of_fold(fold), {path: path.read_bytes() for path in fold.folder.path.rglob("*") if path.is_file()}
    damage(fold)
    found = made(fold, data)
    assert found.record is None and found.sums is None
    assert said in str(found.reason) and "\n" not in str(found.reason)
    assert key_of_fold(fold) != key
    for path, content in kept.items():
        path.write_bytes(content)
    assert made(fold, data).record is not None and key_of_fold(fold) == key


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_scores_of_another_store_are_seen_of_several_classes_too(kind: str, tmp_path: Path) -> None:
    fold = scored_fold(tmp_path, KINDS[kind], images_of(KINDS[kind].task, ODD))
    text = fold.folder.scores.read_text().splitlines()
    name = text[0].split(",").index(f"predicted_area:{KINDS[kind].classes[1]}")
    line = text[3].split(",")
    line[name] = "99999"
    fold.folder.scores.write_text("\n".join([*text[:3], ",".join(line), *text[4:]]) + "\n")
    assert "is of other predictions" in str(made(fold).reason)
    assert "is of other predictions" in str(made(fold, data=False).reason)


def test_one_of_several_sets_that_is_gone_leaves_no_mean(tmp_path: Path) -> None:
    fold = scored_fold(tmp_path, BINARY, images_of(BINARY.task, ODD), sets=["snapshot1", "snapshot2"])
    (fold.folder.predictions("snapshot2", "identity+hflip") / "meta.json").unlink()
    assert made(fold).record is None


def test_data_that_has_changed_is_not_drawn_under_old_masks(tmp_path: Path) -> None:
    fold = scored_fold(tmp_path, BINARY, images_of(BINARY.task, ODD))
    key = key_of_fold(fold)
    changed = images_of(BINARY.task, ODD, seed=1, fingerprint="e" * 64)
    found = fold_images(fold.folder, fold.done, None, BINARY, changed)
    assert found.record is None and "other data" in str(found.reason)
    assert fold_key(fold.folder, fold.done, None, BINARY, changed) != key


def test_a_competition_with_other_classes_is_refused(tmp_path: Path) -> None:
    fold = scored_fold(tmp_path, KINDS["multilabel"], images_of(KINDS["multilabel"].task, ODD))
    other = competition("multilabel", ["cat", "dog"], "dice")
    assert "other classes" in str(fold_images(fold.folder, fold.done, None, other, None).reason)


def key_of_fold(fold: ScoredFold, **changes: Any) -> str:
    arguments = {"competition": fold.competition, "train": fold.images} | changes
    return fold_key(fold.folder, fold.done, None, **arguments)


def test_the_key_follows_all_that_the_files_are_made_from(tmp_path: Path) -> None:
    images = images_of(BINARY.task, ODD)
    fold = scored_fold(tmp_path, BINARY, images)
    depths = images.extra + 1
    keys = [
        key_of_fold(fold),
        key_of_fold(fold, train=None),
        key_of_fold(fold, train=images_of(BINARY.task, ODD, extra=depths)),
        key_of_fold(fold, competition=competition("binary", ["salt"], "iou")),
        key_of_fold(fold, competition=competition("binary", ["salt"], {"dice": {"empty": "skip"}})),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of_fold(fold) == keys[0]
    assert key_of_fold(fold, competition=competition("binary", ["salt"], title="Another title")) == keys[0]
    assert images.fingerprint == DATA


def test_a_fold_that_was_trained_is_shown(tmp_path: Path) -> None:
    job = fold_job(make_project(tmp_path))
    done = train(job)
    found = fold_images(job.folder, done, job.experiment, job.competition, job.images)
    assert found.record is not None and found.sums is not None, found.reason
    assert found.record["ids"] == done["held_out"]
    threshold = run_curves("here", job.competition, {0: found.sums})["threshold"]
    assert threshold["folds"]["0"][threshold["thresholds"].index(0.5)] == done["score"]
