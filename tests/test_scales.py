"""The made set of objects at every scale: what is in an image, and that segfold reads what is written."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from benchmarks.zoo.scales import APART, CLASSES, LARGEST, SMALLEST, Scene, generate, scene

from segfold.cli import main
from segfold.competition import load_competition
from segfold.data.images import load_split
from segfold.errors import SegfoldError
from small_project import ROOT

COMPETITION = ROOT / "benchmarks" / "zoo" / "scales.yaml"


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    rng = np.random.default_rng(1)
    return [scene(rng) for _ in range(60)]


def sides(made: Scene) -> list[int]:
    """The longer side of each object."""
    boxes = [cv2.boundingRect((made.objects == number).astype(np.uint8)) for number in range(1, made.objects.max() + 1)]
    return [max(width, height) for _, _, width, height in boxes]


def test_objects_have_a_fifteenfold_range_of_scales_and_each_octave_its_pixels(scenes: list[Scene]) -> None:
    found = [side for made in scenes for side in sides(made)]
    assert min(found) >= SMALLEST - 1 and max(found) <= LARGEST
    assert max(found) / min(found) > 12
    assert np.mean([len(sides(made)) for made in scenes]) > 5
    total = sum(made.objects.size for made in scenes)
    areas = np.zeros(4)
    for made in scenes:
        for side, area in zip(sides(made), np.bincount(made.objects.ravel())[1:]):
            areas[min(3, int(np.log2(max(side, SMALLEST) / SMALLEST)))] += area
    assert (areas / total > 0.01).all() and (areas / total < 0.08).all(), areas / total


def test_each_object_is_one_part_of_one_class_apart_from_the_others(scenes: list[Scene]) -> None:
    for made in scenes[:20]:
        assert np.array_equal(made.objects > 0, made.classes > 0)
        near = cv2.dilate((made.objects > 0).astype(np.uint8), np.ones((3, 3), np.uint8))
        count = int(made.objects.max())
        assert cv2.connectedComponents(near)[0] - 1 == count
        for number in range(1, count + 1):
            assert len(np.unique(made.classes[made.objects == number])) == 1
        border = np.ones(made.objects.shape, bool)
        border[APART:-APART, APART:-APART] = False
        assert not made.objects[border].any()


def test_neither_scale_nor_colour_tells_the_class(scenes: list[Scene]) -> None:
    """Means a class are alike within four standard errors."""
    kinds, values = [], []
    for made in scenes:
        for number, side in enumerate(sides(made), 1):
            inside = made.objects == number
            kinds.append(int(made.classes[inside][0]))
            values.append([np.log(side), *made.image[inside].mean(axis=0)])
    kind, value = np.array(kinds), np.array(values)
    for number in range(1, len(CLASSES)):
        own = value[kind == number]
        apart = np.abs(own.mean(axis=0) - value.mean(axis=0)) / (value.std(axis=0) / len(own) ** 0.5)
        assert len(own) > 50 and (apart < 4).all(), apart


def test_segfold_reads_it_with_its_objects_and_the_same_seed_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(tmp_path / "made", train=3, validation=2, test=1)
    generate(tmp_path / "again", train=3, validation=2, test=1)
    files = sorted(path for path in (tmp_path / "made").rglob("*") if path.is_file())
    assert len(files) == 6 + 2 * 5 + 3
    for path in files:
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "made")).read_bytes()
    monkeypatch.chdir(tmp_path)
    assert main(["data", "--competition", str(COMPETITION), "--from", "made"]) == 0
    images = load_split(load_competition(str(COMPETITION)), "train", tmp_path)
    assert len(images) == 5 and images.held_out is not None and images.held_out.sum() == 2
    assert images.instances is not None and images.masks is not None
    made = scene(np.random.default_rng(0))
    assert np.array_equal(images.masks[0], made.classes) and np.array_equal(images.instances[0], made.objects)
    assert images.instances[0].max() == len(sides(made)) > 1


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(SegfoldError, match="there already"):
        generate(tmp_path, train=1, validation=1, test=1)
