"""DeconvNet: published layers, shapes and start; what unpooling puts where; sizes of any kind."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segfold.errors import SegfoldError
from segfold.models import build_model, sides_of
from segfold.models.deconvnet import DeconvNet, unpooled
from segfold.models.fcn_vgg import Switch
from segfold.models.pixels import check_sides
from test_fcn_weights import FC, WIDTH, classifier, saved, timm_names

WIDTHS = {5: [512, 512, 512], 4: [512, 512, 256], 3: [256, 256, 128], 2: [128, 64], 1: [64, 64]}
"""Of the published deconvolutions, by the pool that they undo."""


def meta(classes: int = 21, **settings: object) -> nn.Module:
    with torch.device("meta"):
        return build_model("deconvnet", 3, classes, **{"weights": "none", **settings})


def small(classes: int = 2, in_channels: int = 3, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    given = {"weights": "none", "width": 2, "fc_width": 8, "fc_kernel": 2, **settings}
    return build_model("deconvnet", in_channels, classes, **given)


def image(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def norms(model: nn.Module) -> Iterator[nn.BatchNorm2d]:
    return (layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d))


@pytest.mark.parametrize(("classes", "parameters"), [(21, 251_805_653), (2, 251_804_418)])
def test_published_sizes(classes: int, parameters: int) -> None:
    model = meta(classes)
    assert count(model) == parameters
    assert count(model.encoder) == 14_723_136
    assert count(model.fc6, model.fc6_norm) == 102_772_736
    assert count(model.fc7, model.fc7_norm) == 16_789_504
    assert {name: count(stage) for name, stage in model.decoder.items()} == {
        "fc6": 102_761_984,
        "5": 7_082_496,
        "4": 5_902_080,
        "3": 1_476_480,
        "2": 221_760,
        "1": 74_112,
    }
    assert count(model.last) == 65 * classes
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    assert (len(layers), len(list(norms(model)))) == (30, 29)


def test_published_shapes() -> None:
    """Of 224², layer by layer, as hooks see them."""
    model = meta()
    seen: list[tuple[int, ...]] = []
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda layer, given, found: seen.append(tuple(found.shape[1:])))
    assert model(torch.empty(2, 3, 224, 224, device="meta")).logits.shape == (2, 21, 224, 224)
    down = [(64, 224), (64, 224), (128, 112), (128, 112), *3 * [(256, 56)], *3 * [(512, 28)], *3 * [(512, 14)]]
    up = [(channels, 224 >> stage - 1) for stage, widths in WIDTHS.items() for channels in widths]
    assert seen == [(c, side, side) for c, side in [*down, (4096, 1), (4096, 1), (512, 7), *up, (21, 224)]]
    _, switches = model.encoder.with_switches(torch.empty(2, 3, 224, 224, device="meta"))
    assert [switch.size for switch in switches] == [(224 >> n, 224 >> n) for n in range(5)]
    assert [switch.places.shape[1:] for switch in switches] == [
        (c, 112 >> n, 112 >> n) for n, c in enumerate((64, 128, 256, 512, 512))
    ]


def test_published_start() -> None:
    model = small(fc_width=256, width=16)
    for layer in [*model.decoder.modules(), model.last]:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            assert not layer.bias.any()
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.3) and abs(layer.weight.mean()) < 2e-3
    for norm in norms(model):
        assert (norm.weight == 1).all() and (norm.bias == 0.001).all()


def test_a_value_goes_back_to_where_it_was_found() -> None:
    pooled, places = F.max_pool2d(torch.tensor([[[[1.0, 2], [4, 3]]]]), 2, return_indices=True)
    assert unpooled(pooled, Switch(places, (2, 2))).tolist() == [[[[0, 0], [4, 0]]]]


@pytest.mark.parametrize("shape", [(8, 6), (7, 7), (5, 8), (1, 3)])
def test_pools_and_unpools_are_those_of_a_plain_loop(shape: tuple[int, int]) -> None:
    """Odd sides too, of which the last cell is half; of equal values the first counts."""
    model = small()
    x = torch.randint(0, 4, (2, 3, *shape), generator=torch.Generator().manual_seed(0)).float()
    model.encoder.input, model.encoder.features, model.encoder._pools = nn.Identity(), nn.Sequential(nn.Identity()), [0]
    pooled, (switch,) = model.encoder.with_switches(x)
    values = torch.rand(pooled.shape, generator=torch.Generator().manual_seed(1)) + 1
    expected_pool, expected = np.zeros(pooled.shape, np.float32), np.zeros(x.shape, np.float32)
    for index in np.ndindex(*pooled.shape):
        n, c, i, j = index
        cell = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].numpy()
        row, column = np.unravel_index(cell.argmax(), cell.shape)
        expected_pool[index] = cell.max()
        expected[n, c, 2 * i + row, 2 * j + column] = values[index]
    assert np.array_equal(pooled.numpy(), expected_pool) and switch.size == shape
    for memory in (torch.contiguous_format, torch.channels_last):
        found = unpooled(values.contiguous(memory_format=memory), Switch(switch.places, shape))
        assert np.array_equal(found.numpy(), expected)


def test_at_most_a_quarter_of_what_is_unpooled_is_not_zero() -> None:
    model = small(width=4)
    given: list[Tensor] = []
    for stage in "54321":
        model.decoder[stage].register_forward_pre_hook(lambda layer, x: given.append(x[0]))
    with torch.no_grad():
        model(image(2, 3, 128, 64))
    assert [tuple(x.shape[2:]) for x in given] == [(128 >> n, 64 >> n) for n in (4, 3, 2, 1, 0)]
    for x in given:
        assert 0 < x.count_nonzero() <= x.numel() / 4


def test_the_pools_of_the_same_image_say_where_to() -> None:
    """Each unpooling is given the switches of the pool of its own size, and they decide what comes out."""
    model = small().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
        x, switches = model.encoder.with_switches(image(2, 3, 96, 64))
        seen = torch.relu(model.fc7_norm(model.fc7(torch.relu(model.fc6_norm(model.fc6(x))))))
        y = model.decoder["fc6"](seen)
        assert y.shape == x.shape
        for stage, pool in zip("54321", switches[::-1]):
            y = model.decoder[stage](F.max_unpool2d(y, pool.places, 2, output_size=pool.size))
        assert torch.equal(model.last(y), model(image(2, 3, 96, 64)).logits)
        turned = [Switch(pool.places.flip(0), pool.size) for pool in switches]
        assert not torch.equal(model.decode(seen, turned), model.decode(seen, switches))


def test_deconvolutions_are_convolutions_with_the_turned_kernel() -> None:
    x = torch.randn(2, 4, 7, 9, generator=torch.Generator().manual_seed(2))
    layer = small().decoder["2"][0]
    turned = layer.weight.flip(2, 3).transpose(0, 1)
    torch.testing.assert_close(layer(x), F.conv_transpose2d(x, turned, layer.bias, padding=1))


def test_logits_have_the_size_of_any_input_that_is_large_enough() -> None:
    model = meta(3, width=1, fc_width=1)
    for height, width in [(256, 256), (193, 225), *((n, 610 - n) for n in range(193, 232, 5))]:
        assert model(torch.empty(2, 3, height, width, device="meta")).logits.shape == (2, 3, height, width)
    assert sides_of("deconvnet", {}) == (193, 1) and sides_of("deconvnet", {"fc_kernel": 4}) == (97, 1)
    with pytest.raises(SegfoldError, match=r"192×224, but height and width must be at least 193; change input\.size"):
        model(torch.empty(2, 3, 192, 224, device="meta"))


def test_odd_images_are_seen_to_their_last_row_and_column() -> None:
    """A map's odd end has a cell of its own, so that an image's last corner is written from a pool, not from padding alone."""
    model = small(1).eval()
    x, switches = model.encoder.with_switches(image(1, 3, 65, 67))
    assert [switch.size for switch in switches] == [(65, 67), (33, 34), (17, 17), (9, 9), (5, 5)]
    for switch in switches:
        ones = unpooled(torch.ones(switch.places.shape), switch)
        assert ones[..., -2:, -2:].any() and ones.sum() == switch.places.numel()
    with torch.no_grad():
        assert model(image(1, 3, 65, 67)).logits.shape == (1, 1, 65, 67) and x.shape[2:] == (3, 3)


@pytest.mark.parametrize("encoder", ["vgg16", "vgg16_bn"])
def test_steps_lower_the_loss_of_odd_images(encoder: str) -> None:
    model = small(3, encoder=encoder, width=8, fc_width=16).train()
    x = image(3, 3, 3, 3).repeat_interleave(15, 2).repeat_interleave(17, 3)
    target = (x[:, 0] // 86).long()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.03)
    losses = []
    for _ in range(20):
        loss = F.cross_entropy(model(x).logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0], losses


def test_predictions_are_one_and_the_same_whatever_is_beside_the_image() -> None:
    model = small().train()
    with torch.no_grad():
        model(image(4, 3, 64, 64))
        model.eval()
        x = image(3, 3, 70, 64)
        assert torch.equal(model(x).logits, model(x).logits)
        for one in range(3):
            torch.testing.assert_close(model(x[one : one + 1]).logits[0], model(x).logits[one], rtol=1e-5, atol=1e-7)


def test_the_decoder_compiles_in_one_piece() -> None:
    model = small().eval()
    with torch.no_grad():
        x, switches = model.encoder.with_switches(image(2, 3, 70, 64))
        seen = model.fc6(x)
        compiled = torch.compile(model.decode, backend="eager", fullgraph=True)
        torch.testing.assert_close(model.decode(seen, switches), compiled(seen, switches))


def test_half_precision_trains() -> None:
    """Under autocast in bfloat16, whose switches are those of its own rounded values."""
    model = small(1, width=4).train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(image(2, 3, 64, 64).to(memory_format=torch.channels_last)).logits
    assert logits.dtype == torch.bfloat16
    logits.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("layout", ["torchvision", "timm"])
def test_it_starts_from_a_classifier_whole(layout: str, tmp_path: Path) -> None:
    """Without the norms behind its layers, ``fc7`` sees of a classifier's image what the classifier's second layer does."""
    theirs = classifier(norms=True)
    path = saved(dict(theirs.state_dict()) if layout == "torchvision" else timm_names(theirs), tmp_path / "vgg.pth")
    ours = small(weights=str(path), width=WIDTH, fc_width=FC, fc_kernel=7).eval()
    assert ours.loaded == [f"78 of 78 tensors of encoder.features and 4 of 4 tensors of fc6, fc7 from {path}"]
    pixels = image(2, 3, 224, 224)
    with torch.no_grad():
        features, _ = ours.encoder.with_switches(pixels)
        found = ours.fc7(torch.relu(ours.fc6(features)))[:, :, 0, 0]
        expected = theirs.classifier[:4](theirs.features(ours.encoder.input(pixels)).flatten(1))
        assert expected.std() > 0.05
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
        assert not torch.equal(ours.fc6_norm(torch.relu(ours.fc6(features))), torch.relu(ours.fc6(features)))


@pytest.mark.parametrize(
    ("settings", "taken", "left"),
    [
        ({"fc_kernel": 2}, 3, rf"fc6\.weight \({FC}×32×7×7 in the file, {FC}×32×2×2 here\)"),
        ({"fc_width": 8}, 0, rf"fc6\.weight \({FC}×32×7×7 in the file, 8×32×7×7 here\)"),
    ],
)
def test_what_does_not_fit_is_said_and_drawn(settings: dict[str, int], taken: int, left: str, tmp_path: Path) -> None:
    tensors = dict(classifier(norms=True).state_dict())
    path = saved(tensors, tmp_path / "vgg.safetensors")
    ours = small(weights=str(path), **{"width": WIDTH, "fc_width": FC, "fc_kernel": 7, **settings})
    assert re.search(rf"{taken} of 4 tensors of fc6, fc7 from .*; left: {left}", ours.loaded[0])
    assert torch.equal(ours.encoder.features[40].weight, tensors["features.40.weight"])
    assert torch.equal(ours.encoder.features[41].bias, tensors["features.41.bias"])
    deviation = (2 / (ours.fc6.kernel_size[0] ** 2 * 8 * WIDTH)) ** 0.5
    assert ours.fc6.weight.std().item() == pytest.approx(deviation, rel=0.1)


def test_weights_of_another_width_or_another_network_are_refused(tmp_path: Path) -> None:
    path = saved(dict(classifier(norms=False).state_dict()), tmp_path / "vgg.safetensors")
    with pytest.raises(SegfoldError, match=r"encoder\.features.*only \d+ of its 78 tensors fit"):
        small(weights=str(path), width=WIDTH)
    with pytest.raises(SegfoldError, match=r"model\.width is 2, but timm's weights of vgg16_bn are 64 wide"):
        small(weights="imagenet")


def test_a_run_of_fcn_gives_its_encoder_and_classifier(tmp_path: Path) -> None:
    """And a run of its own gives both too, by the file of its weights."""
    torch.manual_seed(3)
    given = {"encoder": "vgg16_bn", "weights": "none", "width": 2, "fc_width": 8}
    fcn = build_model("fcn", 3, 2, **given)
    first = small(weights=str(saved(fcn.state_dict(), tmp_path / "fcn.safetensors")), fc_kernel=7)
    again = small(weights=str(saved(first.state_dict(), tmp_path / "run.safetensors")), fc_kernel=7)
    for name in ("encoder.features.40.weight", "fc6.weight", "fc7.bias"):
        assert torch.equal(again.state_dict()[name], fcn.state_dict()[name])


def test_an_input_that_is_too_small_is_refused_by_the_least() -> None:
    check_sides((193, 194), *DeconvNet.sides())
    with pytest.raises(SegfoldError, match=r"192×300, but height and width must be 193 at least: 193 instead of 192;"):
        check_sides((192, 300), *DeconvNet.sides())
