"""The Lovász-softmax against the hand-computed number, another library, and its laws."""

import pytest
import segmentation_models_pytorch.losses as smp
import torch

from loss_cases import value, value_and_gradient
from segfold.losses import Classes, Lovasz, LovaszSoftmax


def exclusive(**settings) -> LovaszSoftmax:
    return LovaszSoftmax(**settings).among(Classes(("a", "b", "c"), exclusive=True))


def one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).float()


def batch(n: int = 4, c: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, c, (n, 6, 5), generator=g)
    labels[0] = 1  # the other classes are absent
    return torch.randn(n, c, 6, 5, generator=g) * 2, labels


def test_the_worked_example() -> None:
    p = torch.tensor([[0.8, 0.3], [0.6, 0.1]])
    labels = torch.tensor([[0, 1], [1, 1]])
    z = torch.stack([p, 1 - p]).log()[None]
    assert value(exclusive(), z, one_hot(labels[None], 2)).item() == pytest.approx(0.379167, abs=1e-6)
    assert value(exclusive(), z, labels[None, None]).item() == pytest.approx(0.379167, abs=1e-6)
    # One logit is the difference of the two.
    single = (z[:, 1] - z[:, 0])[:, None]
    assert value(LovaszSoftmax(), single, labels[None, None].float()).item() == pytest.approx(0.379167, abs=1e-6)


@pytest.mark.parametrize("per_image", [True, False])
def test_values_and_gradients_of_the_library(per_image: bool) -> None:
    z, labels = batch()
    result, gradient = value_and_gradient(exclusive(per_image=per_image), z, one_hot(labels, 3))
    z.requires_grad_()
    expected = smp.LovaszLoss("multiclass", per_image=per_image)(z, labels)
    expected.backward()
    assert result.item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(gradient, z.grad, atol=1e-7, rtol=1e-4)


def test_absent_classes_count_by_their_surest_pixel_if_all_do() -> None:
    z, labels = batch(n=1)
    p = z.softmax(1)[0]
    present = value(exclusive(), z, one_hot(labels, 3))
    everything = value(exclusive(classes="all"), z, one_hot(labels, 3))
    torch.testing.assert_close(everything * 3, present + p[0].max() + p[2].max())


def test_pixels_outside_take_no_part() -> None:
    z, labels = batch()
    valid = torch.rand(4, 1, 6, 5, generator=torch.Generator().manual_seed(1)) < 0.6
    for i in range(4):
        inside = valid[i, 0]
        alone = (x[i][:, inside][None, :, None] for x in (z, one_hot(labels, 3)))
        whole = value(exclusive(), z[[i]], one_hot(labels, 3)[[i]], valid[[i]])
        torch.testing.assert_close(whole, value(exclusive(), *alone))


def test_order_of_pixels_and_classes_does_not_matter() -> None:
    z, labels = batch()
    y = one_hot(labels, 3)
    expected = value(exclusive(), z, y)
    torch.testing.assert_close(value(exclusive(), z.flip(3), y.flip(3)), expected)
    torch.testing.assert_close(value(exclusive(), z[:, [2, 0, 1]], y[:, [2, 0, 1]]), expected)


def test_certain_answers_have_the_jaccard_distance() -> None:
    _, labels = batch(n=2)
    guess = labels.roll(1, dims=2)
    z = 100 * one_hot(guess, 3)
    for i in range(2):
        classes = [c for c in range(3) if (labels[i] == c).any()]
        pairs = [(labels[i] == c, guess[i] == c) for c in classes]
        distances = [1 - (a & b).sum() / (a | b).sum() for a, b in pairs]
        found = value(exclusive(), z[[i]], one_hot(labels, 3)[[i]])
        torch.testing.assert_close(found, torch.stack(distances).mean())


@pytest.mark.parametrize("per_image", [True, False])
def test_classes_that_do_not_exclude_each_other_are_a_single_logit_each(per_image: bool) -> None:
    z, labels = batch()
    y = torch.cat([one_hot(labels, 3)[:, :2], torch.ones(4, 1, 6, 5)], dim=1)
    loss = LovaszSoftmax(per_image=per_image)
    each = [value(loss, z[:, [i]], y[:, [i]]) for i in range(3)]
    torch.testing.assert_close(value(loss, z, y), torch.stack(each).mean())


def test_it_is_bounded_where_the_hinge_is_not() -> None:
    z = torch.full((1, 1, 4, 4), 50.0)
    y = torch.zeros_like(z)
    assert value(LovaszSoftmax(), z, y).item() == pytest.approx(1.0)
    assert value(Lovasz(), z, y).item() == pytest.approx(51.0)
