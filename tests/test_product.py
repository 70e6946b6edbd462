"""The product of probabilities: its formula with and without weights, and what weights searches make of it."""

import numpy as np
import pytest
from scipy.special import expit, logit

from oof_sets import BINARY, THREE, TWO, oof_set
from segfold.ensemble import OofMember, TestMember, blend, combination
from segfold.ensemble.disputed import Disputed
from segfold.post.threshold import threshold_code
from segfold.store.writer import StoreWriter

IDS = ["a", "b"]
WEIGHTS = [[1, 1, 1], [3, 0.5, 1], [0.5, 0.5, 0]]


def member(folder, number, task=THREE, sides=((30, 20), (9, 14))):
    """Probabilities that are sure of most pixels, of exclusive classes with sum 1, and their codes."""
    rng = np.random.default_rng(number)
    shapes = [(len(task.classes), *side) for side in sides]
    codes = {}
    for image_id, shape in zip(IDS, shapes):
        found = rng.beta(0.2, 0.3, shape)
        found = found / found.sum(axis=0) if task.exclusive else found
        codes[image_id] = np.floor(found * 65535 + 0.5).astype(np.uint16)
    with StoreWriter(folder / f"{task.name}{number}", "oof", IDS, shapes, {"seed": number}) as writer:
        for image_id in IDS:
            writer.append(image_id, codes[image_id])
        return OofMember(f"run{number}", {0: writer.finish()}), codes


def by_hand(task, codes, exponents):
    """C×H×W probabilities; 0 counts as a quarter of a code, and so does 1 of a class by itself."""
    if task.exclusive:
        powers = [(np.maximum(each, 0.25) / 65535) ** exponent for each, exponent in zip(codes, exponents)]
        product = np.prod(powers, axis=0)
        return product / product.sum(axis=0)
    odds = [logit(np.clip(each.astype(float), 0.25, 65534.75) / 65535) for each in codes]
    return expit(sum(exponent * each for exponent, each in zip(exponents, odds)))


@pytest.mark.parametrize("task", [BINARY, TWO, THREE], ids=lambda task: task.name)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_product_is_its_formula(tmp_path, task, weights):
    """Exponents are shares of the weight times the members that weigh anything: 1 each where they weigh alike."""
    members, codes = zip(*(member(tmp_path, number, task) for number in range(3)))
    exponents = np.array(weights) / np.sum(weights) * np.count_nonzero(weights)
    for image_id, found, _ in blend(members, weights, IDS, combination("product", members, IDS, task)):
        exact = 65535 * by_hand(task, [each[image_id] for each in codes], exponents)
        # Of exclusive classes one that would tie with a later, likelier one has a code less.
        assert np.abs(found - exact).max() < (1.502 if task.exclusive else 0.502)
        assert (np.abs(found - exact) > 0.502).mean() < 0.001
        if task.exclusive:
            assert np.abs(found.sum(axis=0, dtype=int) - 65535).max() <= 3
            assert np.array_equal(found.argmax(axis=0), exact.argmax(axis=0))


def test_folds_of_a_member_are_one_factor(tmp_path):
    """Their geometric mean: a run predicts the test set as surely as it predicts out of fold."""
    (one, codes), (two, more), (other, others) = (member(tmp_path, number) for number in range(3))
    run = TestMember("run", {0: one.stores[0], 1: two.stores[0]})
    single = TestMember("other", {0: other.stores[0]})
    averaged = combination("product", [], [], THREE)
    for image_id, found, _ in blend([run, single], None, IDS, averaged):
        exact = by_hand(THREE, [each[image_id] for each in (codes, more, others)], [0.5, 0.5, 1])
        assert np.abs(found - 65535 * exact).max() < 1.502


@pytest.mark.parametrize("task", [TWO, THREE], ids=lambda task: task.name)
def test_a_member_alone_is_itself(tmp_path, task):
    """But for the quarters of a code that exclusive classes of code 0 have."""
    alone, codes = member(tmp_path, 0, task)
    for image_id, found, _ in blend([alone], None, IDS, combination("product", [], [], task)):
        assert np.abs(found.astype(int) - codes[image_id]).max() <= (2 if task.exclusive else 0)


def test_members_that_agree_make_each_other_surer(tmp_path):
    """Two that say .8 of a class by itself: .64 against .04."""
    shape = (2, 4, 4)
    with StoreWriter(tmp_path / "sure", "oof", ["a"], [shape], {}) as writer:
        writer.append("a", np.full(shape, 52428, np.uint16))
        same = OofMember("same", {0: writer.finish()})
    (found,) = blend([same, same], None, ["a"], combination("product", [], [], TWO))
    assert found.codes.tolist() == np.full(shape, round(65535 * 0.64 / 0.68)).tolist()


@pytest.mark.parametrize("task", [BINARY, THREE], ids=lambda task: task.name)
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_exchanges_know_how_many_members_are_left(tmp_path, task, threshold):
    """Who gives all of its weight is a factor no more, who gets some becomes one: away from one half that moves masks."""
    made = oof_set(tmp_path, task, "miou")
    averaged = combination("product", [], [], task)
    disputed = Disputed.of(made.members, made.ids, made.images, averaged, [threshold_code(threshold)])
    scores = disputed.exchanged([6, 0, 4], 0, [1, 2], [1, 3, 6])
    trials = [[[5, 1, 4], [3, 3, 4], [0, 6, 4]], [[5, 0, 5], [3, 0, 7], [0, 0, 10]]]
    assert scores.tolist() == [[disputed.score(each) for each in some] for some in trials]
    added = disputed.exchanged([1, 0, 2], None, [0, 1], [1])
    assert added.tolist() == [[disputed.score([2, 0, 2])], [disputed.score([1, 1, 2])]]
    real = made.features([5, 1, 4], averaged, threshold)
    np.testing.assert_array_equal(disputed.features([5, 1, 4]), real)
