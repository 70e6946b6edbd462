"""Prediction by boxes beside the whole image: against a loop over the boxes, one by one, at the image's own size."""

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segfold.data.geometry.boxes import BestBoxes
from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.window import Window, cut
from segfold.data.images import ImageSet
from segfold.inference.manner import PredictionSettings, units
from segfold.inference.predict import predict, predict_strips
from segfold.machine import Runtime
from segfold.models import Output
from segfold.resize import stretched
from segfold.tasks import Multiclass
from small_images import image_set

RUNTIME = Runtime(torch.device("cpu"), "fp32", False, 1, 0)
SHAPE = (57, 80)
BOXES = [(3, 8, 20, 31), (30, 50, 27, 30), (0, 0, 12, 9), (10, 10, 40, 60), (5, 40, 30, 18)]


class Given:
    """Boxes of images, by row; the same of all where there is one list."""

    def __init__(self, *boxes: Sequence[Sequence[int]]) -> None:
        self.boxes = boxes

    def of(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        found = np.array(self.boxes[row % len(self.boxes)], np.int32).reshape(-1, 4)
        return found, np.linspace(1, 0, len(found), dtype=np.float32)


class Convolutions(nn.Module):
    """Three planes, or more, of a seeded network that sees more than single pixels; it counts what it is shown."""

    def __init__(self, planes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Conv2d(3, 5, 5, padding=2), nn.Conv2d(5, planes, 5, padding=2)
        self.shown: list[tuple[int, ...]] = []

    def forward(self, pixels: Tensor) -> Output:
        self.shown.append(tuple(pixels.shape))
        image = pixels[:, 0, 0, :1].float() / 64 - 2
        return Output(self.second(torch.relu(self.first(pixels.float() / 64 - 2))), {"image": image})


def classes(count: int = 1, shape: tuple[int, int] = SHAPE) -> ImageSet:
    """Images of three classes."""
    return replace(image_set(count, shape), task=Multiclass(["a", "b", "c"]), masks=None, areas=None)


def manner(**changes: Any) -> PredictionSettings:
    plain = PredictionSettings(Sizing(32, 40, "resize", "zero"), RUNTIME, batch_size=4, boxes=BestBoxes())
    return replace(plain, **changes)


def planes(
    network: nn.Module, images: ImageSet, how: PredictionSettings, *boxes: Sequence[Sequence[int]]
) -> np.ndarray:
    (found,) = predict(network, images, np.array([0]), how, boxes=Given(*boxes))
    return found.planes


def scaled(box: Sequence[int], factor: float) -> Window:
    """By hand: the same centre, each side longer by what is nearest."""
    top, left, height, width = box
    more = [round(side * (factor - 1) / 2) for side in (height, width)]
    return Window(top - more[0], left - more[1], height + 2 * more[0], width + 2 * more[1])


def merged_symmetries(network: nn.Module, seen: Tensor, names: list[str], how: PredictionSettings) -> np.ndarray:
    """Of one view, at the network's size: the mean, which sums of boxes are of, or the largest."""
    values = []
    for name in names:
        with torch.no_grad():
            logits = network(seen.flip(-1)).logits.flip(-1) if name == "hflip" else network(seen).logits
        values.append((logits if how.values == "logits" else logits.softmax(1))[0].numpy())
    return np.max(values, axis=0) if how.merge == "max" else np.mean(values, axis=0)


def looped(network: nn.Module, image: np.ndarray, how: PredictionSettings, windows: Sequence[Window]) -> np.ndarray:
    """What is merged, one answer at a time at the image's own size: Σ of maps, their number, and the largest."""
    shape = image.shape[:2]
    total, count, largest = np.zeros((3, *shape)), np.zeros(shape), np.full((3, *shape), -np.inf)
    for scale, names in ((1, [name for name in how.tta if name != "scale1.5"]), (1.5, ["scale1.5"])):
        if not set(names) <= set(how.tta):
            continue
        for window in windows:
            seen = stretched(cut(image, window, how.sizing.border), (round(32 * scale), round(40 * scale)))
            value = merged_symmetries(network, torch.from_numpy(seen).permute(2, 0, 1)[None], names, how)
            answer = np.stack([stretched(plane, window.shape) for plane in value])
            inside = window.inside(shape)
            part = answer[:, *inside.moved(-window.top, -window.left).slices]
            total[:, *inside.slices] += part * len(names)
            count[inside.slices] += len(names)
            largest[:, *inside.slices] = np.maximum(largest[:, *inside.slices], part)
    merged = {"mean": total / count, "sum": total / len(how.tta), "max": largest}[how.merge]
    return merged if how.values == "probabilities" else torch.from_numpy(merged).softmax(0).numpy()


@pytest.mark.parametrize(
    ("merge", "values"),
    [("mean", "probabilities"), ("max", "probabilities"), ("mean", "logits"), ("max", "logits"), ("sum", "logits")],
)
@pytest.mark.parametrize("tta", [("identity",), ("hflip", "identity", "scale1.5")])
def test_boxes_and_the_whole_image_are_merged_as_by_a_loop(merge: Any, values: Any, tta: tuple[str, ...]) -> None:
    network, images = Convolutions(), classes()
    how = manner(merge=merge, values=values, tta=tta, boxes=BestBoxes(count=4, scale=1.4))
    windows = [Window(0, 0, *SHAPE), *(scaled(box, 1.4) for box in BOXES[:4])]
    assert any(window != window.inside(SHAPE) for window in windows)  # the border is seen
    wanted = looped(network, images.images[0], how, windows)
    np.testing.assert_allclose(planes(network, images, how, BOXES), wanted, atol=2e-5)


@pytest.mark.parametrize("boxes", [[], [(0, 0, *SHAPE)]])
@pytest.mark.parametrize("merge", ["mean", "max", "sum"])
def test_the_whole_image_alone_is_the_plain_forward_to_the_bit(merge: Any, boxes: list[Any]) -> None:
    network, images = Convolutions(), classes()
    how = manner(merge=merge, values="logits", tta=("identity", "hflip"))
    plain = replace(how, boxes=None)
    (wanted,) = predict(network, images, np.array([0]), plain)
    np.testing.assert_array_equal(planes(network, images, how, boxes), wanted.planes)
    with torch.no_grad():
        seen = torch.from_numpy(stretched(images.images[0], (32, 40))).permute(2, 0, 1)[None]
        logits = network(seen.contiguous(memory_format=torch.channels_last)).logits[0].numpy()
    restored = torch.from_numpy(np.stack([stretched(plane, SHAPE) for plane in logits]))
    alone = planes(network, images, replace(how, tta=("identity",)), boxes)
    # By the test's own forward pass, whose last bits are another's on some machines.
    np.testing.assert_allclose(alone, restored[None].softmax(1)[0].numpy(), rtol=1e-6)


@pytest.mark.parametrize("merge", ["mean", "max", "sum"])
def test_the_order_of_boxes_and_their_repetition_change_no_bit(merge: Any) -> None:
    network, images = Convolutions(), classes()
    how = manner(merge=merge, values="logits", boxes=BestBoxes(count=10))
    wanted = planes(network, images, how, BOXES)
    np.testing.assert_array_equal(planes(network, images, how, BOXES[::-1]), wanted)
    np.testing.assert_array_equal(planes(network, images, how, [*BOXES[2:], *BOXES]), wanted)
    assert np.abs(planes(network, images, how, BOXES[:3]) - wanted).max() > 1e-3


def test_boxes_are_shown_together_with_those_of_other_images() -> None:
    network, images = Convolutions(), classes(3)
    how = manner(batch_size=7, boxes=BestBoxes(count=2))
    shown = [list(map(list, BOXES[:number])) for number in (1, 2, 2)]
    list(predict(network, images, np.arange(3), how, boxes=Given(*shown)))
    assert [shape[0] for shape in network.shown] == [7, 1]


@pytest.mark.parametrize("tta", [("identity",), ("identity", "scale1.5")])
def test_units_do_not_depend_on_each_other(tta: tuple[str, ...]) -> None:
    """From the first image of any unit on, the rest has the bits that the whole has, whatever boxes others have."""
    network, images = Convolutions(), classes(7)
    how = manner(batch_size=10, tta=tta, boxes=BestBoxes(count=4))
    source = Given(BOXES, BOXES[:1], [], BOXES[2:], BOXES[:3], [(0, 0, *SHAPE)], BOXES)
    rows = np.arange(7)
    everything = [found.planes for found in predict(network, images, rows, how, boxes=source)]
    starts = units(how, images.images.shapes)
    assert starts.tolist() == [0, 2, 4, 6]
    for start in starts[1:]:
        again = predict(network, images, rows[start:], how, boxes=source)
        for found, wanted in zip(again, everything[start:], strict=True):
            np.testing.assert_array_equal(found.planes, wanted)
    for row in rows:  # and each is what it is alone, but for the rounding of larger batches
        (alone,) = predict(network, images, rows[row : row + 1], how, boxes=source)
        np.testing.assert_allclose(alone.planes, everything[row], atol=1e-5)


def test_the_image_head_is_asked_of_the_whole_image() -> None:
    images = classes()
    how = manner(tta=("hflip", "scale1.5", "identity"))
    found, plain = (
        next(predict(Convolutions(), images, np.array([0]), each, boxes=Given(BOXES)))
        for each in (how, replace(how, boxes=None))
    )
    assert found.image_logits is not None
    np.testing.assert_array_equal(found.image_logits, plain.image_logits)


@pytest.mark.parametrize("values", ["logits", "probabilities"])
def test_planes_beyond_the_classes_are_never_predicted(values: Any) -> None:
    network, more, images = Convolutions(), Convolutions(4), classes()
    more.first.load_state_dict(network.first.state_dict())
    with torch.no_grad():
        more.second.weight[:3], more.second.bias[:3] = network.second.weight, network.second.bias
        more.second.bias[3] = 9
    found, wanted = (planes(each, images, manner(values=values), BOXES) for each in (more, network))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_best_boxes_are_chosen_once_they_are_scaled() -> None:
    best = BestBoxes(count=2, scale=1.2, least_side=0.25)
    assert best.windows(np.array([[10, 10, 20, 20]]), (60, 80)) == (Window(8, 8, 24, 24),)
    boxes = np.array([(40, 0, 20, 20), (0, 0, 12, 70), (20, 20, 13, 13), (0, 0, 30, 30)])
    # 12 rows become 14, below a quarter of 60 and out of the count; 13 become 15.
    assert best.windows(boxes, (60, 80)) == (Window(19, 19, 15, 15), Window(38, -2, 24, 24))
    whole = np.array([(0, 0, 60, 80), (1, 1, 30, 30), (2, 2, 40, 40)])
    assert BestBoxes(count=2, scale=1).windows(whole, (60, 80)) == (Window(1, 1, 30, 30),)


@pytest.mark.parametrize("factor", [0.1, 0.5, 1, 1.2, 3])
def test_a_scaled_window_keeps_its_centre_and_has_pixels(factor: float) -> None:
    for height in (1, 2, 3, 10, 37):
        found = Window(5, 7, height, 20).scaled(factor)
        assert 2 * found.top + found.height == 10 + height and 2 * found.left + found.width == 34
        assert found.height >= 1 and abs(found.height - factor * height) <= max(1, 2 - factor * height)


def test_memory_follows_a_unit_and_not_the_number_of_images() -> None:
    network, source = Convolutions(), Given(BOXES, BOXES[1:])
    how = manner(boxes=BestBoxes(count=4), tta=("identity", "scale1.5"))
    peaks = []
    for count in (4, 24):
        images = classes(count, (160, 200))
        tracemalloc.start()
        for _ in predict_strips(network, images, np.arange(count), how, boxes=source):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 4 * (3 * 160 * 200)  # of twenty more images not the planes of one


def test_boxes_of_images_are_needed_where_they_are_asked_for() -> None:
    with pytest.raises(ValueError, match="no source"):
        next(predict(Convolutions(), classes(), np.array([0]), manner()))
