"""Prediction by views: tiles against the whole image, strips against all at once, scales and symmetries undone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.view import Tiling, View, ViewPlan, box_views
from segfold.data.geometry.window import Window
from segfold.data.images import ImageSet
from segfold.errors import SegfoldError
from segfold.inference.accumulate import Accumulator
from segfold.inference.manner import PredictionSettings, units
from segfold.inference.predict import predict, predict_strips
from segfold.machine import Runtime
from segfold.models import Output
from segfold.tasks import Multiclass
from small_images import image_set

RUNTIME = Runtime(torch.device("cpu"), "fp32", False, 1, 0)
TILES = Tiling((64, 64), 24)


def seeded(network: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.eval()


class Convolutions(nn.Module):
    """Its answer depends on the pixels within ``reach``; with ``valid`` it gives less than it takes."""

    def __init__(self, classes: int = 1, valid: bool = False) -> None:
        super().__init__()
        self.reach = 4
        padding = 0 if valid else 2
        self.first, self.second = nn.Conv2d(3, 4, 5, padding=padding), nn.Conv2d(4, classes, 5, padding=padding)

    def forward(self, pixels: Tensor) -> Output:
        return Output(self.second(torch.relu(self.first(pixels.float() / 64 - 2))))


class Pooled(nn.Module):
    """As of a network that halves its maps five times: its answer depends on where its windows begin."""

    def forward(self, pixels: Tensor) -> Output:
        deep = nn.functional.avg_pool2d(pixels[:, :1].float(), 32)
        return Output(nn.functional.interpolate(deep, scale_factor=32) - 127)


def manner(**changes: Any) -> PredictionSettings:
    return replace(PredictionSettings(Sizing(64, 64), RUNTIME, batch_size=3, tiles=TILES), **changes)


def whole(network: nn.Module, images: ImageSet, row: int) -> np.ndarray:
    """The network's probabilities of an image as it is."""
    with torch.no_grad():
        pixels = torch.from_numpy(images.images[row].copy()).permute(2, 0, 1)[None]
        return network(pixels).logits.sigmoid()[0].numpy()


def planes(network: nn.Module, images: ImageSet, how: PredictionSettings, row: int = 0) -> np.ndarray:
    (found,) = predict(network, images, np.array([row]), how)
    return found.planes


@pytest.mark.parametrize("blend", ["flat", "linear", "gaussian"])
def test_tiles_of_a_network_without_context_are_the_whole_image(blend: Any) -> None:
    images = image_set(1, (150, 201))

    class Brightness(nn.Module):
        def forward(self, pixels: Tensor) -> Output:
            return Output(pixels.float().mean(dim=1, keepdim=True) / 64 - 2)

    found = planes(Brightness(), images, manner(tiles=replace(TILES, blend=blend)))
    np.testing.assert_allclose(found, whole(Brightness(), images, 0), atol=1e-6)


def test_tiles_are_the_whole_image_where_no_edge_of_a_tile_is_near() -> None:
    """Each pixel is compared that is farther from the edges of all of its tiles than the network sees."""
    network, images = seeded(Convolutions()), image_set(1, (160, 224))
    plan = manner().plan
    found, wanted = planes(network, images, manner()), whole(network, images, 0)
    near = np.zeros((160, 224), bool)
    for view in plan.views((160, 224)):
        edge = np.ones(view.window.shape, bool)
        edge[network.reach : -network.reach, network.reach : -network.reach] = False
        inside = view.window.inside((160, 224))
        near[inside.slices] |= edge[inside.moved(-view.window.top, -view.window.left).slices]
    assert near.mean() < 0.5
    np.testing.assert_allclose(found[0][~near], wanted[0][~near], atol=1e-5)
    assert np.abs(found - wanted)[0][near].max() > 1e-3


def test_tiles_of_a_network_with_a_margin_are_the_whole_image_to_the_last_pixel() -> None:
    """What a tile says near its edge it has seen the surroundings of; a network that pools meets the same pixels."""
    images = image_set(1, (160, 224))
    network = seeded(Convolutions(valid=True))
    found = planes(network, images, manner(sizing=Sizing(64, 64, margin=4), tiles=Tiling((64, 64), 8)))
    border = np.pad(images.images[0], ((4, 4), (4, 4), (0, 0)), mode="reflect")
    with torch.no_grad():
        wanted = network(torch.from_numpy(border).permute(2, 0, 1)[None]).logits.sigmoid()[0].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_tiles_begin_where_a_network_that_pools_begins_its_windows() -> None:
    images = image_set(1, (192, 224))
    assert len({view.window.left for view in manner().plan.views((192, 224))}) > 3
    np.testing.assert_allclose(planes(Pooled(), images, manner()), whole(Pooled(), images, 0), atol=1e-6)


