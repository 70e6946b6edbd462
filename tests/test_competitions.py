"""Every file of ``configs/competitions``: a tiny set in its layout goes the whole way, and its rows are as by hand."""

import csv
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from competition_sets import TinySet
from competition_sets_more import MAKERS
from forked import segfold
from segfold.competition import data_folder, load_competition
from segfold.data.images import ImageSet, load_split
from segfold.submission.write import write_submission
from small_project import ROOT

NAMES = sorted(path.stem for path in (ROOT / "configs" / "competitions").glob("*.yaml"))
QUICK = ("severstal-steel", "dsb-2018", "pascal-voc-2012")  # a row a class, a row an object, maps as PNG

EXPERIMENT = """\
competition: {name}
folds: {{k: 2}}
input: {{size: 32, fit: resize}}
model: {{name: unet, encoder: test_resnet, weights: none, decoder_channels: 8}}
augment: {{hflip: {{p: 0.5}}}}
batch_size: 4
stages:
  warm: {{epochs: 2, loss: {{mask: {{ce: 1, dice: 1}}}}, lr: 2.0e-3, schedule: onecycle}}
predict: {{batch_size: 8}}
machine: {{device: cpu, precision: fp32, compile: false, threads: 1, workers: 0, progress: false, report: false}}
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_file_says_what_it_is_and_where_that_stands(name: str) -> None:
    competition = load_competition(name)
    path = ROOT / "configs" / "competitions" / f"{name}.yaml"
    comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert competition.name == name and name in MAKERS
    assert competition.source is not None and (competition.source.startswith("http") or name == "synthetic-salt")
    assert competition.metric and len(comment) > 0
    assert name == "synthetic-salt" or re.search("(19|20)[0-9]{2}", comment[0]), "the year"
    assert name == "synthetic-salt" or any("Score" in line for line in comment), "how it is scored"


# The first rows where every pixel is foreground, by the images' sizes; {0} is the first id of the sample.
ALL = {
    "airbus-ships": ["ImageId,EncodedPixels", "{0}.jpg,1 1280", "{1}.jpg,1 1280"],
    "carvana": ["img,rle_mask", "{0}.jpg,1 1280", "{1}.jpg,1 1280"],
    "clouds": ["Image_Label,EncodedPixels", *(f"{{0}}.jpg_{kind},1 183750" for kind in ("Fish", "Flower", "Gravel"))],
    "contrails": ["record_id,encoded_pixels", "{0},1 1280", "{1},1 1280"],
    "dsb-2018": ["ImageId,EncodedPixels", "{0},1 1280", "{1},1 1280"],
    "hubmap-kidney": ["id,predicted", "{0},1 1280", "{1},1 1280"],
    "severstal-steel": [
        "ImageId_ClassId,EncodedPixels",
        *(f"{{0}}.jpg_{n},1 2560" for n in (1, 2, 3, 4)),
        "{1}.jpg_1,1 2560",
    ],
    "siim-pneumothorax": ["ImageId,EncodedPixels", "{0},0 1280", "{1},0 1280"],
    "synthetic-salt": ["id,rle_mask", "{0},1 1280", "{1},1 1280"],
    "tgs-salt": ["id,rle_mask", "{0},1 1280", "{1},1 1280"],
    "uw-madison-gi": [
        "id,class,predicted",
        "{0},large_bowel,1 1280",
        "{0},small_bowel,1 1280",
        "{0},stomach,1 1280",
        "{1},large_bowel,1 1280",
    ],
}


def ok(home: Path, *arguments: str) -> str:
    done = segfold(home, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", [pytest.param(x, marks=[] if x in QUICK else pytest.mark.slow) for x in NAMES])
def test_a_tiny_set_goes_the_whole_way(name: str, tmp_path: Path) -> None:
    download = tmp_path / "download"
    download.mkdir()
    made = MAKERS[name](download, np.random.default_rng(3))
    this = ("--competition", name)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.yaml").write_text(EXPERIMENT.format(name=name))

    ok(tmp_path, "data", *this, "--from", "download")
    competition = load_competition(name)
    compare(load_split(competition, "train", tmp_path), made)
    assert set(load_split(competition, "test", tmp_path).ids) == set(made.test)

    ok(tmp_path, "look", "--config", "configs/tiny.yaml", "--images", "4", "--draws", "2")
    sheet = np.asarray(Image.open(tmp_path / "runs" / "look-tiny.png"))
    assert sheet.std() > 10, "a sheet of one colour"

    ok(tmp_path, "folds", *this, *(() if made.held_out else ("--k", "2")))
    compare_folds(tmp_path, name, made)
    ok(tmp_path, "train", "--config", "configs/tiny.yaml", "--fold", "0", "fast=true")
    ok(tmp_path, "submit", "--ensemble", "runs/tiny-fast", "--name", "out")

    maps = competition.form.form == "png"
    found = f"submissions/out.{'zip' if maps else 'csv'}"
    assert "good" in ok(tmp_path, "check-csv", found, *this)
    if maps:
        with zipfile.ZipFile(tmp_path / found) as zipped:
            assert {Path(each).stem for each in zipped.namelist()} == set(made.test)
    else:
        sample = data_folder(competition, tmp_path) / str(competition.form.sample)
        assert keys(tmp_path / found) == keys(sample)
    truth = str(made.truth.relative_to(tmp_path))
    best = without_void(made.truth) if maps else truth
    assert 0 <= score(ok(tmp_path, "score", found, "--truth", truth, *this)) <= 1
    assert score(ok(tmp_path, "score", best, "--truth", truth, *this)) == 1
    if not maps:
        everything = ("--threshold", "0.00001", "--min-area", "0", "--steps")
        ok(tmp_path, "submit", "--ensemble", "runs/tiny-fast", "--name", "all", *everything)
        lines = (tmp_path / "submissions" / "all.csv").read_text().splitlines()
        wanted = [line.format(*made.test) for line in ALL[name]]
        assert lines[: len(wanted)] == wanted


def score(shown: str) -> float:
    """Of the line that ``segfold score`` prints."""
    return float(shown.partition(" ± ")[0].split()[-1])


def without_void(folder: Path) -> str:
    """Name of a folder beside it with the same maps, of a class wherever they have none: a prediction has no void."""
    filled = folder.with_name("filled")
    filled.mkdir()
    for file in folder.iterdir():
        image = Image.open(file)
        pixels = np.asarray(image)
        assert (pixels == 255).any()
        other = Image.fromarray(np.where(pixels == 255, 1, pixels).astype(np.uint8))
        other.putpalette(image.getpalette())
        other.save(filled / file.name)
    return filled.name


def keys(path: Path) -> set[tuple[str, ...]]:
    """All columns but the last of a table; objects of an image are rows of one key."""
    with path.open(newline="") as file:
        return {tuple(row[:-1]) for row in csv.reader(file)}


def compare(images: ImageSet, made: TinySet) -> None:
    """What was read is what was drawn."""
    assert images.masks is not None and set(images.ids) == set(made.masks)
    for row, name in enumerate(images.ids):
        assert np.array_equal(images.masks[row], made.masks[name]), name
        if name in made.images:
            found, wanted = images.images[row].astype(float), made.images[name]
            assert np.abs(found[..., : wanted.shape[2]] - wanted).max() <= (1 if wanted.max() > 255 else 0), name
            assert found.shape[:2] == wanted.shape[:2]
        if made.objects:
            assert images.instances is not None
            pairs = set(zip(images.instances[row].ravel().tolist(), made.objects[name].ravel().tolist()))
            left, right = zip(*pairs)
            assert len(set(left)) == len(pairs) == len(set(right)) and ((0, 0) in pairs), name
        if made.groups:
            assert images.groups is not None and images.groups[row] == made.groups[name]
        if made.held_out:
            assert images.held_out is not None and images.held_out[row] == (name in made.held_out)


def compare_folds(home: Path, name: str, made: TinySet) -> None:
    """The competition's own validation images are fold 0, and groups stay together."""
    (path,) = (home / "folds").glob("*.csv")
    with path.open(newline="") as file:
        folds = {row["id"]: row["fold"] for row in csv.DictReader(file)}
    if made.held_out:
        assert {each for each, fold in folds.items() if fold == "0"} == made.held_out
    else:
        assert set(folds) == set(made.masks) and set(folds.values()) == {"0", "1"}
    pairs = {(made.groups[each], fold) for each, fold in folds.items()} if made.groups else set()
    assert len(pairs) == len({group for group, _ in pairs}), name


