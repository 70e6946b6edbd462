"""What is wrong with a competition's files or a submission is said in one line, with exit code 2, by the whole command."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from competition_sets_more import MAKERS
from forked import segfold
from small_project import ROOT

Home = Path


def first(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


def an_rgb_mask(home: Home) -> str:
    """Of a set whose masks have palettes, one is saved as the picture that the palette makes of it."""
    path = first(home / "download", "SegmentationClass/*.png")
    Image.open(path).convert("RGB").save(path)
    return path.name


def a_class_index_beyond(home: Home) -> str:
    path = first(home / "download", "SegmentationClass/*.png")
    image = Image.open(path)
    values = np.asarray(image).copy()
    values[0, 0] = 11
    other = Image.fromarray(values)
    other.putpalette(image.getpalette())
    other.save(path)
    return path.name


def a_line_without_its_file(home: Home) -> str:
    with (home / "download/ImageSets/Segmentation/train.txt").open("a") as file:
        file.write("0016E5_00390\n")
    return "0016E5_00390"


def an_unknown_option(home: Home) -> str:
    path = home / "configs/competitions/camvid.yaml"
    path.write_text(path.read_text() + "rle_order: row\n")
    return "camvid.yaml"


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Home]:
    """A working folder with a competition's file and its tiny set, not imported."""

    def made(name: str) -> Home:
        (tmp_path / "configs/competitions").mkdir(parents=True)
        text = (ROOT / "configs/competitions" / f"{name}.yaml").read_text()
        (tmp_path / "configs/competitions" / f"{name}.yaml").write_text(text)
        (tmp_path / "download").mkdir()
        MAKERS[name](tmp_path / "download", np.random.default_rng(3))
        return tmp_path

    return made


def refused(home: Home, *arguments: str) -> str:
    """The one line that a refused command prints."""
    done = segfold(home, *arguments)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("decoding")]
    assert len(lines) == 1 and "Traceback" not in done.stderr, lines
    return lines[0]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (an_rgb_mask, ["is an RGB picture of", "expected class indices, grey or in a palette", "mask_colours"]),
        (a_class_index_beyond, ["holds class index 11", "expected 0 to 10", "or void (255)"]),
        (
            a_line_without_its_file,
            ["train.txt: 0016E5_00390 has no file JPEGImages/0016E5_00390.jpg", "remove the line"],
        ),
        (an_unknown_option, ["layout voc has no option rle_order (nearest: ", "configs/competitions/camvid.yaml: "]),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_set_that_cannot_be_read(spoil: Callable[[Home], str], said: list[str], make: Callable[[str], Home]) -> None:
    home = make("camvid")
    named = spoil(home)
    line = refused(home, "data", "--competition", "camvid", "--from", "download")
    assert named in line and all(part in line for part in said), line
    assert not (home / "data/camvid").exists()


def test_a_submission_key_that_names_no_class(make: Callable[[str], Home]) -> None:
    home = make("severstal-steel")
    this = ("--competition", "severstal-steel")
    assert segfold(home, "data", *this, "--from", "download").returncode == 0
    header, row, *rest = (home / "truth.csv").read_text().splitlines()
    wrong = row.replace(".jpg_1,", ".jpg_7,")
    (home / "bad.csv").write_text("\n".join([header, wrong, *rest]) + "\n")
    key = wrong.partition(",")[0]
    for arguments in (("check-csv", "bad.csv"), ("score", "bad.csv", "--truth", "truth.csv")):
        line = refused(home, *arguments, *this)
        assert f"1 row: {key} of no class of the competition, whose classes are 1, 2, 3, 4" in line, line


def test_a_sample_whose_key_names_no_class_is_not_imported(make: Callable[[str], Home]) -> None:
    """It would be found out by ``submit`` only, after the training."""
    home = make("severstal-steel")
    sample = home / "download/sample_submission.csv"
    sample.write_text(sample.read_text().replace(".jpg_4,", ".jpg_7,"))
    line = refused(home, "data", "--competition", "severstal-steel", "--from", "download")
    assert "sample_submission.csv, column ImageId_ClassId: " in line and "_7, … (4 in all)" in line, line
    assert "expected {id}.jpg_{class} with a class of 1, 2, 3, 4" in line, line
