"""The loss of a stage: the three published forms of deep supervision, and what holds for each."""

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import elu, relu

from loss_cases import Y, Z
from segfold.errors import SegfoldError
from segfold.losses import LOSSES, HeadTerm, StageLoss
from segfold.models import HEADS

LEVELS = 5
SYMMETRIC = {"lovasz": (1.0, {"symmetric": True, "activation": "elu"})}
ELU = {"lovasz": (1.0, {"activation": "elu"})}
WARM_UP = {"bce": (0.9, {}), "dice": (0.5, {"smooth": 0.0})}

FORMS = {
    "tugstugi": StageLoss(SYMMETRIC, {"levels": HeadTerm(0.1, "nonempty"), "image": HeadTerm(0.05)}),
    "seutao": StageLoss(ELU, {"nonempty": HeadTerm(0.5, "nonempty"), "image": HeadTerm(0.05)}),
    "seutao-warm-up": StageLoss(WARM_UP, {"nonempty": HeadTerm(0.5, "nonempty"), "image": HeadTerm(0.05)}),
    "phalanx": StageLoss({"lovasz": (1.0, {})}, {"nonempty": HeadTerm(1.0, "zeroed"), "image": HeadTerm(1.0)}),
    "batch-dice": StageLoss(
        {"dice": (1.0, {"mode": "batch"})}, {"levels": HeadTerm(0.3), "nonempty": HeadTerm(0.2, "all")}
    ),
    "half-way": StageLoss(
        {"focal": (1.0, {"smoothing": 0.1}), "tversky": (0.0, {"gamma": 0.75}), "boundary": (0.1, {})},
        {"levels": HeadTerm(0.1, "zeroed"), "image": HeadTerm(0.05)},
        ramp={"focal": 0.0, "tversky": 1.0},
    ).at(0.5),
}
forms = pytest.mark.parametrize("stage", FORMS.values(), ids=FORMS)


def batch(masks, seed=0, c=1, size=8):
    """Network output and target for masks named empty, full or some; every tensor wants a gradient."""
    g = torch.Generator().manual_seed(seed)
    n = len(masks)
    y = (torch.rand(n, c, size, size, generator=g) < 0.3).float()
    for i, kind in enumerate(masks):
        if kind != "some":
            y[i] = float(kind == "full")
    logits = torch.randn(n, c, size, size, generator=g).requires_grad_()
    heads = {
        "levels": torch.randn(n, LEVELS, c, size, size, generator=g).requires_grad_(),
        "nonempty": torch.randn(n, c, size, size, generator=g).requires_grad_(),
        "image": torch.randn(n, 1, generator=g).requires_grad_(),
    }
    return logits, heads, y


def hinge(z, y, act):
    """Lovász hinge of one image as published."""
    z, y = z.flatten(), y.flatten()
    errors, order = (1 - z * (2 * y - 1)).sort(descending=True)
    y = y[order]
    jaccard = 1 - (y.sum() - y.cumsum(0)) / (y.sum() + (1 - y).cumsum(0))
    return (act(errors) * torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])).sum()


def elu_plus_one(m):
    return elu(m) + 1


def symmetric(z, y):
    return (hinge(z, y, elu_plus_one) + hinge(-z, 1 - y, elu_plus_one)) / 2


def dice_and_bce(z, y):
    p = z.sigmoid()
    return 0.9 * bce(z, y) + 0.5 * (1 - 2 * (p * y).sum() / (p.sum() + y.sum()))


