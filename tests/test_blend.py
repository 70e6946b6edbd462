"""Blending: paired by id, exact, independent of order, flat in memory."""

import os
import resource
import subprocess
import sys
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfold.ensemble import OofMember, TestMember, blend, check_same_folds, common_ids
from segfold.ensemble.blend import proportions
from segfold.errors import SegfoldError
from segfold.store import MeanStore, ProbabilityStore
from segfold.store.writer import StoreWriter

SHAPES = {"a": (1, 2, 3), "b": (1, 4, 1), "c": (1, 1, 1), "d": (1, 3, 3)}


def store(folder, ids, seed, shapes=SHAPES, split="test"):
    rng = np.random.default_rng(seed)
    codes = {image_id: rng.integers(0, 65536, shapes[image_id], np.uint16) for image_id in sorted(ids)}
    with StoreWriter(folder, split, ids, [shapes[image_id] for image_id in ids], {"seed": seed}) as writer:
        for image_id in ids:
            writer.append(image_id, codes[image_id])
        return writer.finish(), codes


def codes_of(blended):
    return {found.id: found.codes for found in blended}


def rounded_mean(terms):
    """floor(weighted mean + 1/2) with fractions: [(weight, codes)]."""
    whole = sum(weight for weight, _ in terms)
    total = sum((codes.astype(object) * weight for weight, codes in terms), start=0)
    return np.vectorize(lambda value: floor(Fraction(value) / whole + Fraction(1, 2)))(total)


@pytest.mark.parametrize("chunk", [1, 5, 7])
def test_a_large_image_is_blended_row_by_row_to_the_same_codes(tmp_path, monkeypatch, chunk):
    shapes = {"a": (3, 7, 2), "b": (1, 5, 11)}
    stores = [store(tmp_path / str(seed), list("ab"), seed, shapes)[0] for seed in range(4)]
    parts = [store(tmp_path / f"oof{seed}", ["ab"[seed]], seed, shapes, "oof")[0] for seed in range(2)]
    members = [TestMember("double", {0: stores[0], 1: MeanStore(stores[1:3])}), TestMember("single", {0: stores[3]})]
    out_of_fold = [OofMember("oof", dict(enumerate(parts)))]
    wanted = codes_of(blend(members, [2, 1], "ab")), codes_of(blend(out_of_fold, None, "ab"))
    monkeypatch.setattr(sys.modules["segfold.ensemble.blend"], "_CHUNK", chunk)
    monkeypatch.setattr(ProbabilityStore, "codes", lambda *_: pytest.fail("read as a whole"))
    for found, whole in zip((codes_of(blend(members, [2, 1], "ab")), codes_of(blend(out_of_fold, None, "ab"))), wanted):
        assert all(np.array_equal(found[name], whole[name]) for name in "ab")


def test_folds_are_averaged_within_a_run_and_then_runs(tmp_path):
    """A run of two folds counts as much as a run of one; every store has its own order."""
    one, one_codes = store(tmp_path / "0", list("abcd"), 0)
    two, two_codes = store(tmp_path / "1", list("dcba"), 1)
    three, three_codes = store(tmp_path / "2", list("bdac"), 2)
    members = [TestMember("double", {0: one, 3: two}), TestMember("single", {0: three})]
    found = codes_of(blend(members, None, list("cadb")))
    assert list(found) == list("cadb")
    for image_id in "abcd":
        half, quarter = Fraction(1, 2), Fraction(1, 4)
        terms = [
            (quarter, one_codes[image_id]),
            (quarter, two_codes[image_id]),
            (half, three_codes[image_id]),
        ]
        assert np.array_equal(found[image_id], rounded_mean(terms))
        assert found[image_id].dtype == np.uint16 and found[image_id].shape == SHAPES[image_id]


def test_given_weights(tmp_path):
    made = [store(tmp_path / str(n), list("ab"), n) for n in range(3)]
    members = [TestMember(f"r{n}", {0: one}) for n, (one, _) in enumerate(made)]
    found = codes_of(blend(members, [1, 0.25, 3], ["a", "b"]))
    for image_id in "ab":
        terms = zip([Fraction(1), Fraction(1, 4), Fraction(3)], (codes[image_id] for _, codes in made))
        assert np.array_equal(found[image_id], rounded_mean(list(terms)))
    scaled = codes_of(blend(members, [40, 10, 120], ["a", "b"]))
    backwards = codes_of(blend(members[::-1], [3, 0.25, 1], ["a", "b"]))
    alone = codes_of(blend(members, [0, 2, 0], ["a", "b"]))
    for image_id in "ab":
        assert np.array_equal(scaled[image_id], found[image_id])
        assert np.array_equal(backwards[image_id], found[image_id])
        assert np.array_equal(alone[image_id], made[1][1][image_id])