def test_a_network_that_gives_another_size_than_it_says_is_refused() -> None:
    with pytest.raises(SegfoldError, match=r"^the network gives 56×56 for an input of 64×64: expected 64×64[^\n]*$"):
        planes(seeded(Convolutions(valid=True)), image_set(1, (100, 100)), manner())


@pytest.mark.parametrize("merge", ["mean", "max"])
@pytest.mark.parametrize("values", ["probabilities", "logits"])
@pytest.mark.parametrize(
    "tta", [("identity",), ("identity", "hflip", "rot90"), ("vflip", "scale1.25", "hflip-scale0.8")]
)
def test_views_are_merged_as_by_hand(merge: Any, values: Any, tta: tuple[str, ...]) -> None:
    """Brute force: all answers of all views at the image's own size, and weights; mean and maximum pixel by pixel."""
    network, images = seeded(Convolutions(3)), image_set(1, (97, 140))
    task = Multiclass(["a", "b", "c"])
    images = replace(images, task=task, masks=None, areas=None)
    how = manner(tta=tta, merge=merge, values=values)
    found = planes(network, images, how)
    answers, weights = [], []
    for view in how.plan.views((97, 140)):
        pixels = torch.from_numpy(view.sizing.image(view.read(images.images[0]), around=view.around))
        for name in view.symmetries:
            turned = {"identity": lambda x: x, "hflip": lambda x: x.flip(-1), "vflip": lambda x: x.flip(-2)}
            turn = turned.get(name, lambda x: x.rot90(1, (-2, -1)))
            back = turned.get(name, lambda x: x.rot90(-1, (-2, -1)))
            with torch.no_grad():
                logits = back(network(turn(pixels.permute(2, 0, 1)[None])).logits)
            value = logits if values == "logits" else logits.softmax(1)
            answer = np.full((3, 97, 140), -np.inf)
            weight = np.zeros((97, 140))
            inside = view.window.inside((97, 140))
            part = inside.moved(-view.window.top, -view.window.left).slices
            answer[:, *inside.slices] = view.restored(value[0].numpy())[:, *part]
            down, across = (np.ones(n) if w is None else w for n, w in zip(view.window.shape, view.weights))
            weight[inside.slices] = np.outer(down, across)[part]
            answers.append(answer)
            weights.append(weight / len(tta))
    if merge == "max":
        merged = np.max(answers, axis=0)
    else:
        merged = sum(np.where(np.isinf(answer), 0, answer) * weight for answer, weight in zip(answers, weights))
    wanted = merged if values == "probabilities" else torch.from_numpy(merged).softmax(0).numpy()
    np.testing.assert_allclose(found, wanted, atol=2e-5)


@pytest.mark.parametrize("tta", [("identity",), ("identity", "scale1.5"), ("hflip", "scale0.7")])
def test_strips_are_all_at_once_to_the_bit(tta: tuple[str, ...]) -> None:
    plan = ViewPlan(Sizing(64, 64), tta, Tiling((64, 64), 20, "gaussian"))
    shape = (333, 150)
    views = plan.views(shape)
    rng = np.random.default_rng(3)
    answers = [rng.random((2, *view.window.shape), np.float32) for view in views]
    strips = Accumulator(views, 2, shape)
    assert strips._sum.shape[1] < 160
    parts: list[np.ndarray] = []
    for answer in answers:
        strips.add(answer)
        for top, rows in strips.ready():
            assert top == sum(part.shape[1] for part in parts)
            parts.append(rows.copy())
    assert strips.done and len(parts) > 3
    total = np.zeros((2, *shape), np.float32)
    for view, answer in zip(views, answers):
        down, across = (np.ones(n, np.float32) if w is None else w for n, w in zip(view.window.shape, view.weights))
        inside = view.window.inside(shape)
        part = inside.moved(-view.window.top, -view.window.left).slices
        factor = np.float32(view.share) * down[part[0]][:, None] * across[part[1]][None, :]
        total[:, *inside.slices] += answer[:, *part] * factor
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), total)