def published(name, logits, heads, y):
    """The three forms image by image, in the words of their authors."""
    n, a = len(y), heads["image"]
    filled = [i for i in range(n) if y[i].any()]
    is_filled = y.flatten(1).any(1, keepdim=True).float()
    if name == "tugstugi":
        levels = sum(
            sum(symmetric(heads["levels"][i, s], y[i]) for i in filled) / max(len(filled), 1) for s in range(LEVELS)
        )
        return sum(symmetric(logits[i], y[i]) for i in range(n)) / n + 0.1 * levels + 0.05 * bce(a, is_filled)
    if name == "phalanx":
        pixel = sum(hinge(heads["nonempty"][i], y[i], relu) for i in filled) / n
        # Its image logit is for "empty": the same cross-entropy with both signs turned.
        return sum(hinge(logits[i], y[i], relu) for i in range(n)) / n + bce(-a, 1 - is_filled) + pixel

    def loss(z, y):
        return hinge(z, y, elu_plus_one) if name == "seutao" else dice_and_bce(z, y)

    pixel = sum(loss(heads["nonempty"][i], y[i]) for i in filled) / max(len(filled), 1)
    return sum(loss(logits[i], y[i]) for i in range(n)) / n + 0.5 * pixel + 0.05 * bce(a, is_filled)


