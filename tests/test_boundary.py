"""The boundary loss: its distances against brute force, its conventions and what it teaches."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from loss_cases import random_batch, value, value_and_gradient
from segfold.losses import Boundary, boundary


def test_distances_of_a_row():
    marks = np.array([1, 1, 2, 2, 2, 1], np.uint8).reshape(1, 1, 1, 6)
    assert boundary.signed_distance(marks).ravel().tolist() == [2, 1, 0, -1, 0, 1]
    z, y = torch.zeros(1, 1, 1, 6), torch.from_numpy(marks - 1.0).float()
    assert value(Boundary(), z, y).item() == pytest.approx(0.5 * 3 / 6, abs=1e-6)
    valid = torch.tensor([True, True, False, True, True, False]).reshape(1, 1, 1, 6)
    # Without the object's first pixel the background is 3 and 2 away from it; its end has no background beyond.
    assert value(Boundary(), z, y, valid).item() == pytest.approx(0.5 * (3 + 2 - 1 - 2) / 4, abs=1e-6)


def test_distances_equal_brute_force_and_the_authors_transform():
    g = np.random.default_rng(0)
    marks = g.choice(3, size=(3, 2, 11, 8), p=[0.2, 0.7, 0.1]).astype(np.uint8)
    places = np.stack(np.meshgrid(np.arange(11), np.arange(8), indexing="ij"), axis=-1).reshape(-1, 2)
    apart = np.sqrt(((places[:, None] - places[None]) ** 2).sum(-1))
    for mark, signed in zip(marks.reshape(-1, 88), boundary.signed_distance(marks).reshape(-1, 88), strict=True):
        to_object, to_rest = (apart[:, mark == kind].min(axis=1) for kind in (2, 1))
        expected = np.select([mark == 1, mark == 2], [to_object, 1 - to_rest], 0.0)
        np.testing.assert_allclose(signed, expected, atol=1e-5)
    truth = np.zeros((101, 101), bool)
    truth[20:60, 10:70] = truth[50:90, 40:52] = True
    expected = distance_transform_edt(~truth) * ~truth - (distance_transform_edt(truth) - 1) * truth
    ours = boundary.signed_distance(truth.astype(np.uint8)[None, None] + np.uint8(1))
    np.testing.assert_allclose(ours[0, 0], expected, atol=1e-4)


def test_boundary_is_linear_in_the_probabilities_and_least_at_the_mask():
    y = torch.zeros(1, 1, 12, 12)
    y[..., 3:9, 2:8] = 1
    right = (2 * y - 1) * 50
    best = value(Boundary(), right, y)
    assert best < 0
    costs = []
    for place in ((3, 1), (3, 0), (0, 11)):  # claimed beside the object, two away, in the far corner
        z = right.clone()
        z[..., place[0], place[1]] = 50
        costs.append((value(Boundary(), z, y) - best).item() * 144)
    assert costs == pytest.approx([1, 2, 5], abs=1e-4)
    missed = right.clone()
    missed[..., 5, 5] = -50  # 3 pixels inside the object's edge row
    assert (value(Boundary(), missed, y) - best).item() * 144 == pytest.approx(2, abs=1e-4)


def test_masks_without_a_boundary_cost_nothing_and_count():
    z, y, _ = random_batch()
    result, gradient = value_and_gradient(Boundary(), z, y)
    assert (gradient[:2] == 0).all()  # empty, full
    alone, _ = value_and_gradient(Boundary(), z[2:], y[2:])
    assert result.item() == pytest.approx(alone.item() / 2, abs=1e-6)
    y[3, 0, 0, 0] = 0
    y[3, 0, 4:] = 1
    valid = torch.ones(4, 1, 9, 7, dtype=torch.bool)
    valid[3, 0, :4] = False  # full where it counts
    assert (value_and_gradient(Boundary(), z, y, valid)[1][3] == 0).all()


def test_boundary_takes_soft_targets_by_the_larger_share():
    z, y, valid = random_batch()
    mixed = 0.7 * y + 0.3 * y.flip(0)
    assert value(Boundary(), z, mixed, valid) == value(Boundary(), z, y, valid)


def test_one_map_serves_all_heads_and_never_another_mask(monkeypatch):
    made = []
    plain = boundary.signed_distance
    monkeypatch.setattr(boundary, "signed_distance", lambda marks: made.append(1) or plain(marks))
    z, y, valid = random_batch()
    loss = Boundary()
    first = value(loss, z, y, valid)
    assert value(loss, z, y.clone(), valid) == first
    assert len(made) == 1
    y[2] = y[2].flip(-1)  # in place: the same tensor, another mask
    assert value(loss, z, y, valid) == value(Boundary(), z, y, valid)
    assert value(loss, z, y) == value(Boundary(), z, y)