@pytest.mark.parametrize("merge", ["mean", "max"])
def test_boxes_are_merged_by_the_sum_of_their_weights(merge: Any) -> None:
    boxes = [Window(0, 2, 9, 9), Window(3, 0, 12, 8), Window(5, 5, 20, 20)]
    views = box_views(boxes, Sizing(16, 16))
    strips = Accumulator(views, 1, (30, 20), merge, even=False)
    rows = []
    for number, view in enumerate(views):
        strips.add(np.full((1, *view.window.shape), number + 1, np.float32))
        rows += [part.copy() for _, part in strips.ready()]
    found = np.concatenate(rows, axis=1)[0]
    assert found.shape == (30, 20)
    assert found[4, 3] == (1.5 if merge == "mean" else 2) and found[6, 6] == (2 if merge == "mean" else 3)
    assert found[29, 0] == (0 if merge == "mean" else -np.inf)


def test_strips_of_several_images_come_in_their_order_and_are_the_planes() -> None:
    network = seeded(Convolutions())
    images = image_set(5, (150, 90))
    rows = np.array([3, 0, 4, 1])
    strips = [strip._replace(planes=strip.planes.copy()) for strip in predict_strips(network, images, rows, manner())]
    by_id: dict[str, list[np.ndarray]] = {}
    for strip in strips:
        assert strip.top == sum(part.shape[1] for part in by_id.get(strip.id, []))
        by_id.setdefault(strip.id, []).append(strip.planes)
    assert list(by_id) == images.ids[rows].tolist() and sum(strip.last for strip in strips) == 4
    for found in predict(network, images, rows, manner()):
        np.testing.assert_array_equal(np.concatenate(by_id[found.id], axis=1), found.planes)


@pytest.mark.parametrize("tiles", [None, TILES])
def test_units_do_not_depend_on_each_other(tiles: Tiling | None) -> None:
    """From the first image of any unit on, the rest has the bits that the whole has."""
    network, images = seeded(Convolutions()), image_set(9, (64, 60) if tiles is None else (100, 60))
    how = manner(tiles=tiles, batch_size=4, tta=("identity", "scale1.25"))
    rows = np.arange(9)
    everything = [found.planes for found in predict(network, images, rows, how)]
    starts = units(how, images.images.shapes)
    assert starts.tolist() == ([0, 4, 8] if tiles is None else [0, 1, 2, 3, 4, 5, 6, 7, 8])
    for start in starts[1:]:
        for found, wanted in zip(predict(network, images, rows[start:], how), everything[start:], strict=True):
            np.testing.assert_array_equal(found.planes, wanted)


class Doubtful(nn.Module):
    """Its image head says what the first pixel is."""

    def forward(self, pixels: Tensor) -> Output:
        return Output(pixels[:, :1].float(), {"image": pixels[:, 0, 0, :1].float()})


def test_image_logits_are_one_an_entry_the_largest_over_tiles() -> None:
    images = image_set(1, (128, 128), channels=1)
    plan = manner(tta=("hflip", "scale2", "identity"), tiles=Tiling((64, 64), 0))
    (found,) = predict(Doubtful(), images, np.array([0]), plan)
    pixels = images.images[0][..., 0].astype(np.float32)
    firsts = pixels[::64, ::64].max(), pixels[::64, 63::64].max()
    assert found.image_logits is not None
    assert found.image_logits[[2, 0]].tolist() == list(firsts)
    assert found.image_logits[1] == pixels[::32, ::32].max()


def test_whole_images_of_several_scales_are_undone_at_their_own_size() -> None:
    images = image_set(2, (41, 50))

    class Column(nn.Module):
        def forward(self, pixels: Tensor) -> Output:
            return Output(pixels[:, :1].float() / 64 - 2)

    how = PredictionSettings(Sizing(64, 64), RUNTIME, ("identity", "scale1.5"), 2)
    assert how.plan.frames == ((64, 64), (96, 96))
    (one, two) = (planes(Column(), images, replace(how, tta=(name,))) for name in how.tta)
    both = planes(Column(), images, how)
    np.testing.assert_allclose(both, (one + two) / 2, atol=1e-6)
    assert both.shape == (1, 41, 50) and 0 < np.abs(one - two).mean() < 0.1


def test_a_view_holds_no_more_than_its_window() -> None:
    """The memory law: what is kept follows the height of tiles, not of the image."""
    heights = []
    for length in (500, 5000):
        views = ViewPlan(Sizing(64, 64), ("identity", "scale0.5"), TILES).views((length, 70))
        heights.append(Accumulator(views, 1, (length, 70))._sum.shape[1])
    assert heights[0] == heights[1] <= 192
    assert isinstance(views[0], View)
