"""FCN-32s, -16s and -8s: published sizes and crops, where its logits lie, what the skips add, what learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segfold.errors import SegfoldError
from segfold.models import build_model, sides_of
from segfold.models.deconvolution import bilinear_deconvolution
from segfold.models.fcn import Interpolation, crops
from small_project import fold_job, make_project, train, weights

FINEST = pytest.mark.parametrize("finest", [32, 16, 8])


def meta(classes: int = 21, **settings: object) -> nn.Module:
    with torch.device("meta"):
        return build_model("fcn", 3, classes, **{"weights": "none", **settings})


def small(classes: int = 2, in_channels: int = 3, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    return build_model("fcn", in_channels, classes, **{"weights": "none", "width": 2, "fc_width": 8, **settings}).eval()


def stirred(model: nn.Module) -> nn.Module:
    """With scores and upsamplings as after training."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in [*model.scores.parameters(), *model.doublings.parameters()]:
            parameter.copy_(torch.randn(parameter.shape, generator=draw) / 4)
    return model


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("finest", "learnt", "parameters"),
    [
        (32, "none", 134_346_581),
        (8, "none", 134_346_581 + 10_773 + 5_397),
        (8, "doublings", 134_346_581 + 10_773 + 5_397 + 2 * 7_056),
        (32, "all", 136_152_917),
        (16, "all", 134_815_994),
        (8, "all", 134_489_759),
    ],
)
def test_published_sizes(finest: int, learnt: str, parameters: int) -> None:
    model = meta(finest=finest, learnt_deconvolutions=learnt)
    assert count(model) == parameters
    assert [count(layer) for layer in (model.fc6, model.fc7, model.scores["32"])] == [102_764_544, 16_781_312, 86_037]
    assert count(model.encoder) == 14_714_688
    assert count(meta(encoder="vgg16_bn", fc_width=8).encoder) == 14_723_136


def test_pools_stand_where_the_classifiers_do() -> None:
    places = [
        [i for i, layer in enumerate(meta(encoder=name).encoder.features) if isinstance(layer, nn.MaxPool2d)]
        for name in ("vgg16", "vgg16_bn")
    ]
    assert places == [[4, 9, 16, 23, 30], [6, 13, 23, 33, 43]]


def test_published_crops() -> None:
    """Of a border of 100; with another one only the logits are cut elsewhere."""
    assert crops(32, pad=100) == {"last": 19}
    assert crops(16, pad=100) == {"16": 5, "last": 27}
    assert crops(8, pad=100) == {"16": 5, "8": 9, "last": 31}
    assert crops(8, pad=0) == {"16": 5, "8": 9, "last": -69}


@pytest.mark.parametrize(
    ("side", "pooled", "scores", "fused", "upsampled"),
    [(500, [88, 44, 22], 16, [34, 70], 568), (224, [53, 27, 14], 8, [18, 38], 312)],
)
def test_published_shapes(side: int, pooled: list[int], scores: int, fused: list[int], upsampled: int) -> None:
    model = meta(width=1, fc_width=1)
    features = model.encoder(torch.empty(1, 3, side, side, device="meta"))
    assert [x.shape[2] for x in features] == pooled
    seen = model.fc6(features[-1])
    assert seen.shape[2] == scores
    assert [2 * scores + 2, 2 * fused[0] + 2] == fused
    decoded = model.decode(features, seen)
    assert decoded.shape[2] == fused[1] and model.last(decoded).shape[2] == upsampled


@FINEST
def test_logits_have_the_size_of_any_input(finest: int) -> None:
    model = meta(3, finest=finest, width=1, fc_width=1)
    for height, width in [(224, 480), (500, 512), (1, 1), *((n, 65 + 7 * n) for n in range(2, 70))]:
        assert model(torch.empty(1, 3, height, width, device="meta")).logits.shape == (1, 3, height, width)


@FINEST
@pytest.mark.parametrize("pad", [100, 37, 0])
def test_logits_lie_on_the_pixels_that_they_are_of(finest: int, pad: int) -> None:
    """Filters that average keep a ramp at their centres, bilinear upsampling keeps it between: it comes out where it was."""
    model = small(1, 1, finest=finest, pad=pad, width=1, fc_width=1)
    model.encoder.input = nn.Identity()
    for number, layer in enumerate(model.encoder.features):
        if isinstance(layer, nn.MaxPool2d):
            model.encoder.features[number] = nn.AvgPool2d(2, 2, ceil_mode=True)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.fill_(1 / layer.weight[0].numel())
        for score in model.scores.values():
            score.weight.div_(len(model.scores))
        rows, columns = torch.arange(631.0), torch.arange(637.0)
        for ramp in (rows[:, None].expand(631, 637), columns.expand(631, 637)):
            logits = model(ramp[None, None]).logits
            inside = (slice(270, 360), slice(270, 360))
            torch.testing.assert_close(logits[0, 0][inside], ramp[inside], atol=5e-3, rtol=0)


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_the_fixed_upsampling_is_the_bilinear_deconvolution(factor: int) -> None:
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Interpolation(factor)(x), bilinear_deconvolution(3, 2 * factor, factor)(x))


def test_all_logits_are_zero_at_first_and_scores_learn_from_there() -> None:
    model = small().train()
    logits = model(torch.randint(0, 256, (2, 3, 40, 48), dtype=torch.uint8)).logits
    assert not logits.any()
    F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits)).backward()
    assert all(score.weight.grad.abs().max() > 0 for score in model.scores.values())


