"""How runs correlate, on a few pixels of each image: numpy's number on these, and nearly that of all pixels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from made_run import made_run
from oof_sets import stored
from segfold.board.correlation import correlate, joined, run_correlation
from segfold.board.facts import RunFacts, read_run_facts
from segfold.board.kept import Kept
from segfold.board.sketch import PIXELS, Sketch, chosen_pixels, image_keys, read_sketch, sketch_of, write_sketch
from segfold.competition import load_competition
from segfold.data.images import load_split
from segfold.runs.folder import RunFolder
from segfold.store import MeanStore, Probabilities, open_store
from segfold.training.validation import store_tally, write_scores
from small_project import make_project

Images = dict[str, np.ndarray]
"""C×H×W codes by id."""


def smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 14 * np.stack([cv2.GaussianBlur(plane, (0, 0), 4) for plane in rng.standard_normal(shape)])


def predicted(count: int, members: int, sides: list[tuple[int, int]], classes: int = 1, seed: int = 0) -> list[Images]:
    """What some runs say of the same scenes."""
    rng = np.random.default_rng(seed)
    made: list[Images] = [{} for _ in range(members)]
    for number in range(count):
        shape = (classes, *sides[number % len(sides)])
        scene = smooth(rng, shape)
        for member, images in enumerate(made):
            noise = (0.3 + 0.3 * member) * smooth(rng, shape)
            images[f"i{number}"] = (65535 / (1 + np.exp(-3 * (scene + noise)))).astype(np.uint16)
    return made


def in_store(folder: Path, name: str, images: Images) -> Probabilities:
    return stored(folder, name, list(images), list(images.values())).stores[0]


def values(sketch: Sketch, images: Images) -> dict[str, np.ndarray]:
    """The codes of a sketch by id."""
    keys = image_keys(list(images), np.array([each.shape for each in images.values()]))
    return {name: sketch.codes[np.flatnonzero(sketch.keys == key)[0]] for name, key in zip(images, keys)}


def weighted(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> float:
    """Correlation of numbers that count so often."""
    covariance = np.cov(np.stack([one, other]).astype(float), aweights=weights)
    return float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))


@pytest.mark.parametrize("sides", [[(40, 50)], [(40, 50), (9, 70), (2, 3)]])
def test_chosen_pixels_are_one_of_each_stretch_and_follow_from_id_and_size(sides: list[tuple[int, int]]) -> None:
    shapes = np.array([(2, *sides[number % len(sides)]) for number in range(300)])
    ids = [f"i{number}" for number in range(300)]
    keys, areas = image_keys(ids, shapes), shapes[:, 1] * shapes[:, 2]
    places = chosen_pixels(keys, areas)
    assert places.shape == (300, PIXELS) and (places >= 0).all() and (places < areas[:, None]).all()
    edges = np.arange(PIXELS + 1) / PIXELS * areas[:, None]
    assert (places >= np.floor(edges[:, :-1])).all() and (places <= edges[:, 1:]).all()
    np.testing.assert_array_equal(chosen_pixels(keys[::-1], areas[::-1]), places[::-1])
    assert len(np.unique(keys)) == 300 and not np.isin(image_keys(ids, np.add(shapes, [0, 0, 1])), keys).any()
    np.testing.assert_array_equal(image_keys(ids, np.multiply(shapes, [3, 1, 1])), keys)
    # Even chances within a stretch: places of the first one have a mean of half its length.
    if len(sides) == 1:
        length = areas[0] / PIXELS
        assert abs(places[:, 0].mean() / length - 0.5) < 0.06 and places[:, 0].std() / length > 0.25


@pytest.mark.parametrize("classes", [1, 3])
def test_a_sketch_holds_the_codes_of_these_pixels(tmp_path: Path, classes: int) -> None:
    (images,) = predicted(20, 1, [(40, 50), (9, 70)], classes)
    sketch = sketch_of(in_store(tmp_path, "run", images))
    assert (np.diff(sketch.keys.astype(object)) > 0).all()
    found = values(sketch, images)
    for name, codes in images.items():
        _, height, width = codes.shape
        key = image_keys([name], np.array([codes.shape]))
        places = chosen_pixels(key, np.array([height * width]))[0]
        np.testing.assert_array_equal(found[name].reshape(classes, PIXELS), codes.reshape(classes, -1)[:, places])
    write_sketch(tmp_path / "sketch.npz", sketch)
    again = read_sketch(tmp_path / "sketch.npz")
    for part in ("keys", "areas", "codes"):
        np.testing.assert_array_equal(getattr(again, part), getattr(sketch, part))


def test_of_several_sets_of_weights_it_is_the_mean(tmp_path: Path) -> None:
    made = predicted(10, 3, [(20, 30)])
    stores = [in_store(tmp_path, f"run{number}", images) for number, images in enumerate(made)]
    mean = MeanStore(stores)
    whole = in_store(tmp_path, "mean", {name: mean.codes(row) for row, name in enumerate(made[0])})
    np.testing.assert_array_equal(sketch_of(mean).codes, sketch_of(whole).codes)


@pytest.mark.parametrize("band", [1 << 22, 100])
@pytest.mark.parametrize("classes", [1, 2])
def test_correlation_is_numpys_on_the_pixels_of_images_that_both_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: int, band: int
) -> None:
    monkeypatch.setattr("segfold.board.correlation._BAND", band)
    made = predicted(60, 3, [(30, 20), (12, 9)], classes)
    made[1] = {name: codes for number, (name, codes) in enumerate(made[1].items()) if number % 3}
    made[2] = {name: codes for number, (name, codes) in enumerate(made[2].items()) if number < 40}
    made.append({f"other {name}": codes for name, codes in made[0].items()})
    made.append({name: np.full_like(codes, 77) for name, codes in made[0].items()})
    sketches = [sketch_of(in_store(tmp_path, f"run{number}", images)) for number, images in enumerate(made)]
    found, images = correlate(sketches)
    assert images == 60
    for a in range(3):
        for b in range(3):
            names = [name for name in made[a] if name in made[b]]
            one, other = (np.concatenate([values(sketches[m], made[m])[name] for name in names]) for m in (a, b))
            areas = np.repeat([made[a][name][0].size for name in names], classes * PIXELS)
            assert found[a, b] == pytest.approx(weighted(one, other, areas), rel=1e-9)
    assert np.isnan(found[3, :3]).all() and found[3, 3] == 1 and found[4, :3].tolist() == [0, 0, 0]


def test_it_is_near_that_of_all_pixels(tmp_path: Path) -> None:
    made = predicted(600, 4, [(50, 50), (50, 25)])
    found, _ = correlate([sketch_of(in_store(tmp_path, f"run{n}", images)) for n, images in enumerate(made)])
    exact = np.corrcoef([np.concatenate([codes.ravel() for codes in images.values()]) for images in made])
    assert exact.min() < 0.75
    assert np.abs(found - exact).max() < 0.02


def test_folds_are_joined_and_an_image_counts_once(tmp_path: Path) -> None:
    (images,) = predicted(12, 1, [(30, 20)])
    parts = [dict(list(images.items())[:7]), dict(list(images.items())[5:]), {}]
    sketches = [sketch_of(in_store(tmp_path, f"fold{number}", part)) for number, part in enumerate(parts)]
    whole = sketch_of(in_store(tmp_path, "whole", images))
    found = joined(sketches)
    np.testing.assert_array_equal(found.keys, whole.keys)
    np.testing.assert_array_equal(found.codes, whole.codes)
    assert len(joined(sketches[2:]).keys) == 0


def seen(seed: int) -> Any:
    def paint(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
        rng = np.random.default_rng([seed, *name.encode()])
        truth = np.zeros((28, 26)) if mask is None else mask
        return np.clip(0.2 + 0.6 * truth + 0.2 * rng.standard_normal(truth.shape), 0, 1)

    return paint


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Three runs with scores of what they predict."""
    home = make_project(tmp_path / "home")
    competition = load_competition("small", home)
    train = load_split(competition, "train", home)
    for number, name in enumerate(("a", "b", "<c>")):
        run = made_run(home, name, paint=seen(number))
        for fold in run.folds():
            store = open_store(next((fold.path / "pred").iterdir()), "oof", None)
            assert store is not None
            tally = store_tally(store, train, competition)
            write_scores(fold.scores, fold.number, [str(each) for each in store.ids], tally, competition.task)
    return home


