"""Sheets of augmented samples: those of `segfold look`, and those that the board has for its runs."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from segfold.board import samples as sheets
from segfold.board.kept import Kept
from segfold.board.samples import BYTES, draw_samples, write_samples
from segfold.competition import Competition, load_competition
from segfold.config import load_experiment
from segfold.data.images import ImageSet, load_split
from segfold.settings import Experiment
from small_project import make_project


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_project(tmp_path)


def small(home: Path) -> tuple[Competition, ImageSet]:
    competition = load_competition("configs/competitions/small.yaml", home)
    return competition, load_split(competition, "train", home)


def experiment(home: Path, *overrides: str) -> Experiment:
    return load_experiment(home / "configs" / "small.yaml", overrides)


def written(home: Path, **runs: Experiment) -> tuple[list[dict[str, Any]], Kept]:
    kept = Kept(home / "runs" / "board-files")
    found = write_samples(kept, home / "runs" / "board-files", *small(home), runs)
    kept.save()
    return found, kept


def test_runs_that_make_their_samples_alike_share_a_sheet(home: Path) -> None:
    runs = {
        "a": experiment(home),
        "b": experiment(home, "stages.warm.lr=1e-4", "batch_size=8", "model.decoder_channels=16"),
        "c": experiment(home, "augment.hflip.p=1"),
        "d": experiment(home, "input.size=64"),
    }
    found, kept = written(home, **runs)
    assert [each["runs"] for each in found] == [["a", "b"], ["c"], ["d"]]
    assert all(each["reason"] is None for each in found) and len({each["file"] for each in found}) == 3
    for each in found:
        path = home / "runs" / "board-files" / each["file"]
        with Image.open(path) as image:
            assert image.format == "JPEG" and min(image.size) > 300
        assert path.stat().st_size <= BYTES
    assert sorted(kept.made) == sorted(each["file"] for each in found)
    again, kept = written(home, **runs)
    assert again == found and kept.made == []
    assert kept.remove_unused() == []


def test_stages_of_another_kind_are_on_the_sheet(home: Path) -> None:
    heights = {}
    for name, overrides in {
        "one": (),
        "crops": ("stages.lovasz.crop=16",),
        "sizes": ("stages.lovasz.size=64",),
        "boxes": ("stages.lovasz.boxes={}",),
        "unused": ("stages.lovasz.crop=16", "stages.lovasz.epochs=0"),
    }.items():
        ((found),), _ = written(home, **{name: experiment(home, *overrides)})
        with Image.open(home / "runs" / "board-files" / found["file"]) as image:
            heights[name] = image.size[1]
        assert found["reason"] is None and ("warm, lovasz" in found["title"]) == (name in ("crops", "sizes", "boxes"))
    assert heights["one"] == heights["unused"] < heights["crops"] == heights["sizes"] == heights["boxes"]


def test_what_cannot_be_drawn_is_a_reason(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {"small": experiment(home, "input.size=16"), "good": experiment(home)}
    found, kept = written(home, **runs)
    assert found[0]["file"] is None and "16" in found[0]["reason"] and "\n" not in found[0]["reason"]
    assert found[1]["file"] in kept.made and found[1]["reason"] is None
    half = experiment(home, "stages.lovasz.boxes={least: 0.9}")
    parts, _ = written(home, half=half)
    assert "none of" in parts[0]["reason"] and (home / "runs" / "board-files" / parts[0]["file"]).exists()
    again, kept = written(home, half=half)
    assert again == parts and parts[0]["file"] in kept.made  # it is tried again, and what there is of it is kept
    assert parts[0]["file"] not in kept.remove_unused()

    def fail(*_: object) -> None:
        raise ZeroDivisionError("of a\nlibrary")

    monkeypatch.setattr(sheets, "draw_samples", fail)
    (broken,), _ = written(home, other=experiment(home, "seed=5"))
    assert broken["file"] is None and broken["reason"] == "ZeroDivisionError: of a\\nlibrary"


def test_a_sheet_stays_small(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,), _ = written(home, a=experiment(home))
    whole = (home / "runs" / "board-files" / first["file"]).stat().st_size
    monkeypatch.setattr(sheets, "BYTES", whole * 2 // 3)
    (less,), _ = written(home, a=experiment(home))
    assert less["file"] != first["file"]
    assert (home / "runs" / "board-files" / less["file"]).stat().st_size <= whole * 2 // 3


def test_drawn_samples_are_what_a_stage_trains_on(home: Path) -> None:
    _, train = small(home)
    still = ("augment.hflip.p=1", "input.random_offset=false")
    drawn = draw_samples(experiment(home, *still), train, "warm", 4, 2)
    assert drawn.images == 4 and drawn.kind == "whole" and len(drawn.pictures) == len(drawn.titles) == 12
    for first in range(0, 12, 3):
        row = list(train.ids).index(drawn.titles[first])
        assert (drawn.pictures[first] == train.images[row]).all()
        for sample, mask in zip(drawn.pictures[first + 1 : first + 3], drawn.masks[first + 1 : first + 3]):
            assert sample.shape == (32, 32, 3)
            assert (sample[2:30, 3:29] == train.images[row][:, ::-1]).all()
            assert (mask[0, 2:30, 3:29] == train.masks[row][:, ::-1]).all()
    assert len({train.coverage[list(train.ids).index(drawn.titles[first])] for first in range(0, 12, 3)}) > 2
    margin = draw_samples(
        experiment(home, "model={name: unet_original, depth: 2, width: 4}", "input.size=68"), train, "warm", 2, 1
    )
    assert margin.pictures[1].shape[:2] == margin.masks[1].shape[1:] and margin.pictures[1].shape[0] < 68
    assert draw_samples(experiment(home, "input.crop=9"), train, "warm", 4, 2).kind == "crop"
    assert draw_samples(experiment(home, "stages.warm.boxes={}"), train, "warm", 4, 2).kind == "box"
