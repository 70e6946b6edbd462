"""The training set as the board tells it: facts, masks, pictures of every kind of competition."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from board_jpegs import read, thumb
from competition_sets_more import MAKERS
from forked import segfold
from segfold.board.kept import Kept
from segfold.board.script import read_script
from segfold.board.sets import write_set
from segfold.competition import load_competition
from segfold.data.images import load_split
from segfold.tasks import Multiclass, Multilabel, Task
from small_images import image_set, store
from small_project import make_project


def runs_to_mask(packed: dict[str, Any], index: int, shape: tuple[int, int]) -> np.ndarray:
    """A mask from its run lengths, pixel by pixel."""
    first = sum(packed["counts"][:index])
    pixels: list[int] = []
    for place in range(first, first + packed["counts"][index]):
        value = (place - first) % 2 if packed["values"] is None else packed["values"][place]
        pixels += [value] * packed["lengths"][place]
    return np.array(pixels).reshape(shape)


def test_the_training_set_is_told_as_it_is(tmp_path: Path) -> None:
    home = make_project(tmp_path)
    competition = load_competition("configs/competitions/small.yaml", home)
    train = load_split(competition, "train", home)
    files = home / "runs" / "board-files"
    assert write_set(Kept(files), files, competition, train) == "sets/small/train"
    _, value = read_script(files / "sets/small/train.js")
    assert value["ids"] == sorted(path.stem for path in (home / "data/small/train/images").iterdir())
    assert (value["height"], value["width"], value["groups"], value["tables"]) == (28, 26, None, {})
    for number, name in enumerate(value["ids"]):
        mask = np.asarray(Image.open(home / f"data/small/train/masks/{name}.png").convert("L")) > 0
        assert (runs_to_mask(value["truth"], number, (28, 26)) == mask).all()
        assert value["coverage"][number] == round(float(mask.mean()), 6)
        assert value["areas"]["disc"][number] == mask.sum()
        image = np.asarray(Image.open(home / f"data/small/train/images/{name}.png").convert("RGB")).astype(int)
        assert np.abs(read(files / value["pictures"] / f"{number:05}.jpg") - image).mean() < 8
        assert np.abs(thumb(files, value, number)[8:56, 8:56].mean() - image[3:24, 3:23].mean()) < 12


@pytest.mark.parametrize("task", [Multiclass(("road", "sky", "car"), 0), Multilabel(("a", "b", "c"))])
def test_classes_sizes_groups_and_tables(task: Task, tmp_path: Path) -> None:
    stream = np.random.default_rng(0)
    shapes = [(9, 14), (20, 6), (5, 5)]
    masks = [stream.integers(0, 3 if task.exclusive else 8, shape, np.uint8) for shape in shapes]
    if task.exclusive:
        masks[1][:2] = 255  # void
    depths = [0.1 + 0.2, 5.0, 1e-9]
    train = replace(
        image_set(3, groups=np.array(["x", "", "x"], object)),
        images=store([stream.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]),
        masks=store(masks, masks=True),
        task=task,
        areas=None,
        extra=pd.DataFrame({"depth": depths[::-1]}, index=["002", "001", "000"]),
    )
    competition = load_competition("tgs-salt")
    write_set(Kept(tmp_path), tmp_path, competition, train)
    _, value = read_script(tmp_path / "sets/tgs-salt/train.js")
    assert (value["height"], value["width"], value["groups"]) == ([9, 20, 5], [14, 6, 5], ["x", "", "x"])
    assert value["tables"] == {"depth": depths}
    for number, mask in enumerate(masks):
        assert (runs_to_mask(value["truth"], number, shapes[number]) == mask).all()
        for index, name in enumerate(task.classes):
            has = mask == index if task.exclusive else mask >> index & 1
            assert value["areas"][name][number] == has.sum()


def test_a_set_is_written_anew_when_something_of_it_changes(tmp_path: Path) -> None:
    competition = load_competition("tgs-salt")
    tables = [pd.DataFrame({"depth": [1.0, 2.0, last]}, index=["000", "001", "002"]) for last in (3.0, 3.0, 4.0)]
    kept = Kept(tmp_path)
    for table, made in zip(tables, (2, 0, 1)):
        kept.made.clear()
        write_set(kept, tmp_path, competition, image_set(3, (12, 10), extra=table))
        assert len(kept.made) == made
    write_set(kept, tmp_path, competition, image_set(3, (12, 10), extra=tables[-1], fingerprint="other"))
    assert len(kept.made) == 3  # pictures and all


@pytest.mark.parametrize("name", ["uw-madison-gi", "hubmap-kidney", "dsb-2018", "pascal-voc-2012"])
def test_competitions_of_several_kinds(name: str, tmp_path: Path) -> None:
    """16 bits in one channel, tiled TIFFs, several sizes with an alpha channel, classes with void."""
    (tmp_path / "download").mkdir()
    made = MAKERS[name](tmp_path / "download", np.random.default_rng(3))
    assert segfold(tmp_path, "data", "--competition", name, "--from", "download").returncode == 0
    competition = load_competition(name)
    script = write_set(Kept(tmp_path), tmp_path, competition, load_split(competition, "train", tmp_path))
    _, value = read_script(tmp_path / f"{script}.js")
    assert value["ids"] == sorted(made.masks) and value["height"]
    for number, image_id in enumerate(value["ids"]):
        mask = made.masks[image_id]
        assert (runs_to_mask(value["truth"], number, mask.shape) == mask).all()
        picture = read(tmp_path / value["pictures"] / f"{number:05}.jpg")
        assert picture.shape[:2] == mask.shape
        if image_id in made.images:
            found, wanted = means(picture), means(np.broadcast_to(made.images[image_id], picture.shape))
            if made.images[image_id].dtype == np.uint8:
                assert np.abs(found - wanted).max() < 16
            else:  # of the 65,536 values about a fifth is used
                assert (
                    np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.97 and found.mean() > 1.5 * wanted.mean() / 257
                )


def means(image: np.ndarray) -> np.ndarray:
    """Of each 8×8 pixels: JPEG keeps the grain of noise less well."""
    height, width = (side // 8 for side in image.shape[:2])
    return image[: height * 8, : width * 8].reshape(height, 8, width, 8, -1).mean(axis=(1, 3), dtype=float)
