"""Adversarial validation: the AUC against its definition, and data of which the answer is known."""

import numpy as np
import pandas as pd
import pytest

from segfold.audit.measures import STATISTICS, Measures, measured, measures_of
from segfold.audit.shift import auc_of, find_shift
from small_images import image_set, store

NAMES = tuple(f"n{number}" for number in range(4))


def measures(values: np.ndarray, names: tuple[str, ...] = NAMES) -> Measures:
    return Measures(names, values.astype(np.float32), np.zeros((len(values), 32, 32), np.float32))


def alone(count: int) -> np.ndarray:
    return np.full(count, -1)


def test_auc_is_the_share_of_pairs_in_order() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    train, test = rng.integers(0, 8, 50), rng.integers(2, 10, 31)  # with ties
    pairs = (test[:, None] > train) + 0.5 * (test[:, None] == train)
    found = auc_of(train, test)
    assert found.value == pytest.approx(pairs.mean(), abs=1e-12)
    truth = np.repeat([0, 1], [50, 31])
    assert found.value == pytest.approx(roc_auc_score(truth, np.concatenate([train, test])), abs=1e-12)
    variance = pairs.mean(axis=1).var(ddof=1) / 31 + pairs.mean(axis=0).var(ddof=1) / 50
    assert found.standard_error == pytest.approx(np.sqrt(variance), abs=1e-12)
    assert auc_of([1, 2], [3, 4]).value == 1 and auc_of([3, 4], [1, 2]).value == 0


def test_the_standard_error_is_the_spread_over_draws() -> None:
    rng = np.random.default_rng(1)
    found = [auc_of(rng.normal(size=60), rng.normal(0.7, 1, 90)) for _ in range(400)]
    spread = np.std([each.value for each in found])
    assert np.mean([each.standard_error for each in found]) == pytest.approx(spread, rel=0.1)


def test_what_is_alike_is_not_told_apart_and_what_differs_is_named() -> None:
    rng = np.random.default_rng(2)
    train, test = rng.normal(size=(200, 4)), rng.normal(size=(150, 4))
    same = find_shift(measures(train), measures(test), alone(350))
    assert same is not None and not same.auc.beyond_chance and same.without_sides is None
    test[:, 3] -= 1.5
    shifted = find_shift(measures(train), measures(test), alone(350))
    assert shifted is not None and shifted.auc.beyond_chance and shifted.auc.value > 0.75
    first = shifted.separating[0]
    assert first.name == "n3" and first.alone.value < 0.2 and first.drop > 0.2
    np.testing.assert_allclose(first.test, np.percentile(test[:, 3], (5, 50, 95)), atol=1e-6)
    assert all(each.drop < 0.05 for each in shifted.separating[1:])
    # Training images that are most like test images have small n3.
    likely = np.argsort(-shifted.probability[:200])[:20]
    assert train[likely, 3].mean() < -0.8


def test_images_of_a_group_do_not_give_each_other_away() -> None:
    """Films of frames that look alike: every film is in one split, and the splits have the same kind of films."""
    rng = np.random.default_rng(3)
    films = rng.normal(size=(40, 4)).repeat(6, axis=0) + rng.normal(0, 0.01, (240, 4))
    groups = np.arange(40).repeat(6)
    by_film = find_shift(measures(films[:120]), measures(films[120:]), groups)
    by_frame = find_shift(measures(films[:120]), measures(films[120:]), alone(240))
    assert by_film is not None and by_frame is not None
    assert by_frame.auc.value > 0.95 and by_film.auc.value < 0.7


def test_sizes_are_told_apart_from_the_rest() -> None:
    rng = np.random.default_rng(4)
    names = ("height", "width", "a", "b")
    train, test = rng.normal(size=(100, 4)), rng.normal(size=(80, 4))
    train[:, :2], test[:, :2] = 101, 128
    found = find_shift(measures(train, names), measures(test, names), alone(180))
    assert found is not None and found.auc.value == 1
    assert found.without_sides is not None and abs(found.without_sides.value - 0.5) < 0.15


def test_too_few_images_or_nothing_that_varies() -> None:
    many, few = np.random.default_rng(0).normal(size=(30, 4)), np.zeros((9, 4))
    assert find_shift(measures(many), measures(few), alone(39)) is None
    assert find_shift(measures(np.ones((20, 4))), measures(np.ones((20, 4))), alone(40)) is None


def test_what_is_measured_of_a_picture() -> None:
    picture = np.zeros((40, 20, 3), np.uint8)
    picture[:, 10:] = (200, 200, 200)
    small, numbers = measured(picture)
    found = dict(zip(STATISTICS[2:], numbers, strict=True))
    white = 200 / 255
    assert found["mean grey"] == pytest.approx(white / 2) and found["contrast"] == pytest.approx(white / 2)
    assert found["left less right"] == pytest.approx(-white) and found["top less bottom"] == 0
    assert found["changes across"] == pytest.approx(white / 19) and found["changes down"] == 0
    assert found["entropy"] == 1 and found["commonest grey"] == 0.5
    assert found["darkest percent"] == 0 and found["brightest percent"] == pytest.approx(white)
    assert found["colourfulness"] == found["red less grey"] == found["blue less grey"] == 0
    assert small.shape == (32, 32) and small[:, :16].max() == 0 and small[:, 16:].min() == pytest.approx(white)


def test_16_bits_and_one_channel_are_the_same_picture() -> None:
    rng = np.random.default_rng(5)
    grey = rng.integers(0, 256, (33, 47, 1), np.uint8)
    one = measured(grey)
    for other in (measured(grey.astype(np.uint16) * 257), measured(grey.repeat(3, axis=2))):
        np.testing.assert_allclose(other[0], one[0], atol=1e-6)
        np.testing.assert_allclose(other[1], one[1], atol=1e-5)
    red = grey.repeat(3, axis=2)
    red[:, :, 1:] //= 2
    colour = dict(zip(STATISTICS[2:], measured(red)[1]))
    assert colour["red less grey"] > 0 > colour["blue less grey"] and colour["colourfulness"] > 0.2


def test_a_split_in_its_order_with_its_tables() -> None:
    images = image_set(5, (20, 30))
    images.extra["depth"] = pd.Series(np.arange(5.0), index=images.extra.index)
    done: list[int] = []
    found = measures_of(images, done.append)
    assert found.names == (*STATISTICS, "depth") and done == [5]
    assert found.values[:, -1].tolist() == [0, 1, 2, 3, 4] and found.values[:, :2].tolist() == [[20, 30]] * 5
    np.testing.assert_allclose(found.values[3, 2:-1], measured(images.images[3])[1], rtol=1e-6)
    tiny = image_set(2, images=store([np.full((1, 1, 3), 7, np.uint8), np.full((1, 9, 3), 7, np.uint8)]), masks=False)
    assert np.isfinite(measures_of(tiny).values).all()