def facts(home: Path) -> list[RunFacts]:
    return [read_run_facts(RunFolder(path), home) for path in sorted((home / "runs").iterdir()) if path.name in "ab<c>"]


def test_only_the_fold_that_changed_is_sketched_anew(home: Path) -> None:
    files = home / "runs/board-files"
    kept = Kept(files)
    found = run_correlation(kept, files, facts(home))
    assert found is not None and found["names"] == ["<c>", "a", "b"] and found["pixels"] == 20 * PIXELS
    assert len(kept.made) == 6 and all((files / name).is_file() for name in kept.made)
    kept.save()
    again = Kept(files)
    assert run_correlation(again, files, facts(home)) == found and again.made == []
    # A fold that is predicted anew, by other weights that are then scored.
    other = made_run(home, "other", paint=seen(9)).fold(1)
    competition = load_competition("small", home)
    fold = RunFolder(home / "runs/a").fold(1)
    for path in (fold.path / "pred", fold.done, fold.scores):
        path.rename(path.with_name(f"old-{path.name}"))
    (other.path / "pred").rename(fold.path / "pred")
    other.done.rename(fold.done)
    store = open_store(next((fold.path / "pred").iterdir()), "oof", None)
    assert store is not None
    tally = store_tally(store, load_split(competition, "train", home), competition)
    write_scores(fold.scores, 1, [str(each) for each in store.ids], tally, competition.task)
    last = Kept(files)
    changed = run_correlation(last, files, facts(home))
    assert changed is not None and last.made == ["sketches/a-fold1.npz"]
    assert changed["correlation"][0][2] == found["correlation"][0][2]
    assert changed["correlation"][0][1] != found["correlation"][0][1]


