"""What members add, and how far they differ: against the real blend, numpy and masks by hand."""

from pathlib import Path

import numpy as np
import pytest

from oof_sets import BINARY, THREE, TWO, oof_set, stored
from segfold.ensemble import contribution
from segfold.ensemble.contribution import correlation, disagreement, leave_one_out
from segfold.ensemble.disputed import Disputed


@pytest.mark.parametrize(("task", "metric"), [(BINARY, "precision"), (TWO, "miou"), (THREE, "dice")])
def test_what_a_member_adds_is_the_blend_less_the_blend_without_it(tmp_path: Path, task, metric) -> None:  # type: ignore[no-untyped-def]
    made = oof_set(tmp_path, task, metric, members=4)
    scored = Disputed.of(made.members, made.ids, made.images)
    found = leave_one_out(scored, [3, 0, 2, 1])
    assert [(each.name, each.weight) for each in found] == [("run0", 3), ("run2", 2), ("run3", 1)]
    for each, others in zip(found, [[0, 0, 2, 1], [3, 0, 0, 1], [3, 0, 2, 0]]):
        assert each.adds is not None and each.adds.standard_error > 0
        assert each.adds.difference == pytest.approx(made.score([3, 0, 2, 1]) - made.score(others), abs=1e-7)
        assert each.adds.a.mean == pytest.approx(made.score(others), abs=1e-7)


def test_on_some_images_and_of_a_member_alone(tmp_path: Path) -> None:
    made = oof_set(tmp_path)
    scored = Disputed.of(made.members, made.ids, made.images)
    rows = scored.rows_of([1])
    (found,) = leave_one_out(scored, [0, 2, 0], rows)
    assert (found.name, found.adds) == ("run1", None)
    adds = leave_one_out(scored, [1, 1, 0], rows)[0].adds
    assert adds is not None and adds.images == 3
    assert adds.difference == pytest.approx(scored.score([1, 1, 0], rows) - scored.score([0, 1, 0], rows), abs=1e-7)


@pytest.mark.parametrize(
    ("task", "metric"), [(BINARY, "iou"), (TWO, "dice"), (THREE, "miou"), (TWO, "object_precision")]
)
def test_disagreement_is_the_share_of_pixels_decided_differently(tmp_path: Path, task, metric) -> None:  # type: ignore[no-untyped-def]
    made = oof_set(tmp_path, task, metric)
    different, pixels = np.zeros((3, 3)), 0
    for name in made.ids:
        truth = made.images.truth(name)
        valid = task.valid(truth)
        counts = np.ones(truth.shape, bool) if valid is None else valid
        codes = [member.stored(name)[0][0].codes(member.stored(name)[0][1]) for member in made.members]
        masks = [each.argmax(axis=0)[None] if task.exclusive else each >= 32768 for each in codes]
        pixels += np.count_nonzero(counts) * len(masks[0])
        different += [[np.count_nonzero((a != b)[:, counts]) for a in masks] for b in masks]
    found = disagreement(Disputed.of(made.members, made.ids, made.images))
    np.testing.assert_allclose(found, different / pixels, rtol=1e-12)
    assert found[0, 2] > found[0, 1] > 0.01


@pytest.mark.parametrize("band", [1 << 22, 500])
def test_correlation_is_numpys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, band: int) -> None:
    made = oof_set(tmp_path, TWO, "dice")
    level = [np.full(member.shape(name), 7, np.uint16) for name in made.ids for member in made.members[:1]]
    members = [*made.members, stored(tmp_path, "level", made.ids, level)]
    monkeypatch.setattr(contribution, "_BAND", band)
    codes = [
        np.concatenate([store.codes(row).ravel() for name in made.ids for store, row in member.stored(name)])
        for member in made.members
    ]
    found = correlation(members, made.ids)
    np.testing.assert_allclose(found[:3, :3], np.corrcoef(codes), rtol=1e-9)
    assert found[3].tolist() == [0, 0, 0, 1]