def test_ties_do_not_depend_on_the_order_of_members(tmp_path):
    """Means that end in exactly one half: floating-point sums round them one way or the other by order."""
    rng = np.random.default_rng(0)
    shape = {"a": (1, 100, 100)}
    made = [store(tmp_path / str(n), ["a"], n, shape) for n in range(6)]
    members = [
        TestMember("x", {0: made[0][0], 1: made[1][0], 2: made[2][0]}),
        TestMember("y", {0: made[3][0]}),
    ]
    members += [TestMember("z", {0: made[4][0], 1: made[5][0]})]
    results = [codes_of(blend([members[i] for i in rng.permutation(3)], None, ["a"]))["a"] for _ in range(6)]
    third = [(Fraction(1, 9), made[n][1]["a"]) for n in (0, 1, 2)] + [(Fraction(1, 3), made[3][1]["a"])]
    expected = rounded_mean(third + [(Fraction(1, 6), made[n][1]["a"]) for n in (4, 5)])
    assert all(np.array_equal(result, expected) for result in results)


def test_a_member_blended_with_itself_is_itself(tmp_path):
    one, codes = store(tmp_path, list("abcd"), 0)
    members = [TestMember(name, {0: one, 1: one, 2: one}) for name in "xyz"]
    for image_id, found, _ in blend(members, [0.1, 0.7, 0.2], list("abcd")):
        assert np.array_equal(found, codes[image_id])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(1e-3, 1e3), st.integers(1, 10)), min_size=1, max_size=8),
)
def test_proportions_keep_the_ratio_and_fit_in_64_bits(pairs):
    weights, parts = zip(*pairs)
    found = proportions(weights, parts)
    whole = sum(value * part for value, part in zip(found, parts))
    assert 2 * 65535 * whole + whole < 2**63
    total = sum(map(Fraction, weights))
    for value, weight, part in zip(found, weights, parts):
        assert abs(Fraction(value * part, whole) - Fraction(weight) / total) < Fraction(1, 10**10)


def test_proportions_are_exact_for_plain_weights():
    assert proportions([1, 1, 1, 3], [1, 1, 1, 1]) == [1, 1, 1, 3]
    assert proportions([0.1, 0.2, 0.7], [1, 1, 1]) == [1, 2, 7]
    assert proportions([1, 1], [5, 3]) == [3, 5]


@pytest.mark.parametrize("weights", [[1, -1], [0, 0], [float("nan"), 1], [float("inf"), 1]])
def test_impossible_weights_are_refused(tmp_path, weights):
    one, _ = store(tmp_path, ["a"], 0)
    members = [TestMember("x", {0: one}), TestMember("y", {0: one})]
    with pytest.raises(SegfoldError, match="expected numbers of 0 or more"):
        blend(members, weights, ["a"])


def test_what_does_not_fit_is_refused_in_one_line(tmp_path):
    one, _ = store(tmp_path / "0", list("ab"), 0)
    two, _ = store(tmp_path / "1", list("bc"), 1)
    three, _ = store(tmp_path / "2", list("ab"), 2, {"a": (1, 3, 2), "b": (1, 4, 1)})
    with pytest.raises(SegfoldError, match="1 weights for 2 runs"):
        blend([TestMember("x", {0: one})] * 2, [1.0], ["a"])
    with pytest.raises(SegfoldError, match="nothing to blend"):
        blend([], None, ["a"])
    with pytest.raises(SegfoldError, match=r"run r: folds 0 and 4 predict different test images \(a, c\)"):
        TestMember("r", {0: one, 4: two})
    with pytest.raises(SegfoldError, match="run r: no finished fold"):
        TestMember("r", {})
    with pytest.raises(SegfoldError, match="run y does not predict image a"):
        list(blend([TestMember("x", {0: one}), TestMember("y", {0: two})], None, ["b", "a"]))
    with pytest.raises(SegfoldError, match=r"image a: run y predicts \(1, 3, 2\)"):
        list(blend([TestMember("x", {0: one}), TestMember("y", {0: three})], None, ["a"]))
    with pytest.raises(SegfoldError, match="run r: fold 1 predicts image a"):
        list(blend([TestMember("r", {0: one, 1: three})], None, ["a"]))


def test_out_of_fold_takes_each_id_from_its_own_fold(tmp_path):
    zero, zero_codes = store(tmp_path / "0", list("ca"), 0, split="oof")
    four, four_codes = store(tmp_path / "1", list("b"), 1, split="oof")
    member = OofMember("r", {0: zero, 4: four})
    assert member.fold_of == {"c": 0, "a": 0, "b": 4}
    found = codes_of(blend([member], None, list("abc")))
    for image_id, codes in {**zero_codes, **four_codes}.items():
        assert np.array_equal(found[image_id], codes)


