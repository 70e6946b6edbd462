"""What is averaged of the members: each combination against its formula, and the laws that all of them keep."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import rankdata

from segfold.ensemble import MEAN, Combination, OofMember, TestMember, blend, combination
from segfold.ensemble.combine import ALL, COMBINATIONS
from segfold.errors import SegfoldError
from segfold.store.writer import StoreWriter
from segfold.tasks import make_task

IDS = ["a", "b", "c"]
THREE = make_task("multiclass", ("sky", "road", "car"))
TWO = make_task("multilabel", ("left", "right"))


def member(folder, seed, channels=1, side=40, ids=IDS):
    """Out-of-fold predictions that crowd at both ends, and their codes by id."""
    rng = np.random.default_rng(seed)
    codes = {name: (rng.beta(0.3, 0.4, (channels, side, side)) * 65535).astype(np.uint16) for name in ids}
    with StoreWriter(folder / str(seed), "oof", ids, [(channels, side, side)] * len(ids), {"seed": seed}) as writer:
        for name in ids:
            writer.append(name, codes[name])
        return OofMember(f"run{seed}", {0: writer.finish()}), codes


def made(tmp_path, count=3, **shape):
    members, codes = zip(*(member(tmp_path, seed, **shape) for seed in range(count)))
    return list(members), list(codes)


def probabilities(codes):
    """As the logarithms take them: 0 and 1 lie a quarter of a code from their ends."""
    return np.clip(codes.astype(np.float64), 0.25, 65534.75) / 65535


def weighted(weights, arrays):
    return sum(weight * array.astype(float) for weight, array in zip(weights, arrays)) / sum(weights)


FORMULAS = {
    "mean": lambda weights, codes: weighted(weights, codes) / 65535,
    "logits": lambda weights, codes: expit(weighted(weights, [logit(probabilities(each)) for each in codes])),
    "geometric": lambda weights, codes: np.exp(
        weighted(weights, [np.log(np.maximum(each, 0.25) / 65535) for each in codes])
    ),
    "vote": lambda weights, codes: weighted(weights, [each / 65535 >= 0.5 for each in codes]),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("weights", [[1, 1, 1], [3, 0.5, 1]])
def test_a_blend_is_its_formula(tmp_path, name, weights):
    members, codes = made(tmp_path)
    for image_id, found, _ in blend(members, weights, IDS, combination(name, members, IDS)):
        exact = 65535 * FORMULAS[name](weights, [each[image_id] for each in codes])
        assert np.abs(found - exact).max() < 0.5001 and found.dtype == np.uint16


def test_ranks_are_those_of_scipy_turned_back_by_all_members_together(tmp_path):
    """A blend's code is that of the pixel that has the mean rank among all members' pixels."""
    members, codes = made(tmp_path, 2)
    flat = [np.concatenate([each[name].ravel() for name in IDS]).astype(int) for each in codes]
    ranks = [(rankdata(each) - 0.5) / each.size for each in flat]  # ties get the middle one
    together = np.sort(np.concatenate(flat))
    place = ((2 * ranks[0] + ranks[1]) / 3 * together.size).astype(int)
    ranked = combination("rank", members, IDS)
    found = np.concatenate([each.codes.ravel() for each in blend(members, [2, 1], IDS, ranked)]).astype(int)
    # Each of the 65,536 codes counts as a pixel of 2**29 more, here about one of the 9,600.
    low, high = (together[np.clip(place + step, 0, together.size - 1)] for step in (-3, 3))
    assert ((low <= found) & (found <= high)).all()
    assert (np.abs(found - together[place]) <= 32).mean() > 0.95


def test_a_confident_member_and_a_timid_one_weigh_alike_in_ranks(tmp_path):
    """The same order of pixels, squeezed: the mean of ranks keeps that order, and the codes lie between."""
    bold, codes = member(tmp_path, 0)
    timid = {name: (30_000 + each.astype(int) // 32).astype(np.uint16) for name, each in codes.items()}
    with StoreWriter(tmp_path / "timid", "oof", IDS, [(1, 40, 40)] * 3, {}) as writer:
        for name in IDS:
            writer.append(name, timid[name])
        other = OofMember("timid", {0: writer.finish()})
    ranked = combination("rank", [bold, other], IDS)
    for image_id, found, _ in blend([bold, other], None, IDS, ranked):
        order = np.argsort(codes[image_id].ravel(), kind="stable")
        assert (np.diff(found.ravel()[order].astype(int)) >= 0).all()


@pytest.mark.parametrize("name", FORMULAS)
def test_each_prediction_is_transformed_before_it_is_averaged(tmp_path, name):
    """A run's share is spread over its folds: two folds of one run are a blend of two runs."""
    members, _ = made(tmp_path)
    ranked = combination(name, members, IDS)
    stores = [each.stores[0] for each in members]
    halves = [OofMember("run0", {0: stores[0]}), OofMember("run1", {0: stores[1]})]
    whole = TestMember("run0", {0: stores[0], 1: stores[1]})
    for one, two in zip(
        blend([whole, members[2]], [2, 1], IDS, ranked), blend([*halves, members[2]], [1, 1, 1], IDS, ranked)
    ):
        assert np.array_equal(one.codes, two.codes)


