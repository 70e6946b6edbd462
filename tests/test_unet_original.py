"""The first U-Net: sizes, counts and crops of the paper, and that tiles are the whole image."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.view import Tiling
from segfold.errors import SegfoldError
from segfold.inference.manner import PredictionSettings
from segfold.inference.predict import predict
from segfold.machine import Runtime
from segfold.models import build_model, margin_of, sides_of
from small_images import image_set

RUNTIME = Runtime(torch.device("cpu"), "fp32", False, 1, 0)


def small(depth: int = 4, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    network = build_model("unet_original", 3, 1, **{"width": 2, "depth": depth, **settings})
    nn.init.normal_(network.last.weight, std=0.5)  # so that there is something to compare
    return network.eval()


def meta(in_channels: int = 1, classes: int = 2, **settings: object) -> nn.Module:
    with torch.device("meta"):
        return build_model("unet_original", in_channels, classes, **settings)


@pytest.mark.parametrize(("shape", "count"), [((1, 2), 31_030_658), ((3, 2), 31_031_810), ((1, 1), 31_030_593)])
def test_parameter_counts(shape: tuple[int, int], count: int) -> None:
    model = meta(*shape)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convs) == 23 and not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_572_pixels_become_388_and_skips_are_cut_by_the_published_numbers() -> None:
    model = meta()
    down: list[int] = []
    up: list[tuple[int, int]] = []
    for block in model.encoder:
        block.register_forward_hook(lambda _module, _inputs, output: down.append(output.shape[-1]))
    for block in model.decoder:
        block.register_forward_hook(lambda _module, inputs, output: up.append((inputs[0].shape[-1], output.shape[-1])))
    assert model(torch.empty(1, 1, 572, 572, device="meta")).logits.shape == (1, 2, 388, 388)
    assert down == [568, 280, 136, 64, 28]
    assert up == [(56, 52), (104, 100), (200, 196), (392, 388)]
    assert [(skip - below) // 2 for skip, (below, _) in zip(down[-2::-1], up)] == [4, 16, 40, 88]
    assert margin_of("unet_original", {}) == 92
    for side, given in ((188, 4), (204, 20)):
        assert model(torch.empty(1, 1, side, 572, device="meta")).logits.shape == (1, 2, given, 388)


def test_it_is_the_network_of_the_paper() -> None:
    """In words of torch alone: pools, skips cut to their middle, and in front of what comes from below."""
    model = small(depth=3)
    x = torch.randint(0, 256, (2, 3, 92, 108), dtype=torch.uint8)

    def two(block: nn.Sequential, y: Tensor) -> Tensor:
        first, second = (part for part in block if isinstance(part, nn.Conv2d))
        return F.conv2d(F.conv2d(y, first.weight, first.bias).relu(), second.weight, second.bias).relu()

    with torch.no_grad():
        y = model.input(x)
        skips = []
        for level in range(3):
            y = two(model.encoder[level], y)
            skips.append(y)
            y = F.max_pool2d(y, 2)
        y = two(model.encoder[3], y)
        for number, crop in enumerate((4, 16, 40)):
            y = F.conv_transpose2d(y, model.up[number].weight, model.up[number].bias, stride=2)
            skip = skips[2 - number][:, :, crop:-crop, crop:-crop]
            assert skip.shape == y.shape
            y = two(model.decoder[number], torch.cat([skip, y], dim=1))
        wanted = F.conv2d(y, model.last.weight, model.last.bias)
        assert wanted.shape == (2, 1, 4, 20)
        torch.testing.assert_close(model(x).logits, wanted)


def leaves(side: int, depth: int) -> int | None:
    """What is left of a side, by going through the network; None where a pool has an odd row or nothing is left."""
    for _ in range(depth):
        side -= 4
        if side % 2:
            return None
        side //= 2
    side -= 4
    for _ in range(depth):
        side = 2 * side - 4
    return side if side > 0 else None


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_the_sizes_that_it_takes_are_those_that_it_says(depth: int) -> None:
    smallest, step = sides_of("unet_original", {"depth": depth})
    margin = margin_of("unet_original", {"depth": depth, "width": 3})
    for side in range(1, 600):
        given = leaves(side, depth)
        assert (given is not None) == (side >= smallest and (side - smallest) % step == 0), side
        assert given is None or given == side - 2 * margin
    model = meta(3, 1, width=2, depth=depth)
    assert model(torch.empty(1, 3, smallest, smallest + step, device="meta")).logits.shape[2:] == (
        smallest - 2 * margin,
        smallest + step - 2 * margin,
    )


@pytest.mark.parametrize(
    ("depth", "height", "width", "said"),
    [
        (4, 572, 570, "188 and multiples of 16 more: 556 or 572 instead of 570;"),
        (4, 100, 600, "188 and multiples of 16 more: 188 instead of 100, 588 or 604 instead of 600;"),
        (2, 64, 47, "44 and multiples of 4 more: 44 or 48 instead of 47;"),
    ],
)
def test_a_size_that_it_cannot_take_is_refused_by_the_nearest(depth: int, height: int, width: int, said: str) -> None:
    with pytest.raises(SegfoldError) as error:
        meta(depth=depth)(torch.empty(1, 1, height, width, device="meta"))
    assert str(error.value) == (
        f"the network's input is {height}×{width}, but height and width must be {said} "
        "change input.size or the stage's size"
    )


@pytest.mark.parametrize("norm", [False, True])
def test_weights_start_by_how_many_values_come_together(norm: bool) -> None:
    torch.manual_seed(0)
    model = build_model("unet_original", 3, 1, width=16, depth=3, norm=norm)
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and parameter.ndim == 4 and parameter.numel() > 5000:
            incoming = parameter.shape[0] if name.startswith("up.") else parameter[0].numel()
            assert float(parameter.detach().std()) == pytest.approx((2 / incoming) ** 0.5, rel=0.06), name
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == (14 if norm else 0)
    assert float(model.last.weight.detach().abs().max()) < 0.05


def test_values_are_dropped_behind_the_two_deepest_levels_in_training_alone() -> None:
    model = small(depth=3, dropout=0.25)
    shares: list[float] = []

    def look(_module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        alive = inputs[0] > 0
        shares.append(float((output[alive] == 0).float().mean()))

    model.dropout.register_forward_hook(look)
    seen: list[int] = []
    model.dropout.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape[1]))
    with torch.no_grad():
        model.train()(torch.randint(0, 256, (4, 3, 140, 140), dtype=torch.uint8))
        assert seen == [8, 16] and shares == pytest.approx([0.25, 0.25], abs=0.05)
        model.eval()(torch.randint(0, 256, (1, 3, 140, 140), dtype=torch.uint8))
        assert shares[2:] == [0, 0]


def padded(image: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    border = np.pad(image, (rows, columns, (0, 0)), mode="reflect")
    return torch.from_numpy(border).permute(2, 0, 1)[None]


@pytest.mark.parametrize(("depth", "tile", "overlap"), [(4, 284, 4), (4, 300, 20), (3, 156, 4), (1, 88, 8)])
def test_tiles_that_overlap_in_their_margins_are_the_whole_image(depth: int, tile: int, overlap: int) -> None:
    """The paper's overlap-tile: mirrored by the margin, tiles at multiples of the coarsest pixel."""
    network, margin = small(depth), margin_of("unet_original", {"depth": depth})
    images = image_set(1, (116, 148))
    tiling = Tiling((tile, tile), overlap)
    how = PredictionSettings(Sizing(tile, tile, margin=margin), RUNTIME, batch_size=2, tiles=tiling)
    views = how.plan.views((116, 148))
    assert len(views) > 1 and all(view.window.top % 2**depth == view.window.left % 2**depth == 0 for view in views)
    (found,) = predict(network, images, np.array([0]), how)
    with torch.no_grad():
        wanted = network(padded(images.images[0], (margin, margin), (margin, margin))).logits.sigmoid()[0].numpy()
    assert wanted.shape == (1, 116, 148) and wanted.std() > 1e-3
    np.testing.assert_allclose(found.planes, wanted, atol=1e-5)


def test_a_whole_image_lies_inside_the_margin() -> None:
    """Smaller than the margin is wide, so that it is mirrored more than once."""
    network, images = small(), image_set(1, (75, 90))
    (found,) = predict(network, images, np.array([0]), PredictionSettings(Sizing(284, 284, margin=92), RUNTIME))
    with torch.no_grad():
        logits = network(padded(images.images[0], (104, 105), (97, 97))).logits
    np.testing.assert_allclose(found.planes, logits.sigmoid()[0, :, 12:87, 5:95].numpy(), atol=1e-5)
