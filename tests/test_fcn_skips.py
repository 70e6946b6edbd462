"""FCN-8s' skips on any encoder: shapes, where the scores start, what is added, how it is brought to the input's size."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segfold.errors import SegfoldError
from segfold.models import build_model
from segfold.models.deconvolution import bilinear_deconvolution


def network(classes: int = 2, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    return build_model("fcn_skips", 3, classes, **{"encoder": "test_resnet", "weights": "none", **settings}).eval()


def features_of(model: nn.Module, height: int = 64, width: int = 96) -> list[Tensor]:
    draw = torch.Generator().manual_seed(1)
    sizes = zip(model.encoder.channels, model.encoder.strides)
    return [torch.randn(2, c, height // s, width // s, generator=draw) for c, s in sizes]


@pytest.mark.parametrize("encoder", ["resnet18", "tf_efficientnet_lite0", "vgg16_bn", "convnext_atto"])
@pytest.mark.parametrize("finest", [8, 16, 32])
@pytest.mark.parametrize("last", ["bilinear", "deconvolution"])
def test_logits_have_the_input_size(encoder: str, finest: int, last: str) -> None:
    with torch.device("meta"):
        model = network(21, encoder=encoder, finest=finest, last=last).train()
        assert model.stride == 32
        assert model(torch.empty(2, 3, 96, 64)).logits.shape == (2, 21, 96, 64)
        assert model.decode(features_of(model, 96, 64)).shape == (2, 21, 96 // finest, 64 // finest)


def test_an_encoder_without_these_scales_is_refused() -> None:
    with pytest.raises(
        SegfoldError, match=r"resnet18 gives features at strides 2, 4, 8; the skips need 32, 16 as well"
    ):
        network(encoder="resnet18", encoder_options={"output_stride": 8})


def test_the_interpolation_that_deconvolutions_start_as() -> None:
    """Twice the size by kernel 4: what ``F.interpolate`` gives, but for the outermost rows and columns."""
    layer = bilinear_deconvolution(3, 4, 2, padding=1)
    assert layer.weight[1, 1, 0].tolist() == [0.0625, 0.1875, 0.1875, 0.0625]
    assert layer.weight[0, 1].abs().max() == 0
    x = torch.randint(-64, 64, (2, 3, 5, 7)).float()
    expected = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    inside = (..., slice(1, -1), slice(1, -1))
    found = layer(x)
    assert found.shape == expected.shape and torch.equal(found[inside], expected[inside])
    assert not torch.equal(found, expected)


@pytest.mark.parametrize("finest", [8, 16])
def test_finer_scores_start_at_zero_and_add_nothing(finest: int) -> None:
    coarse, fine = network(finest=32), network(finest=finest)
    fine.load_state_dict(coarse.state_dict(), strict=False)
    features = features_of(fine)
    with torch.no_grad():
        expected = coarse.decode(features)
        assert expected.abs().max() > 1e-3
        for _ in fine.doublings:
            expected = bilinear_deconvolution(2, 4, 2, padding=1)(expected)
        torch.testing.assert_close(fine.decode(features), expected)


def test_scores_of_three_scales_are_summed() -> None:
    model = network()
    features = features_of(model)
    by_stride = dict(zip(model.encoder.strides, features))
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) / 4)
        expected = model.scores["32"](by_stride[32])
        for stride in (16, 8):
            score = torch.einsum("nchw,kc->nkhw", by_stride[stride], model.scores[str(stride)].weight[:, :, 0, 0])
            doubled = F.conv_transpose2d(expected, model.doublings[str(stride)].weight, stride=2, padding=1)
            expected = doubled + score + model.scores[str(stride)].bias[:, None, None]
        torch.testing.assert_close(model.decode(features), expected)


def test_the_last_step_interpolates_or_learns_to() -> None:
    """A deconvolution of kernel 16, stride 8 and padding 4 starts as what it stands for, away from the border."""
    fixed, learns = network(), network(last="deconvolution")
    assert fixed.last is None and learns.last.weight.requires_grad
    assert (learns.last.kernel_size, learns.last.stride, learns.last.padding) == ((16, 16), (8, 8), (4, 4))
    learns.load_state_dict(fixed.state_dict(), strict=False)
    pixels = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        a, b = fixed(pixels).logits, learns(pixels).logits
    torch.testing.assert_close(a[..., 4:-4, 4:-4], b[..., 4:-4, 4:-4])
    assert not torch.allclose(a, b)


def test_a_run_starts_from_one_with_a_coarser_finest_score() -> None:
    """All that the coarser network learnt has a place in the finer."""
    coarse, fine = (network(finest=finest, last="deconvolution").state_dict() for finest in (32, 16))
    assert {name for name, x in coarse.items() if name not in fine or fine[name].shape != x.shape} == {"last.weight"}
