"""Competition files: what is shipped loads, and what does not fit is refused by name."""

from pathlib import Path

import pytest

from segfold.competition import data_folder, load_competition
from segfold.errors import SegfoldError
from segfold.layouts import LAYOUTS
from segfold.tasks import TASKS

GOOD = """
name: mine
title: Mine
slug: mine-2024
layout: kaggle-rle
task: binary
classes: [cell]
metric: dice
"""


def write(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / "configs" / "competitions" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_shipped_competitions() -> None:
    salt = load_competition("tgs-salt")
    assert (salt.slug, salt.metric, salt.layout.table.order) == (
        "tgs-salt-identification-challenge",
        "precision",
        "column",
    )
    assert salt.tables["depth"].file == "depths.csv"
    assert salt.tables["depth"].column == "z"
    assert salt.solution is None
    synthetic = load_competition("synthetic-salt")
    assert synthetic.solution == "solution.csv"
    same = {"name", "title", "slug", "source", "solution", "leaderboard"}
    assert synthetic.model_dump(exclude=same) == salt.model_dump(exclude=same)


def test_found_in_home_by_name_and_by_path(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert load_competition("mine", tmp_path).classes == ("cell",)
    assert load_competition(str(path)).title == "Mine"
    assert load_competition("configs/competitions/mine.yaml", tmp_path).title == "Mine"
    assert data_folder(load_competition("mine", tmp_path), tmp_path) == tmp_path / "data" / "mine"
    with pytest.raises(SegfoldError):
        load_competition("mine")


def test_home_wins_over_the_repository(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("name: mine", "name: tgs-salt"), "tgs-salt")
    assert load_competition("tgs-salt", tmp_path).title == "Mine"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("train_image: a", "layout kaggle-rle has no option train_image (nearest: train_images)"),
        ("rle_order: diagonal", "rle_order is 'diagonal'"),
        ("test_images: ../../etc", "inside the data folder"),
        ("test_images: /etc", "inside the data folder"),
        ("tables: {depth: {file: ../d.csv, column: z}}", "inside the data folder"),
        ("tables: {depth: {file: d.csv, colum: z}}", "unknown key tables.depth.colum (nearest: column)"),
        ("id_column: ${oc.env:HOME}", "${"),
        ("id_column: [", "not YAML"),
        ("metric: iou", "key 'metric' is there twice"),
        ("mask_column: id", "mask_column and id_column are both 'id'"),
        ("group_column: id", "group_column and id_column are both 'id'"),
        ("tables: {depth: {file: d.csv, column: id}}", "tables.depth.column and id_column are both 'id'"),
        ("image_suffix: /x.png", "image_suffix is '/x.png'"),
        ('id_column: "a\\x1fb"', r"character '\x1f'"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, change: str, said: str) -> None:
    path = write(tmp_path, GOOD + change + "\n")
    with pytest.raises(SegfoldError) as caught:
        load_competition("mine", tmp_path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("good", "change", "said"),
    [
        ("layout: kaggle-rle", "layout: kaggle_rl", "layout is 'kaggle_rl': expected one of {} (nearest: kaggle-rle)"),
        ("layout: kaggle-rle", "layout: [voc]", "layout is ['voc']: "),
        ("task: binary", "task: multi-label", "task is 'multi-label': expected one of {} (nearest: multilabel)"),
        ("task: binary", "task: ''", "task is '': expected one of {} (nearest: "),
    ],
)
def test_the_registries_name_layouts_and_tasks(tmp_path: Path, good: str, change: str, said: str) -> None:
    write(tmp_path, GOOD.replace(good, change).replace("title: Mine", ""))
    with pytest.raises(SegfoldError) as caught:
        load_competition("mine", tmp_path)
    names = LAYOUTS if good.startswith("layout") else TASKS
    assert said.format(", ".join(names)) in str(caught.value) and "title is missing" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "said"), [("[cell, nerve]", "names 2 (cell, nerve)"), ("[]", "names none"), ("['']", "classes.0 is ''")]
)
def test_binary_means_one_class(tmp_path: Path, classes: str, said: str) -> None:
    write(tmp_path, GOOD.replace("[cell]", classes))
    with pytest.raises(SegfoldError) as caught:
        load_competition("mine", tmp_path)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 300 + ".yaml", "a\0b.yaml", "\ud800.yaml"])
def test_names_that_no_file_system_takes(name: str) -> None:
    with pytest.raises(SegfoldError, match=r"File name too long|cannot be a path"):
        load_competition(name)


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    write(tmp_path, GOOD).write_bytes(GOOD.replace("Mine", "Möwe").encode("latin-1"))
    with pytest.raises(SegfoldError, match="not YAML in UTF-8"):
        load_competition("mine", tmp_path)


def test_all_faults_of_a_file_at_once(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("title: Mine", "").replace("metric: dice", "metric: f2"))
    with pytest.raises(SegfoldError, match=r"title is missing.*metric is 'f2'"):
        load_competition("mine", tmp_path)


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", ""])
def test_a_name_is_one_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path, GOOD.replace("name: mine", f"name: '{name}'"))
    with pytest.raises(SegfoldError, match="name is"):
        load_competition("mine", tmp_path)


def test_unknown_competition_names_the_nearest() -> None:
    with pytest.raises(SegfoldError, match="did you mean tgs-salt"):
        load_competition("tgs_sal")
    with pytest.raises(SegfoldError, match=r"known are .*tgs-salt"):
        load_competition("qqqq")
    with pytest.raises(SegfoldError, match=r"no competition file no/such\.yaml"):
        load_competition("no/such.yaml")