def all_codes(channels=1):
    return np.resize(np.arange(65536, dtype=np.uint16), (channels, 256, 256))


def one_of(name, tmp_path, task=TWO):
    members, _ = made(tmp_path, 1, channels=len(task.classes))
    return combination(name, members, IDS, task)


@pytest.mark.parametrize("task", [TWO, THREE], ids=["alone", "exclusive"])
@pytest.mark.parametrize("name", ["mean", "logits", "geometric", "rank"])
def test_a_member_blended_with_itself_is_itself(tmp_path, name, task):
    one = one_of(name, tmp_path, task)
    codes = all_codes(len(task.classes))
    for whole in (1, 3, one.finest):
        assert np.array_equal(one.codes(one.values(0, codes) * whole, whole), codes)


@pytest.mark.parametrize("name", COMBINATIONS)
@pytest.mark.parametrize(("whole", "members"), [(1, 1), (2, 1), (7, 3), (1 << 32, 300)])
def test_a_bound_is_the_smallest_total_of_its_code(tmp_path, name, whole, members):
    one = one_of(name, tmp_path)
    whole = min(whole, one.finest)
    bounds = one.bounds(whole, members)
    for code in (1, 2, 500, 32767, 32768, 52428, 65535):
        bound = one.bound(code, whole, members)
        below, at = one.codes(np.array([bound - 1, bound]), whole, members).tolist()
        assert below < code <= at and bounds[code] == bound


@pytest.mark.parametrize("name", COMBINATIONS)
def test_values_rise_with_codes_and_fit_into_64_bits(tmp_path, name):
    one = one_of(name, tmp_path)
    values = one.values(0, all_codes()).ravel()
    assert (np.diff(values) >= 0).all()
    assert 2 * int(np.abs(values).max()) * one.finest < 2**63


@pytest.mark.parametrize("task", [TWO, THREE], ids=["alone", "exclusive"])
@pytest.mark.parametrize("name", COMBINATIONS)
def test_the_order_of_members_makes_no_difference(tmp_path, name, task):
    members, _ = made(tmp_path, 3, channels=len(task.classes))
    first = blend(members, [1, 2, 3], IDS, combination(name, members, IDS, task))
    second = blend(members[::-1], [3, 2, 1], IDS, combination(name, members[::-1], IDS, task))
    for one, two in zip(first, second, strict=True):
        assert np.array_equal(one.codes, two.codes)


def test_exclusive_classes_are_voted_for_and_their_logarithms_averaged(tmp_path):
    members, codes = made(tmp_path, 3, channels=3)
    voted = list(blend(members, [1, 1, 2], IDS, combination("vote", members, IDS, THREE)))
    for image_id, found, _ in voted:
        votes = [np.argmax(each[image_id], axis=0) == np.arange(3)[:, None, None] for each in codes]
        share = [Fraction(int(each)) / 4 for each in (votes[0].astype(int) + votes[1] + 2 * votes[2]).ravel()]
        assert found.ravel().tolist() == [floor(65535 * each + Fraction(1, 2)) for each in share]
    logits, geometric = (
        list(blend(members, None, IDS, combination(name, [], IDS, THREE))) for name in ("logits", "geometric")
    )
    assert all(np.array_equal(one.codes, two.codes) for one, two in zip(logits, geometric))


def test_a_recipe_combines_again_as_it_was_fitted(tmp_path):
    members, _ = made(tmp_path)
    fitted = combination("rank", members, IDS)
    assert set(fitted.fitted) == {ALL, "run0", "run1", "run2"}
    kept = fitted.fitted_of(["run0", "run2"])
    assert set(kept) == {ALL, "run0", "run2"}
    again = combination("rank", [], [], fitted=kept)
    chosen = [members[0], members[2]]
    for one, two in zip(blend(chosen, None, IDS, fitted), blend(chosen, None, IDS, again), strict=True):
        assert np.array_equal(one.codes, two.codes)
    with pytest.raises(SegfoldError, match="run run1 has no ranks in the recipe"):
        blend(members, None, IDS, again)
    assert combination("mean", members, IDS).fitted == {} == MEAN.fitted


@pytest.mark.parametrize("damage", [lambda text: "?" + text[1:], lambda text: text[: len(text) // 2], lambda text: ""])
def test_damaged_ranks_are_refused(tmp_path, damage):
    fitted = one_of("rank", tmp_path).fitted
    with pytest.raises(SegfoldError, match=r"the ranks of run run0 in the recipe cannot be read; fit it anew"):
        Combination("rank", fitted={**fitted, "run0": damage(fitted["run0"])})


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(
        SegfoldError, match="combination 'harmonic': expected one of mean, logits, geometric, product, rank, vote"
    ):
        combination("harmonic", [], [])
    with pytest.raises(SegfoldError, match="the recipe lacks what a mean of ranks is fitted to"):
        Combination("rank", fitted={})
    with pytest.raises(ValueError, match="weights add up to 4294967297"):
        Combination("logits").codes(np.zeros(1, np.int64), (1 << 32) + 1)
