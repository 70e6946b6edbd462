"""Images that are nearly of one kind become so, with a line: alpha that says nothing, grey among colours, 12 bits in 16."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from segfold.cli import main
from segfold.competition import Competition
from segfold.data.images import load_split
from segfold.errors import SegfoldError
from segfold.importing.check import data_problems
from small_project import make_project
from tiny_competition import TINY, TRAIN_IDS, write_tiny


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_tiny(tmp_path / "data" / "tiny")
    return tmp_path


def change(home: Path, ids: tuple[str, ...], how: Callable[[np.ndarray], np.ndarray]) -> None:
    """Rewrites training images; ``how`` takes and gives the channels in OpenCV's order."""
    for key in ids:
        rewrite(home / "data" / "tiny" / "train" / "images" / f"{key}.png", how)


def rewrite(path: Path, how: Callable[[np.ndarray], np.ndarray]) -> None:
    cv2.imwrite(str(path), how(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))


def with_alpha(value: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda image: np.dstack([image, np.full(image.shape[:2], value, image.dtype)])


def first_channel(image: np.ndarray) -> np.ndarray:
    return image[:, :, 0]


def load(home: Path, competition: Competition = TINY) -> tuple[str, list[str]]:
    """The fingerprint of the train split, and what is said when it is decoded."""
    said: list[str] = []
    fingerprint = load_split(competition, "train", home, said.append).fingerprint
    return fingerprint, [line for line in said if not line.startswith("decoding")]


@pytest.mark.parametrize("ids", [TRAIN_IDS, TRAIN_IDS[1:3]])
def test_alpha_of_one_value_is_left_out(home: Path, ids: tuple[str, ...]) -> None:
    plain, said = load(home)
    assert said == []
    change(home, ids, with_alpha(255))
    found, said = load(home)
    assert found == plain
    (line,) = said
    assert (
        line.startswith("train images: alpha is the same all over each image that has it (")
        and f"({len(ids)}: " in line
    )
    assert load(home) == (plain, [])  # said once, when it is decoded
    assert data_problems(TINY, home) == []


def test_alpha_that_varies_is_a_channel(home: Path) -> None:
    change(home, TRAIN_IDS, with_alpha(255))
    change(home, TRAIN_IDS[:1], lambda image: np.dstack([image[:, :, :3], image[:, :, 0]]))
    assert load(home)[1] == []
    assert (load_split(TINY, "train", home).images.shapes[:, 2] == 4).all()
    (problem,) = data_problems(TINY, home)
    assert problem == "train/images: 4×uint8, test/images: 3×uint8: expected the same channels and bits in both"
    change(home, TRAIN_IDS[1:2], lambda image: image[:, :, :3])
    with pytest.raises(SegfoldError, match=r"1e1000\.png is 3×uint8, most images are 4×uint8: expected one kind"):
        load_split(TINY, "train", home)


def test_grey_among_colours_becomes_rgb(home: Path) -> None:
    change(home, TRAIN_IDS[:2], lambda image: image[:, :, :1].repeat(3, axis=2))
    plain, _ = load(home)
    change(home, TRAIN_IDS[:2], first_channel)
    found, said = load(home)
    assert found == plain
    assert said == ["train images: grey among colours: 2: 00123, 1e1000 became RGB"]
    assert data_problems(TINY, home) == []
    change(home, TRAIN_IDS[2:], first_channel)
    assert load_split(TINY, "train", home).images.shapes[0, 2] == 1
    (problem,) = data_problems(TINY, home)
    assert problem.startswith("train/images: 1×uint8, test/images: 3×uint8: expected")


@pytest.mark.parametrize(("factor", "named"), [(16, 4095), (300, 255), (65535, 1)])
def test_a_small_part_of_the_range_is_named(home: Path, factor: int, named: int) -> None:
    change(home, TRAIN_IDS, lambda image: (image.astype(np.uint16) * 257 // factor).astype(np.uint16))
    _, said = load(home)
    (line,) = said
    assert line.startswith("train images: no value is above ") and f"set white: {named} in the competition file" in line
    right = TINY.model_copy(update={"white": named})
    again: list[str] = []
    data = load_split(right, "train", home, again.append)
    assert not any("no value" in line for line in again)
    assert max(int(image.max()) for image in data.images) > 65535 * 0.8


def test_full_range_is_not_remarked_upon(home: Path) -> None:
    change(home, TRAIN_IDS, lambda image: image.astype(np.uint16) * 257)
    assert load(home)[1] == []


def test_an_import_says_what_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_project(tmp_path / "source")
    for path in (source / "data" / "small" / "test" / "images").iterdir():
        rewrite(path, with_alpha(255))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    competition = source / "configs" / "competitions" / "small.yaml"
    assert main(["data", "--competition", str(competition), "--from", str(source / "data" / "small")]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("decoding")]
    assert len(lines) == 1 and lines[0].startswith("test images: alpha is the same"), lines