def test_a_finer_network_starts_with_the_predictions_of_the_coarser() -> None:
    """FCN-16s filled from FCN-32s: its scores, interpolated in two steps and cut off where FCN-16s is."""
    coarse, fine = stirred(small(finest=32)), small(finest=16)
    assert fine.load_state_dict(coarse.state_dict(), strict=False).unexpected_keys == []
    pixels = torch.randint(0, 256, (1, 3, 90, 75), dtype=torch.uint8)
    with torch.no_grad():
        pooled = coarse.encoder(pixels)
        seen = torch.relu(coarse.fc7(torch.relu(coarse.fc6(pooled[-1]))))
        scores = coarse.scores["32"](seen)
        twice = bilinear_deconvolution(2, 32, 16)(bilinear_deconvolution(2, 4, 2)(scores))
        torch.testing.assert_close(fine(pixels).logits, twice[:, :, 27 : 27 + 90, 27 : 27 + 75])
        once = bilinear_deconvolution(2, 64, 32)(scores)
        torch.testing.assert_close(coarse(pixels).logits, once[:, :, 19 : 19 + 90, 19 : 19 + 75])


@pytest.mark.parametrize(("coarser", "finer"), [(32, 16), (16, 8)])
def test_all_that_the_coarser_network_learns_has_a_place_in_the_finer(coarser: int, finer: int) -> None:
    one, other = (small(finest=finest, learnt_deconvolutions="all").state_dict() for finest in (coarser, finer))
    assert {name for name, x in one.items() if name not in other or other[name].shape != x.shape} == {"last.weight"}


def test_skips_are_scored_and_summed() -> None:
    model = stirred(small(skip_scales=(0.5, 0.25)))
    draw = torch.Generator().manual_seed(2)
    pool3, pool4, seen = (
        torch.randn(1, c, *size, generator=draw) for c, size in ((8, (53, 57)), (16, (27, 29)), (8, (8, 9)))
    )
    with torch.no_grad():
        found = model.decode([pool3, pool4, torch.empty(0)], seen)
        expected = model.doublings["16"](model.scores["32"](seen))
        expected = expected + model.scores["16"](0.5 * pool4)[:, :, 5 : 5 + 18, 5 : 5 + 20]
        expected = model.doublings["8"](expected)
        expected = expected + model.scores["8"](0.25 * pool3)[:, :, 9 : 9 + 38, 9 : 9 + 42]
    assert found.shape == (1, 2, 38, 42)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("learnt", ["none", "doublings", "all"])
def test_upsamplings_that_do_not_learn_have_no_parameters(learnt: str) -> None:
    names = {name.partition(".")[0] for name, _ in small(learnt_deconvolutions=learnt).named_parameters()}
    expected = {"none": set(), "doublings": {"doublings"}, "all": {"doublings", "last"}}[learnt]
    assert names == {"encoder", "fc6", "fc7", "scores"} | expected


def test_values_are_dropped_in_training_alone() -> None:
    model, x = stirred(small()), torch.randint(0, 256, (1, 3, 40, 40), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(model(x).logits, model(x).logits)
        assert not torch.equal(model.train()(x).logits, model(x).logits)
        assert torch.equal(small(dropout=0.0).train()(x).logits, small(dropout=0.0)(x).logits)


def test_an_image_too_small_for_its_border_is_refused() -> None:
    model = meta(width=1, fc_width=1, pad=0)
    assert sides_of("fcn", {"pad": 0}) == (195, 1) and sides_of("fcn", {}) == (1, 1)
    assert model(torch.empty(1, 3, 195, 200, device="meta")).logits.shape == (1, 21, 195, 200)
    with pytest.raises(SegfoldError, match=r"194×200, but height and width must be at least 195; change input\.size"):
        model(torch.empty(1, 3, 194, 200, device="meta"))


def test_logits_fade_to_zero_where_a_narrow_border_leaves_no_score() -> None:
    model = stirred(small(pad=0))
    with torch.no_grad():
        logits = model(torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)).logits
    assert not logits[:, :, :69].any() and logits[:, :, 100:130, 100:130].abs().max() > 0


def test_runs_go_from_32s_to_16s(tmp_path: Path) -> None:
    """By ``init``: at a rate of nearly nothing the second run ends with what the first learnt, and scores that are still zero."""
    home = make_project(tmp_path)

    def run(finest: int, *more: str) -> dict[str, np.ndarray]:
        model = f"model={{name: fcn, weights: none, width: 2, fc_width: 8, pad: 82, finest: {finest}}}"
        job = fold_job(home, "machine.precision=fp32", "stages.lovasz.epochs=0", model, *more, run=f"fcn-{finest}s")
        assert train(job) is not None
        return weights(job)

    first = run(32, "stages.warm.epochs=1")
    second = run(16, "init=runs/fcn-32s", "stages.warm={epochs: 1, lr: 1.0e-30, freeze_encoder: 1}")
    assert np.abs(first["scores.32.weight"]).max() > 0
    for name in ("encoder.features.28.weight", "fc6.weight", "fc7.weight", "scores.32.weight"):
        assert np.array_equal(first[name], second[name])
    assert np.abs(second["scores.16.weight"]).max() < 1e-25
