"""Cross-entropy of classes, and weights of classes: against hand-computed numbers, torch's function and mmsegmentation's mean."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from loss_cases import random_batch, value, value_and_gradient
from segfold.errors import SegfoldError
from segfold.losses import BCE, Bootstrapped, Classes, CrossEntropy, Focal, StageLoss, WeightedBCE, build_loss
from segfold.losses.classes import one_hot
from segfold.settings import LossTerms

THREE = Classes(("car", "road", "sky"), exclusive=True)
WEIGHTS = {"road": 4.0, "sky": 0.5}
VECTOR = torch.tensor([1.0, 4.0, 0.5])


def batch(n: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 3, 6, 5, generator=g) * 2
    index = torch.randint(0, 3, (n, 1, 6, 5), generator=g)
    return z, index, torch.rand(n, 1, 6, 5, generator=g) < 0.7


def ignored(index: Tensor, valid: Tensor) -> Tensor:
    return index.masked_fill(~valid, -100)[:, 0]


@pytest.mark.parametrize(("average", "expected"), [("image", 0.289554), ("batch", 0.289554), ("all", 0.217166)])
def test_the_means_of_torch_and_of_mmsegmentation(average: Any, expected: float) -> None:
    z = torch.tensor([[2.0, 0], [0, 1], [0, 3], [1, 1]]).T.reshape(1, 2, 2, 2)
    label, valid = torch.tensor([0, 0, 1, 1]).reshape(1, 1, 2, 2), torch.tensor([1, 0, 1, 1]).reshape(1, 1, 2, 2) > 0
    loss = CrossEntropy(average=average)
    found = value(loss.among(Classes(("a", "b"), exclusive=True)), z, label, valid)
    assert found.item() == pytest.approx(expected, abs=1e-6)
    # One logit is the difference of the two.
    assert value(loss, z[:, 1:] - z[:, :1], label.float(), valid).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("class_weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_torch_over_the_batch_and_over_each_image(class_weights: Any, smoothing: float) -> None:
    z, index, valid = batch()
    target, weight = ignored(index, valid), VECTOR if class_weights else None

    def torchs(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, weight, label_smoothing=smoothing)

    for average in ("batch", "image"):
        loss = CrossEntropy(average=average, class_weights=class_weights, smoothing=smoothing).among(THREE)  # type: ignore[arg-type]
        found, gradient = value_and_gradient(loss, z, index, valid)
        own = z.clone().requires_grad_()
        each = [torchs(own[[i]], target[[i]]) for i in range(4)]
        expected = torchs(own, target) if average == "batch" else torch.stack(each).mean()
        expected.backward()
        torch.testing.assert_close(found, expected.detach())
        torch.testing.assert_close(gradient, own.grad, atol=1e-7, rtol=1e-5)


def test_mmsegmentation_with_class_weights() -> None:
    """The weighted losses of valid pixels, over the number of all pixels."""
    z, index, valid = batch()
    losses = F.cross_entropy(z, ignored(index, valid), VECTOR, reduction="none")
    loss = CrossEntropy(average="all", class_weights=WEIGHTS).among(THREE)
    torch.testing.assert_close(value(loss, z, index, valid), losses.sum() / losses.numel())


def test_mixed_targets_have_the_mix_of_the_losses() -> None:
    """Of a linear loss in the targets, over the mix of the weights."""
    z, index, _ = batch()
    shares = 0.7 * one_hot(index, 3) + 0.3 * one_hot(index.flip(0), 3)
    found = value(CrossEntropy().among(THREE), z, shares)
    expected = F.cross_entropy(z, shares)
    torch.testing.assert_close(found, expected)
    weighted = value(CrossEntropy(average="batch", class_weights=WEIGHTS).among(THREE), z, shares)
    summed = F.cross_entropy(z, shares, VECTOR, reduction="sum")
    torch.testing.assert_close(weighted, summed / (shares * VECTOR[:, None, None]).sum())


def test_classes_that_do_not_exclude_each_other_have_binary_cross_entropy() -> None:
    z, y, valid = random_batch(c=3)
    for smoothing in (0.0, 0.1):
        ours = value_and_gradient(CrossEntropy(smoothing=smoothing), z, y, valid)
        torch.testing.assert_close(ours, value_and_gradient(BCE(smoothing=smoothing), z, y, valid))
    losses = F.binary_cross_entropy_with_logits(z, y, reduction="none")[valid.expand_as(z)]
    torch.testing.assert_close(value(CrossEntropy(average="batch"), z, y, valid), losses.mean())


@pytest.mark.parametrize("loss", [CrossEntropy, Focal, Bootstrapped, WeightedBCE])
def test_weights_of_classes_that_do_not_exclude_each_other_weigh_their_means(loss: Any) -> None:
    z, y, valid = random_batch(c=3)
    each = torch.stack([value(loss(), z[:, [c]], y[:, [c]], valid) for c in range(3)])
    bound = loss(class_weights=WEIGHTS).among(Classes(THREE.names))
    torch.testing.assert_close(value(bound, z, y, valid), (each * VECTOR).sum() / VECTOR.sum())


@pytest.mark.parametrize("name", ["focal", "bootstrapped", "weighted"])
def test_with_nothing_else_set_all_weigh_as_cross_entropy(name: str) -> None:
    z, index, valid = batch()
    plain: dict[str, dict[str, Any]] = {"focal": {"gamma": 0.0}, "bootstrapped": {"fraction": 1.0}, "weighted": {}}
    for given in (None, WEIGHTS):
        for target in (index, 0.8 * one_hot(index, 3) + 0.2 * one_hot(index.flip(0), 3)):
            if name == "weighted" and given and target is not index:
                continue  # its weights go by the class with the largest share
            ours = value_and_gradient(build_loss(name, THREE, **plain[name], class_weights=given), z, target, valid)
            expected = value_and_gradient(build_loss("ce", THREE, class_weights=given), z, target, valid)
            torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-4)


def test_a_class_of_weight_zero_teaches_nothing() -> None:
    z, index, valid = batch()
    without = valid & (index != 1)
    for name in ("ce", "focal", "bootstrapped", "weighted"):
        settings: dict[str, Any] = {"fraction": 1.0} if name == "bootstrapped" else {}
        ours = value_and_gradient(build_loss(name, THREE, class_weights={"road": 0}, **settings), z, index, valid)
        expected = value_and_gradient(build_loss(name, THREE, **settings), z, index, without)
        torch.testing.assert_close(ours, expected)
    only = torch.ones_like(index)
    found, gradient = value_and_gradient(build_loss("ce", THREE, class_weights={"road": 0}), z, only)
    assert found == 0 and not gradient.any()


@pytest.mark.parametrize(
    ("settings", "classes", "message"),
    [
        ({"class_weights": {"raod": 2}}, THREE, "names raod, which is not a class: did you mean road?"),
        ({"class_weights": {"x": 2}}, THREE, "names x, which is not a class: use some of car, road, sky"),
        ({"class_weights": {"salt": 2}}, Classes(("salt",)), "is given but salt is the only class"),
        ({"class_weights": {"car": 0, "road": 0, "sky": 0}}, THREE, "is 0 for every class"),
        ({"class_weights": {"car": -1}}, THREE, r"\.car: Input should be greater"),
    ],
)
def test_weights_that_cannot_be_are_refused(settings: Any, classes: Classes, message: str) -> None:
    with pytest.raises(SegfoldError, match=rf"^loss\.mask\.ce\.class_weights ?{message}[^\n]*$"):
        build_loss("ce", classes, **settings)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"focal": (1.0, {"alpha": 0.25})}, "loss.mask.focal.alpha is 0.25, .* use loss.mask.focal.class_weights"),
        ({"weighted": (1.0, {"positive": 2})}, "weighted.positive is 2, .* use loss.mask.weighted.class_weights"),
        ({"weighted": (1.0, {"border": 10})}, "weighted.border is 10, .* no class is the background"),
    ],
)
def test_what_asks_for_an_object_is_refused_where_there_is_none(mask: Any, message: str) -> None:
    with pytest.raises(SegfoldError, match=message):
        StageLoss(mask, classes=THREE.names, exclusive=True)
    StageLoss(mask, classes=THREE.names)


def test_settings_bring_the_classes_to_the_losses() -> None:
    z, index, valid = batch()
    terms = LossTerms.model_validate({"mask": {"ce": {"weight": 2, "class_weights": {"road": 4}}, "dice": 3}})
    own = StageLoss(
        {"ce": (2.0, {"class_weights": {"road": 4}}), "dice": (3.0, {})},
        classes=THREE.names,
        exclusive=True,
        background=2,
    )
    built = terms.build(classes=list(THREE.names), exclusive=True, background=2)
    assert built.classes == own.classes
    assert torch.equal(built(z, {}, index, valid)[0], own(z, {}, index, valid)[0])
    with pytest.raises(SegfoldError, match=r"class_weights names road, which is not a class: did you mean roads\?"):
        terms.build(classes=("roads", "car"), exclusive=True)


def test_names_that_are_not_known_yet_are_not_looked_at() -> None:
    """As where settings are checked without a competition."""
    z, index, _ = batch()
    loss = StageLoss({"ce": (1.0, {"class_weights": {"raod": 2}})}, exclusive=True)
    expected = F.cross_entropy(z, index[:, 0])
    torch.testing.assert_close(loss(z, {}, index)[0], expected)