def test_what_is_gone_or_damaged_is_left_out_and_comes_back(home: Path) -> None:
    files = home / "runs/board-files"
    kept = Kept(files)
    found = run_correlation(kept, files, facts(home))
    (files / "sketches/a-fold0.npz").write_bytes(b"no sketch")
    assert run_correlation(kept, files, facts(home)) == found, "a damaged sketch is made again"
    for fold in RunFolder(home / "runs/b").folds():
        (fold.path / "pred").rename(fold.path / "away")
    fewer = run_correlation(Kept(files), files, facts(home))
    assert found is not None and fewer is not None and fewer["names"] == ["<c>", "a"]
    assert fewer["correlation"][0][1] == found["correlation"][0][1]
    for fold in RunFolder(home / "runs/<c>").folds():
        fold.done.write_text("{")
    kept = Kept(files)
    assert run_correlation(kept, files, facts(home)) is None
    for fold in RunFolder(home / "runs/b").folds():
        (fold.path / "away").rename(fold.path / "pred")
    kept.save()
    back = run_correlation(Kept(files), files, facts(home))
    assert back is not None and back["names"] == ["a", "b"]
    assert back["correlation"][0][1] == found["correlation"][1][2]


def test_runs_that_share_no_image_are_not_compared(home: Path) -> None:
    first, second, _ = (replace(run, folds=run.folds[:1]) for run in facts(home))
    files = home / "runs/board-files"
    assert run_correlation(Kept(files), files, [first, second]) is not None
    other = replace(second, folds=facts(home)[1].folds[1:])
    assert run_correlation(Kept(files), files, [first, other]) is None