# A block of two rows and three columns in a mask of six rows and eight columns, at row 1 and column 3; and a pixel in
# the corner at row 5 and column 7. Down the columns, from 1: the block begins at 3·6 + 1 + 1 = 20 and goes on six
# pixels later, the corner is the last of 48. Along the rows: 1·8 + 3 + 1 = 12 and eight later. Relative, from 0: the
# first run starts at 19 and ends at 21, the next starts at 25, four later; the corner is at 47, and 47 - 33 = 14.
BLOCK = np.zeros((6, 8), np.uint8)
BLOCK[1:3, 3:6] = 1
CORNER = np.zeros((6, 8), np.uint8)
CORNER[5, 7] = 1
NOTHING = np.zeros((6, 8), np.uint8)
# Twice as high and wide as the submission of `clouds`: a block at rows 2 to 5 and columns 6 to 11 of 700×1050 is one at
# rows 1 and 2, columns 3 to 5 of 350×525, and begins at 3·350 + 1 + 1.
LARGE = np.zeros((700, 1050), np.uint8)
LARGE[2:6, 6:12] = 2

BY_HAND = {
    "tgs-salt": (
        {"155410d6fa": BLOCK, "78b32781d1": NOTHING},
        ["id,rle_mask", "155410d6fa,20 2 26 2 32 2", "78b32781d1,"],
    ),
    "synthetic-salt": ({"00": BLOCK | CORNER}, ["id,rle_mask", "00,20 2 26 2 32 2 48 1"]),
    "carvana": (
        {"0004d4463b50_01": BLOCK, "0004d4463b50_02": BLOCK | CORNER},
        ["img,rle_mask", "0004d4463b50_01.jpg,12 3 20 3", "0004d4463b50_02.jpg,12 3 20 3 48 1"],
    ),
    "dsb-2018": (
        {"0114f484a1": BLOCK | CORNER, "0999dab07b": CORNER},
        ["ImageId,EncodedPixels", "0114f484a1,20 2 26 2 32 2", "0114f484a1,48 1", "0999dab07b,48 1"],
    ),
    "airbus-ships": (
        {"00002bd58": NOTHING, "00015efb6": BLOCK | CORNER},
        ["ImageId,EncodedPixels", "00002bd58.jpg,", "00015efb6.jpg,20 2 26 2 32 2", "00015efb6.jpg,48 1"],
    ),
    "severstal-steel": (
        {"004f40c73": BLOCK * 1 | CORNER * 8},
        [
            "ImageId_ClassId,EncodedPixels",
            "004f40c73.jpg_1,20 2 26 2 32 2",
            "004f40c73.jpg_2,",
            "004f40c73.jpg_3,",
            "004f40c73.jpg_4,48 1",
        ],
    ),
    "clouds": (
        {"002f507": LARGE},
        [
            "Image_Label,EncodedPixels",
            "002f507.jpg_Fish,",
            "002f507.jpg_Flower,1052 2 1402 2 1752 2",
            "002f507.jpg_Gravel,",
            "002f507.jpg_Sugar,",
        ],
    ),
    "siim-pneumothorax": (
        {"1.2.276.0.7230010.3.1.4.8323329.6491": BLOCK | CORNER, "1.2.276.0.7230010.3.1.4.8323329.7020": NOTHING},
        [
            "ImageId,EncodedPixels",
            "1.2.276.0.7230010.3.1.4.8323329.6491,19 2 4 2 4 2 14 1",
            "1.2.276.0.7230010.3.1.4.8323329.7020,-1",
        ],
    ),
    "hubmap-kidney": ({"b9a3865fc": BLOCK}, ["id,predicted", "b9a3865fc,20 2 26 2 32 2"]),
    "uw-madison-gi": (
        {"case123_day20_slice_0001": BLOCK * 1 | CORNER * 6},
        [
            "id,class,predicted",
            "case123_day20_slice_0001,large_bowel,12 3 20 3",
            "case123_day20_slice_0001,small_bowel,48 1",
            "case123_day20_slice_0001,stomach,48 1",
        ],
    ),
    "contrails": (
        {"1000834164244036115": BLOCK, "1002653297254493116": NOTHING},
        ["record_id,encoded_pixels", "1000834164244036115,20 2 26 2 32 2", "1002653297254493116,-"],
    ),
}


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_the_first_rows_of_a_submission_are_those_written_by_hand(name: str, tmp_path: Path) -> None:
    masks, lines = BY_HAND[name]
    path = tmp_path / "out.csv"
    write_submission(path, masks.items(), load_competition(name), list(masks), lambda path: [], {})
    assert path.read_text().splitlines() == lines


@pytest.mark.parametrize("name", ["camvid", "pascal-voc-2012"])
def test_maps_are_png_files_whose_pixels_are_indices(name: str, tmp_path: Path) -> None:
    """A file an image; pixels without a class do not come in a prediction, and index 0 is a class like any other."""
    path = tmp_path / "out.zip"
    given = {
        "0001TP_008550": np.array([[0, 0, 3], [10, 2, 0]], np.uint8),
        "Seq05VD_f00000": np.full((1, 2), 9, np.uint8),
    }
    write_submission(path, given.items(), load_competition(name), list(given), lambda path: [], {})
    with zipfile.ZipFile(path) as zipped:
        found = {}
        for member in zipped.namelist():
            with zipped.open(member) as file:
                image = Image.open(file)
                assert (image.format, image.mode, Path(member).suffix) == ("PNG", "P", ".png")
                found[Path(member).stem] = np.asarray(image).tolist()
    assert found == {"0001TP_008550": [[0, 0, 3], [10, 2, 0]], "Seq05VD_f00000": [[9, 9]]}


def test_every_competition_has_rows_by_hand() -> None:
    assert {*BY_HAND, "camvid", "pascal-voc-2012"} == set(NAMES) == set(MAKERS)