def gradients(total, logits, heads):
    tensors = [logits, heads["levels"], heads["nonempty"], heads["image"]]
    return torch.autograd.grad(total, tensors, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("name", ["tugstugi", "seutao", "seutao-warm-up", "phalanx"])
@pytest.mark.parametrize("masks", [("some", "empty", "full", "empty", "some"), ("empty",), ("some",)])
def test_the_published_forms(name, masks):
    out = batch(masks)
    total, _ = FORMS[name](*out)
    expected = published(name, *out)
    torch.testing.assert_close(total, expected, atol=1e-5, rtol=0)
    for ours, theirs in zip(gradients(total, *out[:2]), gradients(expected, *out[:2]), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


@forms
def test_only_empty_masks(stage):
    """The heads for non-empty images: a term of exactly 0, gradients of exactly 0, no NaN."""
    logits, heads, y = batch(("empty",) * 3)
    total, parts = stage(logits, heads, y)
    assert total.isfinite()
    pixel, levels, nonempty, _ = gradients(total, logits, heads)
    assert pixel.isfinite().all()
    for head, gradient in (("levels", levels), ("nonempty", nonempty)):
        if head in stage.terms and stage.terms[head].over != "all":
            assert parts[head] == 0
            assert (gradient == 0).all()


@pytest.mark.parametrize("over", ["nonempty", "zeroed", "all"])
@pytest.mark.parametrize("name", ["bce", "dice", "lovasz"])
def test_one_empty_and_one_full_image(name, over):
    """Mean over non-empty images = the full image alone; with zeroed, half of it."""
    logits, heads, y = batch(("empty", "full"))
    stage = StageLoss({name: (1.0, {})}, {"nonempty": HeadTerm(1.0, over)})
    part = stage(logits, heads, y)[1]["nonempty"]

    def alone(i):
        z = heads["nonempty"][i : i + 1]
        return StageLoss({name: (1.0, {})})(z, {}, y[i : i + 1])[0]

    expected = {"nonempty": alone(1), "zeroed": alone(1) / 2, "all": (alone(0) + alone(1)) / 2}[over]
    torch.testing.assert_close(part, expected.detach(), atol=1e-6, rtol=0)


def test_the_class_term_does_not_reach_the_decoder():
    torch.manual_seed(0)
    encoder, decoder, image_head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 1, 1), nn.Linear(4, 1)
    features = encoder(torch.randn(2, 3, 8, 8))
    y = torch.zeros(2, 1, 8, 8)
    y[1, :, 2:5] = 1
    stage = StageLoss({"bce": (1.0, {})}, {"image": HeadTerm(0.05)})
    sums = stage.sums(decoder(features), {"image": image_head(features.mean((2, 3)))}, y)
    sums["image"][0].backward()
    assert decoder.weight.grad is None
    assert encoder.weight.grad.any()
    assert image_head.weight.grad.any()


@forms
def test_the_total_is_the_weighted_sum_of_the_parts(stage):
    total, parts = stage(*batch(("some", "empty", "full")))
    assert parts.keys() == stage.factors.keys()
    assert sum(stage.factors[k] * v for k, v in parts.items()).item() == pytest.approx(total.item(), abs=1e-6)
    assert not any(part.requires_grad for part in parts.values())
    assert total.requires_grad


def test_each_weight_moves_the_total_by_its_part():
    out = batch(("some", "empty"))
    mask = {"bce": (1.0, {}), "dice": (1.0, {})}
    base = StageLoss(mask)(*out)[0]
    for changed in (
        StageLoss({"bce": (3.0, {}), "dice": (1.0, {})}),
        StageLoss(mask, {"levels": HeadTerm(0.5)}),
        StageLoss(mask, {"nonempty": HeadTerm(0.5)}),
        StageLoss(mask, {"image": HeadTerm(0.5)}),
    ):
        total, parts = changed(*out)
        name = next(k for k in changed.factors if changed.factors[k] != 1)
        factor = changed.factors[name] - (name == "bce")
        torch.testing.assert_close(total - base, factor * parts[name], atol=1e-6, rtol=0)


def test_settings_reach_the_loss():
    out = batch(("some", "full"))
    values = {
        StageLoss({"lovasz": (1.0, settings)})(*out)[0].item()
        for settings in ({}, {"symmetric": True}, {"activation": "elu"}, {"per_image": False})
    }
    assert len(values) == 4
    assert not StageLoss({"lovasz": (1.0, {"per_image": False})}).additive


@forms
def test_parts_of_a_batch_add_up(stage):
    """Two processes or two steps give the value and the gradients of one, also if one saw no salt."""
    assert stage.additive
    logits, heads, y = batch(("empty", "empty", "some", "full", "some"), c=2)
    valid = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.8
    whole, parts = stage(logits, heads, y, valid)
    expected = gradients(whole, logits, heads)
    halves = [
        stage.sums(logits[s], {k: v[s] for k, v in heads.items()}, y[s], valid[s]) for s in (slice(0, 2), slice(2, 5))
    ]
    added = {key: halves[0][key] + halves[1][key] for key in halves[0]}
    total, added_parts = stage.value(added)
    torch.testing.assert_close(total, whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(added_parts, parts, atol=1e-6, rtol=0)
    for ours, theirs in zip(gradients(total, logits, heads), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-5)


@forms
def test_a_linear_loss_needs_only_the_targets_of_the_other_part(stage):
    """Sums of the other images at blank outputs: the same gradients if the loss says that it is linear."""
    logits, heads, y = batch(("empty", "some", "some", "full", "some"))
    a_part, b_part = slice(0, 2), slice(2, 5)

    def own_gradients(scale):
        own = stage.sums(logits[a_part], {k: v[a_part] for k, v in heads.items()}, y[a_part])
        rest = {k: v[b_part] * scale for k, v in heads.items()}
        other = stage.sums(logits[b_part] * scale, rest, y[b_part])
        total, _ = stage.value({key: own[key] + other[key].detach() for key in own})
        return gradients(total, logits, heads)

    same = [torch.allclose(x, z, atol=1e-8, rtol=1e-5) for x, z in zip(own_gradients(1), own_gradients(0), strict=True)]
    assert all(same) == stage.linear
    assert stage.linear == (stage is not FORMS["batch-dice"])


@forms
def test_salt_in_the_padded_border_does_not_count(stage):
    logits, heads, y = batch(("empty", "some", "empty"))
    valid = torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    valid[..., 1:7, 1:7] = True
    padded = torch.where(valid, y, 1.0)
    total, parts = stage(logits, heads, padded, valid)
    inner = slice(1, 7)
    inside = {k: v if k == "image" else v[..., inner, inner] for k, v in heads.items()}
    cropped, cropped_parts = stage(logits[..., inner, inner], inside, y[..., inner, inner])
    torch.testing.assert_close(total, cropped, atol=1e-6, rtol=0)
    torch.testing.assert_close(parts, cropped_parts, atol=1e-6, rtol=0)
    for gradient in gradients(total, logits, heads)[:3]:
        assert (gradient[..., ~valid[0, 0]] == 0).all()


def test_an_image_logit_above_zero_means_not_empty():
    stage = StageLoss({"bce": (1.0, {})}, {"image": HeadTerm(1.0)})
    logits, _, y = batch(("empty", "some"))
    right = torch.tensor([[-20.0], [20.0]])
    assert stage(logits, {"image": right}, y)[1]["image"] < 1e-6
    assert stage(logits, {"image": -right}, y)[1]["image"] > 10


@forms
def test_float32_under_autocast(stage):
    logits, heads, y = batch(("some", "empty"), size=32)
    half = (logits.bfloat16(), {k: v.bfloat16() for k, v in heads.items()})
    expected, _ = stage(half[0].float(), {k: v.float() for k, v in half[1].items()}, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, parts = stage(*half, y)
    assert total.dtype == torch.float32
    assert total == expected
    assert all(part.dtype == torch.float32 for part in parts.values())


@pytest.mark.parametrize("head", ["levels", "nonempty", "image"])
def test_a_missing_head_is_named_with_the_setting_to_change(head):
    mask = {"bce": (1.0, {})}
    logits, heads, y = batch(("some",))
    heads = {k: v for k, v in heads.items() if k != head}
    with pytest.raises(SegfoldError) as error:
        StageLoss(mask, {head: HeadTerm(0.1)})(logits, heads, y)
    message = str(error.value)
    assert f"loss.heads.{head} is 0.1 but the network has no head {head}" in message
    assert f"model.heads.{head}=true" in message
    assert "\n" not in message
    assert StageLoss(mask, {head: HeadTerm(0.0)})(logits, heads, y)[0].isfinite()


def test_the_shape_decides_and_no_name_does():
    """Any name: one map, maps whose losses add up, a logit an image; the same numbers as under the usual names."""
    logits, heads, y = batch(("some", "empty", "full"))
    usual = StageLoss(SYMMETRIC, {"levels": HeadTerm(0.1), "nonempty": HeadTerm(0.4, "all"), "image": HeadTerm(0.05)})
    other = StageLoss(SYMMETRIC, {"a": HeadTerm(0.1), "b": HeadTerm(0.4, "all"), "c": HeadTerm(0.05)})
    renamed = {"a": heads["levels"], "b": heads["nonempty"], "c": heads["image"]}
    assert torch.equal(usual(logits, heads, y)[0], other(logits, renamed, y)[0])
    assert other(logits, renamed, y)[1].keys() == {"lovasz", "a", "b", "c"}
    apart = [StageLoss(SYMMETRIC, {"b": HeadTerm(0.1)})(logits, {"b": z}, y)[1]["b"] for z in heads["levels"].unbind(1)]
    torch.testing.assert_close(sum(apart), other(logits, renamed, y)[1]["a"], atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="must be one for each image"):
        StageLoss(SYMMETRIC, {"c": HeadTerm(1.0)})(logits, {"c": heads["image"][:2]}, y)


def test_no_head_has_the_name_of_another_part():
    assert not {"images", "mask", *LOSSES} & set(HEADS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": {"lovaz": (1.0, {})}}, "did you mean lovasz"),
        ({"mask": {}}, "loss.mask holds no loss"),
        ({"mask": {"bce": (0.0, {})}}, "loss.mask holds no loss"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(SegfoldError, match=message):
        StageLoss(**arguments)


def test_cross_entropy_and_dice_of_the_common_vector():
    loss = StageLoss({"bce": (1.0, {}), "dice": (1.0, {"smooth": 1.0})})
    assert loss(Z, {}, Y)[0].item() == pytest.approx(0.931121, abs=1e-6)