def test_an_id_in_two_folds_is_refused(tmp_path):
    zero, _ = store(tmp_path / "0", list("ab"), 0)
    one, _ = store(tmp_path / "1", list("bc"), 1)
    with pytest.raises(SegfoldError, match="run r: image b is out of fold in both fold 0 and fold 1"):
        OofMember("r", {0: zero, 1: one})


def test_ids_that_a_run_lacks_are_reported(tmp_path):
    ab, _ = store(tmp_path / "0", list("ba"), 0)
    cd, _ = store(tmp_path / "1", list("dc"), 1)
    full, part = OofMember("full", {0: ab, 1: cd}), OofMember("part", {1: cd})
    common = common_ids([full, part])
    assert common.ids == ["c", "d"] and common.of == 4 and common.missing == {"full": 0, "part": 2}
    assert common.lines() == ["run part lacks 2 of 4 images: scores are over the 2 that all runs predicted"]
    assert common_ids([full]).ids == list("abcd") and common_ids([full]).lines() == []
    with pytest.raises(SegfoldError, match=r"no image is predicted by every run \(half 2; part 2\)"):
        common_ids([OofMember("half", {0: ab}), part])
    with pytest.raises(SegfoldError, match="have one name"):
        common_ids([full, OofMember("full", {0: ab})])


def test_runs_of_different_fold_files_are_refused(tmp_path):
    ab, _ = store(tmp_path / "0", list("ab"), 0)
    cd, _ = store(tmp_path / "1", list("cd"), 1)
    ac, _ = store(tmp_path / "2", list("ac"), 2)
    one, same = OofMember("one", {0: ab, 1: cd}), OofMember("same", {1: cd})
    check_same_folds([one, same])
    with pytest.raises(
        SegfoldError, match=r"runs one and other use different fold files \(image c is in fold 1 and fold 0\)"
    ):
        check_same_folds([one, same, OofMember("other", {0: ac})])


def test_memory_stays_flat_as_images_and_members_grow(tmp_path):
    """Blends 4 × 30 MB in a process of its own."""
    code = f"""
import resource, numpy as np
from segfold.ensemble import TestMember, blend
from segfold.store import MeanStore, ProbabilityStore
from segfold.store.writer import StoreWriter
ids = [str(i) for i in range(60)]
image = np.zeros((1, 500, 500), np.uint16)
def rss(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
stores = []
for n in range(4):
    folder = {str(tmp_path)!r} + f"/{{n}}"
    with StoreWriter(folder, "test", ids, [image.shape] * 60, {{}}, sync_seconds=1e9) as writer:
        for i in ids: writer.append(i, image)
        stores.append(writer.finish())
members = [TestMember("x", dict(enumerate(stores[:3]))), TestMember("y", {{0: stores[3]}})]
list(codes.sum() for _, codes, _ in blend(members, None, ids[:3]))
before = rss()
for _ in blend(members, None, ids): pass
print((rss() - before) // 1024)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(answer.stdout) < 16


def test_a_big_ensemble_needs_few_open_files(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    made = [store(tmp_path / str(n), ["c"], n)[0] for n in range(30)]
    in_use = max(int(entry.name) for entry in Path("/dev/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 12, hard))
    try:
        assert len(list(blend([TestMember(str(n), {0: one}) for n, one in enumerate(made)], None, ["c"]))) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_one_large_image_is_held_at_a_time(tmp_path, monkeypatch):
    """Small ones are worked on ahead; of large ones none before the last one was taken."""
    shapes = dict.fromkeys("abcdef", (1, 4, 5))
    one, codes = store(tmp_path, list("abcdef"), 0, shapes)
    blending = sys.modules["segfold.ensemble.blend"]
    monkeypatch.setattr(blending, "_TOGETHER", 20)
    monkeypatch.setattr(blending, "cores", lambda: 2)
    asked = []
    monkeypatch.setattr(TestMember, "groups", counted(TestMember.groups, asked))
    for chunk, ahead in ((20, 1), (60, 3)):
        monkeypatch.setattr(blending, "_CHUNK", chunk)
        asked.clear()
        for taken, found in enumerate(blend([TestMember("r", {0: one})], None, "abcdef"), start=1):
            assert np.array_equal(found.codes, codes[found.id])
            assert len(asked) <= taken - 1 + ahead
        assert asked == [[name] for name in "abcdef"]


def counted(groups, asked):
    """The same, which notes what it was asked for."""

    def noting(self, ids):
        asked.append(list(ids))
        return groups(self, ids)

    return noting
