"""The first U-Net's elastic deformation: how far its nodes move, what lies between them, and that labels stay labels."""

import numpy as np
import pytest

from segfold.data.augment import Augmenter
from segfold.data.augment.elastic_grid import _weights
from segfold.tasks import FOREGROUND, Task, make_task

WINDOW = 41, 61
CLASSES = make_task("multiclass", list("abcdef"))


def moves(count: int, **settings: float) -> np.ndarray:
    """How far each pixel of a window comes from, count×H×W×2: y and x, read off images that hold their own coordinates."""
    augmenter = Augmenter({"elastic_grid": {"p": 1.0, **settings}}, 0)
    context = augmenter.context(WINDOW)
    places = np.mgrid[: WINDOW[0] + 2 * context[0], : WINDOW[1] + 2 * context[1]].transpose(1, 2, 0)
    image, mask = (places * 256).astype(np.uint16), np.zeros(places.shape[:2], np.uint8)
    here = places[context[0] : context[0] + WINDOW[0], context[1] : context[1] + WINDOW[1]]
    return np.stack([augmenter(image, mask, 0, index, context)[0] / 256 - here for index in range(count)])


def test_nodes_move_by_ten_pixels_each_for_itself() -> None:
    field = moves(400)
    at_nodes = field[:, [0, 20, 40]][:, :, [0, 30, 60]].reshape(400, 18)
    assert at_nodes.std() == pytest.approx(10, rel=0.04) and abs(at_nodes.mean()) < 0.5
    np.testing.assert_allclose(at_nodes.std(axis=0), 10, rtol=0.15)
    np.testing.assert_allclose(np.corrcoef(at_nodes.T), np.eye(18), atol=0.2)
    assert 25 < np.abs(at_nodes).max() <= 30.02


def test_the_reach_is_the_largest_move_that_there_can_be() -> None:
    """Between nodes whose draws are cut off, each of the sign that counts."""
    shares = np.abs(_weights(np.arange(601), 601, 7)).sum(axis=1)
    assert shares.max() == pytest.approx(1.25, abs=1e-4)
    rows, columns = Augmenter({"elastic_grid": {"sigma": 4.0}}, 0).context((200, 200))
    assert rows == columns and 3 * 4 * shares.max() ** 2 < rows < 3 * 4 * shares.max() ** 2 + 3


def test_between_nodes_it_is_cubic() -> None:
    """Keys' cubic gives squares exactly where four nodes lie around; at a node the node alone counts; all add up to 1."""
    weights = _weights(np.arange(101), 101, 6)
    at = np.arange(101) / 20
    inside = (at >= 1) & (at <= 4)
    np.testing.assert_allclose((weights @ np.arange(6.0) ** 2)[inside], at[inside] ** 2, atol=1e-9)
    np.testing.assert_allclose(weights[::20], np.eye(6), atol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    steps = np.diff(weights, axis=0)
    assert np.abs(np.diff(steps, axis=0)).max() < 0.02  # its slope has no jumps


def test_the_field_is_smooth_and_goes_on_beyond_the_window() -> None:
    weights = _weights(np.arange(-30, 91), 61, 3)
    np.testing.assert_array_equal(weights[:30], np.tile(weights[30], (30, 1)))
    np.testing.assert_array_equal(weights[91:], np.tile(weights[90], (30, 1)))
    for field in moves(5, sigma=5.0):
        assert np.abs(np.diff(field, n=2, axis=0)).max() < 0.3 and np.abs(np.diff(field, n=2, axis=1)).max() < 0.3


def test_more_nodes_bend_more() -> None:
    def steepness(nodes: int) -> float:
        return float(np.abs(np.diff(moves(20, nodes=nodes, sigma=3.0), axis=2)).mean())

    assert steepness(7) > 1.8 * steepness(3)


@pytest.mark.parametrize("task", [FOREGROUND, CLASSES, make_task("multilabel", ["a", "b"])], ids=lambda task: task.name)
def test_no_deviation_is_the_identity(task: Task) -> None:
    stream = np.random.default_rng(0)
    image = stream.integers(0, 256, (*WINDOW, 3), np.uint8)
    mask = (
        np.asarray(task.mask(stream.random((len(task.classes), *WINDOW)) > 0.5))
        if not task.exclusive
        else image[..., 0] % 6
    )
    augmenter = Augmenter({"elastic_grid": {"sigma": 0.0, "p": 1.0}}, 0, task)
    for index in range(3):
        changed, moved = augmenter(image, mask, 0, index)
        np.testing.assert_array_equal(changed, image)
        np.testing.assert_array_equal(moved, mask)


def test_labels_stay_labels() -> None:
    """Stripes of two classes that are no neighbours as numbers: nothing in between appears, and both stay."""
    mask = np.where(np.arange(181)[:, None] // 7 % 2, np.uint8(5), np.uint8(1)) * np.ones((1, 201), np.uint8)
    image = np.repeat(mask[:, :, None] * np.uint8(40), 3, axis=2)
    augmenter = Augmenter({"elastic_grid": {"p": 1.0}}, 0, CLASSES)
    context = 70, 70
    for index in range(20):
        changed, moved = augmenter(image, mask, 0, index, context)
        assert moved.shape == (41, 61) and set(np.unique(moved)) == {1, 5}
        sharp = (changed[..., 0] == 40) | (changed[..., 0] == 200)
        np.testing.assert_array_equal((changed[..., 0] // 40)[sharp], moved[sharp])
        assert sharp.mean() > 0.4
