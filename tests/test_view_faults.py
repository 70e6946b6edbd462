"""What is wrong with crops, tiles, scales, shards and windows of large files is said in one line, with exit code 2."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from forked import Done, segfold
from small_project import COMPETITION, EXPERIMENT, make_project
from test_cli_errors import TRAIN, refused
from tiff_files import DEFLATE, NONE, write_tiff
from tiny_competition import write_image

VALID = "model={name: unet_original, width: 2}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = make_project(tmp_path_factory.mktemp("project"))
    (home / "submissions").mkdir()
    return home


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["predict.tiles={size: 32, overlap: 32}"],
            "tiles that predict 32 pixels a side overlap by 32: set predict.tiles.overlap below 32, or a larger",
        ),
        (["input.crop=32", "predict.tiles.overlap=40"], "tiles that predict 32 pixels a side overlap by 40: set"),
        (  # as the network would see them at that scale
            ["predict.tiles={size: 32, overlap: 30}", "predict.tta=[{scale: 8}]"],
            "tiles that predict 4 pixels a side at a scale of 8 overlap by 4: set predict.tiles.overlap lower (now 30), or a",
        ),
        (["predict.tiles={overlap: 8}"], "where there is no input.crop to take it from: set predict.tiles.size"),
        (
            ["input.fit=resize", "predict.tiles={size: 32}"],
            "predict.tiles cuts images at their own scale, but training stretches whole images (input.fit or input.resize): "
            "set input.crop, or leave predict.tiles out",
        ),
        (
            ["predict.tiles={size: 32, blend: soft}"],
            "predict.tiles.blend: Input should be 'linear', 'gaussian' or 'flat'",
        ),
        (
            ["sample.focus=0.5"],
            "sample.focus is 0.5, but stage warm trains on whole images; set input.crop, or sample.focus=0",
        ),
        (
            ["input.crop=32", "sample={focus: 0.5, focus_on: [disk]}"],
            "sample.focus_on names 'disk'; expected classes of",
        ),
        (["input.crop=32", "input.resize=20"], "found crop and resize: a crop is stretched to size; leave resize out"),
        (["input.crop=0"], "input.crop: Input should be greater than or equal to 1"),
        (["predict.tta=[identity, {scale: 0}]"], "predict.tta.1: found a scale of 0: expected 0.1 to 10"),
        (
            ["predict.tta=[{scale: true}]"],
            "predict.tta.0: found {'scale': True}: expected {scale: 1.25}, with symmetry",
        ),
        (["predict.tta=[{zoom: 2}]"], "predict.tta.0: found {'zoom': 2}: expected {scale: 1.25}, with symmetry"),
        (["predict.tta=[hflop]"], "predict.tta.0: expected one of identity, hflip, vflip, "),
        # These are known only once there is a network.
        (["predict.tta=[{scale: 1.3}]"], "predict.tta has scale1.3: the network's input is 42×42, but "),
        (["predict.tta=[{scale: 1.3}]"], "; a scale of 2 would do"),
        (["input.crop=32", "predict.tiles={size: 40}"], "predict.tiles: the network's input is 40×40, but "),
        (  # of networks that take sizes of their own
            [VALID, "input.size=200"],
            "the network's input is 200×200, but height and width must be 188 and multiples of 16 more: 188 or 204 instead of 200",
        ),
        (
            [VALID, "input.size=[188, 128]"],
            "is 188×128, but height and width must be 188 and multiples of 16 more: 188",
        ),
        ([VALID, "input.size=204", "stages.warm.size=210"], "204 or 220 instead of 210"),
        (
            [VALID, "input={size: 204, crop: 204}", "predict.tiles={size: 310}"],
            "predict.tiles: the network's input is 310×310, but ",
        ),
    ],
)
def test_settings_that_cannot_be(project: Path, overrides: list[str], said: str) -> None:
    line = refused(project, *TRAIN, *overrides)
    assert said in line and line.startswith("segfold train: "), line
    assert not (project / "runs/small/fold0/last.pt").exists()


@pytest.mark.parametrize("shard", ["5/4", "0/4", "1", "a/b", "1/99999"])
def test_a_shard_that_there_is_not(project: Path, shard: str) -> None:
    line = refused(project, "predict", "runs/one", "--shard", shard)
    assert f"'{shard}' is no shard; expected I/N with I from 1 to N, such as 2/4" in line


def test_a_crop_larger_than_the_images_is_padded_with_a_line(project: Path) -> None:
    done = segfold(project, *TRAIN, "input.crop=64", "input.size=32", "fast=true", "--run", "padded")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "smaller than a crop" in line]
    assert lines == [
        "10 of 10 training images are smaller than a crop of 64×64, the smallest 28×26: they are padded (input.border "
        "reflect), which does not count"
    ]


def all_are_large() -> None:
    """A tiled TIFF of any size is read in place, as one of hundreds of megabytes is."""
    from segfold.layouts import large

    large.LARGE = 0


def run(home: Path, *arguments: str) -> Done:
    return segfold(home, *arguments, before=all_are_large)


SLIDES = COMPETITION.replace("kaggle-rle", "folders").replace("small", "slides") + (
    "train_images: train/{id}.tif\ntrain_masks: masks/{id}.png\ntest_images: test/{id}.tif\n"
)
NAMES = {"train": "abcdef", "test": "xy"}
IMPORT = ("data", "--competition", "configs/competitions/slides.yaml", "--from", "given")
FOLD = ("train", "--config", "configs/slides.yaml", "--fold", "0", "fast=true", "--run", "one")


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder and the files of a competition of tiled TIFFs, not imported."""
    home = tmp_path_factory.mktemp("slides")
    (home / "configs/competitions").mkdir(parents=True)
    (home / "submissions").mkdir()
    (home / "configs/competitions/slides.yaml").write_text(SLIDES)
    settings = EXPERIMENT.replace("small.yaml", "slides.yaml").replace("{size: 32, fit: pad}", "{crop: 32}")
    (home / "configs/slides.yaml").write_text(settings)
    rng = np.random.default_rng(0)
    for split, names in NAMES.items():
        (home / "given" / split).mkdir(parents=True)
        for name in names:
            mask = (rng.random((48, 64)) < 0.3).astype(np.uint8)
            pixels = (rng.integers(0, 100, (48, 64, 3)) + 100 * mask[:, :, None]).astype(np.uint8)
            compression = NONE if name in "ax" else DEFLATE
            write_tiff(home / f"given/{split}/{name}.tif", pixels, tile=(16, 32), compression=compression)
            if split == "train":
                write_image(home / f"given/masks/{name}.png", mask * 255)
    return home


