"""Thumbnails and pictures of the board, read back with Pillow."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from board_jpegs import read, thumb
from large_competition import make_competition
from segfold.board import pictures
from segfold.board.kept import Kept
from segfold.board.pictures import COLUMNS, NEUTRAL, ROWS, THUMB, write_pictures
from segfold.competition import load_competition
from segfold.data.geometry.window import Window
from segfold.data.images import load_split
from segfold.errors import SegfoldError
from segfold.layouts import large
from small_images import image_set, store

RED, GREEN, BLUE, WHITE = (220, 30, 40), (20, 200, 60), (30, 50, 210), (255, 255, 255)


def quarters(height: int, width: int) -> np.ndarray:
    """H×W×3: red and green above, blue and white below; turned or mirrored it is another picture."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = RED, GREEN
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = BLUE, WHITE
    return image


def written(
    folder: Path, arrays: list[np.ndarray], rows: list[int] | None = None
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What was said, and the pictures as Pillow reads them."""
    images = image_set(len(arrays), images=store(arrays), masks=False)
    chosen = list(range(len(arrays))) if rows is None else rows
    said = write_pictures(Kept(folder), folder, "sets/x/train", images, chosen, "k")
    return said, [read(folder / said["pictures"] / f"{number:05}.jpg") for number in range(len(chosen))]


def near(found: np.ndarray, wanted: object, most: int = 12) -> bool:
    return bool(np.abs(found - np.asarray(wanted, int)).max() <= most)


def test_colours_and_orientation_are_those_of_the_image(tmp_path: Path) -> None:
    said, (picture,) = written(tmp_path, [quarters(80, 120)])
    small = thumb(tmp_path, said, 0)
    assert picture.shape == (80, 120, 3)
    for found, places in ((picture, (10, 60, 20, 100)), (small, (16, 46, 12, 52))):
        top, bottom, left, right = places
        assert near(found[top, left], RED) and near(found[top, right], GREEN)
        assert near(found[bottom, left], BLUE) and near(found[bottom, right], WHITE)
    assert near(small[:8], NEUTRAL, 20) and near(small[-8:], NEUTRAL, 20)  # 64×43 in the middle of 64×64


def test_each_image_lies_where_the_page_looks_for_it(tmp_path: Path) -> None:
    count = COLUMNS * ROWS + 3
    arrays = [np.full((9, 7 + number % 3, 1), 40 + number * 7 % 200, np.uint8) for number in range(count)]
    rows = list(range(count))[::-1]
    said, found = written(tmp_path, arrays, rows)
    assert len(said["thumbs"]["sheets"]) == 2
    assert all(read(tmp_path / name).shape == (ROWS * THUMB, COLUMNS * THUMB, 3) for name in said["thumbs"]["sheets"])
    for place in (0, 1, COLUMNS, COLUMNS * ROWS - 1, COLUMNS * ROWS, count - 1):
        value = int(arrays[rows[place]][0, 0, 0])
        assert near(found[place], value, 2) and found[place].shape[:2] == arrays[rows[place]].shape[:2]
        assert near(thumb(tmp_path, said, place)[:, 20:44], value, 3)
    assert near(thumb(tmp_path, said, COLUMNS * ROWS + 3), NEUTRAL, 3)  # nothing lies there


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (900, 2), (101, 101), (700, 1300)])
def test_any_shape_keeps_the_ratio_of_its_sides(shape: tuple[int, int], tmp_path: Path) -> None:
    said, (picture,) = written(tmp_path, [np.full((*shape, 1), 230, np.uint8)])
    scale = min(1, 512 / max(shape))
    assert picture.shape[:2] == tuple(max(1, round(side * scale)) for side in shape)
    small = thumb(tmp_path, said, 0)
    bright = (small > 180).all(axis=2)
    wanted = [max(1, round(side * THUMB / max(shape))) for side in shape]
    found = int(bright.any(axis=1).sum()), int(bright.any(axis=0).sum())
    assert all(abs(each - side) <= 2 for each, side in zip(found, wanted))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
def test_the_first_three_channels_are_the_colours(channels: int, tmp_path: Path) -> None:
    image = np.concatenate([np.full((24, 30, 1), 20 + 55 * number % 230, np.uint8) for number in range(channels)], 2)
    _, (picture,) = written(tmp_path, [image])
    wanted = image[0, 0, :3] if channels >= 3 else image[0, 0, :1].repeat(3)
    assert near(picture, wanted, 4)


def test_a_black_image_stays_black_and_grey_has_no_colour(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (40, 40, 1), np.uint8).repeat(3, axis=2)
    _, (black, noise) = written(tmp_path, [np.zeros((40, 40, 3), np.uint8), grey])
    assert not black.any()
    assert (noise[..., 0] == noise[..., 1]).all() and np.abs(noise - grey).mean() < 12


def test_sixteen_bits_are_stretched_all_alike(tmp_path: Path) -> None:
    ramp = np.arange(10_000).reshape(100, 100, 1)
    first, second = (5000 + ramp / 10).astype(np.uint16), (5000 + ramp / 20).astype(np.uint16)
    first[0, 0], second[0, 0] = 65535, 0  # a dead pixel each, which must not decide
    _, found = written(tmp_path, [first, second])
    # The thousandth part of both together is black, and as much white.
    low, high = np.percentile(np.concatenate([first.ravel(), second.ravel()]), [0.1, 99.9])
    for picture, image in zip(found, (first, second)):
        wanted = (255 * (image[:, :, 0].astype(float) - low) / (high - low)).clip(0, 255)
        assert np.abs(picture[5:, :, 0] - wanted[5:]).mean() < 3
    assert found[0].max() > 240 and 110 < found[1][5:].max() < 145


@pytest.mark.parametrize(("value", "spot"), [(0, 0), (700, 700), (700, 900), (0, 65535)])
def test_sixteen_bits_of_nearly_one_value(value: int, spot: int, tmp_path: Path) -> None:
    image = np.full((100, 100, 1), value, np.uint16)
    image[3, 3] = spot
    _, (picture,) = written(tmp_path, [image])
    assert near(picture[20:], round(255 * value / 65535) if value == spot else 0, 3)
    assert (picture[3, 3, 0] > 100) == (spot > value)


def test_the_same_images_make_the_same_bytes(tmp_path: Path) -> None:
    arrays = [np.random.default_rng(number).integers(0, 256, (33, 21, 3), np.uint8) for number in range(5)]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, _ = written(tmp_path / "a", arrays)
    two, _ = written(tmp_path / "b", arrays)
    assert one == two
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.jpg"))
    assert len(files) == 6
    assert all((tmp_path / "a" / each).read_bytes() == (tmp_path / "b" / each).read_bytes() for each in files)


def test_pictures_of_many_images_are_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    arrays = [noise] * 120
    said, found = written(tmp_path, arrays)
    assert {picture.shape for picture in found} == {(300, 200, 3)}
    size = sum(path.stat().st_size for path in (tmp_path / said["pictures"]).glob("0*.jpg"))
    monkeypatch.setattr(pictures, "MOST", size // 2)
    less, found = written(tmp_path, arrays)
    assert less != said and {picture.shape for picture in found} == {(192, 128, 3)}
    assert sum(path.stat().st_size for path in (tmp_path / less["pictures"]).glob("0*.jpg")) <= size // 2


def test_what_is_there_is_kept_and_a_new_set_takes_another_name(tmp_path: Path) -> None:
    images = image_set(3, (12, 10))
    kept = Kept(tmp_path)
    said = write_pictures(kept, tmp_path, "sets/x/train", images, [0, 1, 2], "k")
    kept.save()
    again = Kept(tmp_path)
    assert write_pictures(again, tmp_path, "sets/x/train", images, [0, 1, 2], "k") == said and again.made == []
    other = write_pictures(again, tmp_path, "sets/x/train", images, [2, 1, 0], "k")
    assert other["pictures"] != said["pictures"] and again.made == [other["pictures"]]
    assert again.remove_unused() == []  # both were asked for
    again.save()
    last = Kept(tmp_path)
    write_pictures(last, tmp_path, "sets/x/train", images, [2, 1, 0], "k")
    assert last.remove_unused() == [said["pictures"]] and not (tmp_path / said["pictures"]).exists()
    assert write_pictures(last, tmp_path, "sets/x/train", images, [], "k") == {"thumbs": None, "pictures": None}


def test_nothing_is_left_of_what_could_not_be_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = image_set(3, (12, 10))
    left = tmp_path / "sets" / "x" / "train.part"
    left.mkdir(parents=True)
    (left / "old.jpg").write_bytes(b"of a build that was killed")

    def fail(i: int, window: Window) -> np.ndarray:
        raise SegfoldError("image 1 cannot be read")

    monkeypatch.setattr(images.images, "window", fail)
    with pytest.raises(SegfoldError, match="cannot be read"):
        write_pictures(Kept(tmp_path), tmp_path, "sets/x/train", images, [0, 1, 2], "k")
    assert list((tmp_path / "sets" / "x").iterdir()) == []
    monkeypatch.undo()
    said = write_pictures(Kept(tmp_path), tmp_path, "sets/x/train", images, [0, 1, 2], "k")
    names = sorted(path.name for path in (tmp_path / said["pictures"]).iterdir())
    assert names == ["00000.jpg", "00001.jpg", "00002.jpg", "thumbs-0.jpg"]


def test_images_in_place_are_read_by_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "LARGE", 1 << 16)
    home = make_competition(tmp_path, [(3000, 2500), (640, 900)], [(300, 300)])
    train = load_split(load_competition(str(home / "configs/competitions/large.yaml")), "train", home)
    most: list[int] = []
    read_window = type(train.images).window

    def watched(self: Any, i: int, window: Window) -> np.ndarray:
        most.append(window.height * window.width)
        return read_window(self, i, window)

    monkeypatch.setattr(type(train.images), "window", watched)
    monkeypatch.setattr(type(train.images), "__getitem__", None)
    said = write_pictures(Kept(tmp_path), tmp_path, "sets/large/train", train, [0, 1], "k")
    monkeypatch.undo()
    assert max(most) <= 640 * 900  # the large one never as a whole
    found = read(tmp_path / said["pictures"] / "00000.jpg")
    assert found.shape == (512, 427, 3)
    wanted = np.asarray(
        Image.fromarray(train.images[0][:, :, 0].astype(np.float32)).resize((427, 512), Image.Resampling.BOX)
    )
    assert np.corrcoef(found[:, :, 0].ravel(), wanted.ravel())[0, 1] > 0.9
    assert found.std() > 20  # of the 65,536 values a few thousand are used