@pytest.fixture(scope="module")
def imported(slides: Path) -> Path:
    """The same with its data, caches and a finished fold."""
    for arguments in (IMPORT, FOLD):
        done = run(slides, *arguments)
        assert done.returncode == 0, done.stderr
    return slides


def spoil(path: Path) -> None:
    """Overwrites the middle of a file: of deflated tiles, one no longer is what it was; its size and time stay."""
    data, status = bytearray(path.read_bytes()), path.stat()
    data[1000:1100] = bytes(100)
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_damaged_tile_is_found_by_the_import_which_leaves_nothing(slides: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(slides, home, ignore=shutil.ignore_patterns("data", "runs", "folds"))
    spoil(home / "given/train/b.tif")
    line = refused(home, *IMPORT, run=run)
    assert "train/b.tif, its tile of rows 0…15, columns 0…31, is damaged: " in line and line.endswith("copy it anew")
    assert not (home / "data/slides").exists()


def test_a_tile_that_was_damaged_since_the_import(imported: Path, tmp_path: Path) -> None:
    """The cache is made before: of training images a sample cannot be read, of test images a window of a tile."""
    home = tmp_path / "home"
    shutil.copytree(imported, home)
    spoil(home / "data/slides/test/y.tif")
    said = "data/slides/test/y.tif, its tile of rows 0…15, columns 0…31, is damaged: "
    for arguments in (("predict", "runs/one", "--split", "test"), ("submit", "--ensemble", "runs/one")):
        line = refused(home, *arguments, "--fast", run=run)
        assert said in line and line.endswith("copy it anew"), line
    for name in NAMES["train"][1:]:
        spoil(home / f"data/slides/train/{name}.tif")
    line = refused(home, *(word.replace("one", "other") for word in FOLD), run=run)
    assert "its tile of rows " in line and "is damaged: " in line, line
    assert not list(home.glob("runs/other/fold0/*.safetensors"))


def test_a_file_that_was_cut_short_since_the_import(imported: Path, tmp_path: Path) -> None:
    """Its size is another, so the cache is made anew, and the refusal is that of its reading."""
    home = tmp_path / "home"
    shutil.copytree(imported, home)
    path = home / "data/slides/test/x.tif"
    path.write_bytes(path.read_bytes()[:4000])
    line = refused(home, "predict", "runs/one", "--split", "test", "--fast", run=run)
    assert "data/slides/test/x.tif" in line, line
