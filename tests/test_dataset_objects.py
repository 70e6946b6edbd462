"""Objects beside a mask: they go where the mask goes, and samples have the gaps between them."""

import pickle
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from segfold.data.augment import AUGMENTATIONS, Augmenter
from segfold.data.crops import Crops
from segfold.data.dataset import TrainingSet
from segfold.data.geometry.sizing import Sizing
from segfold.data.images import ImageSet
from segfold.data.sampling import EpochSampler
from segfold.losses.gaps import object_gaps
from segfold.tasks import OBJECTS, VOID, Binary, Multiclass
from small_images import PAD, image_set, same, store, training_set

CLASSES = Multiclass(("none", "cell"), background=0)
ALL: dict[str, dict[str, float]] = {name: {} for name in AUGMENTATIONS}
SHAPE = (70, 84)


def cells(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Discs with numbers up to 60,000, some of them touching."""
    g = np.random.default_rng(seed)
    objects = np.zeros(shape, np.uint16)
    for _ in range(12):
        centre = tuple(int(v) for v in (g.integers(0, shape[1]), g.integers(0, shape[0])))
        cv2.circle(objects, centre, int(g.integers(3, 9)), int(g.integers(1, 60_000)), -1)
    return objects


def pictured(objects: list[np.ndarray], task: Any = CLASSES, **changes: Any) -> ImageSet:
    """Images that show their masks, so that both can be compared after any move."""
    masks = [(each > 0).astype(np.uint8) for each in objects]
    count = len(objects)
    given = image_set(count, objects[0].shape, channels=1)
    return ImageSet(
        **{
            **vars(given),
            "areas": None,
            "task": task,
            "masks": store(masks, masks=True),
            "instances": store(objects, masks=True),
            **changes,
        }
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("step", [*AUGMENTATIONS, "all"])
def test_every_step_moves_objects_as_it_moves_the_mask(step: str, dtype: type) -> None:
    """Drawn without a look at a pixel: the objects move beside a blank image. What comes after is drawn alike as well."""
    steps = ALL if step == "all" else {step: {"p": 1.0}, "elastic": {"p": 1.0}, "affine": {"p": 1.0}}
    augmenter = Augmenter(steps, 5, CLASSES)
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (*SHAPE, 3), dtype)
    objects = cells(1)
    blank = np.zeros((*SHAPE, 1), np.uint8)
    moved = 0
    for draw in range(12):
        _, mask = augmenter(image, (objects > 0).astype(np.uint8), 0, draw)
        _, found = augmenter.of(OBJECTS)(blank, objects, 0, draw)
        assert found.dtype == np.uint16 and set(np.unique(found)) <= {0, *np.unique(objects)}
        np.testing.assert_array_equal(found > 0, mask == 1)
        moved += not np.array_equal(mask == 1, objects > 0)
    assert moved > 6


@pytest.mark.parametrize("step", ["affine", "shear", "crop", "elastic", "grid_distortion"])
def test_interpolated_masks_differ_from_their_objects_at_edges_alone(step: str) -> None:
    """And where the mask is reflected from outside, where there are no objects: none lies near the edge here."""
    objects = np.zeros((90, 90), np.uint16)
    objects[35:50, 33:45], objects[35:50, 45:58] = 7, 8
    augmenter = Augmenter({step: {"p": 1.0}}, 2)
    blank = np.zeros((90, 90, 1), np.uint8)
    for draw in range(10):
        _, mask = augmenter(blank, (objects > 0).astype(np.uint8), 0, draw)
        _, found = augmenter.of(OBJECTS)(blank, objects, 0, draw)
        edge = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        inside = np.zeros_like(edge)
        inside[20:70, 20:70] = True
        seen = inside & ~edge
        np.testing.assert_array_equal((found > 0)[seen], (mask > 0)[seen])
        assert {7, 8} <= set(np.unique(found[seen & (mask > 0)]))


def test_mirrored_objects_are_mirrored() -> None:
    objects = cells(3)
    _, found = Augmenter({"hflip": {"p": 1.0}}, 0).of(OBJECTS)(np.zeros((*SHAPE, 1), np.uint8), objects, 0, 0)
    np.testing.assert_array_equal(found, objects[:, ::-1])


def test_samples_have_the_gaps_of_their_objects_in_the_padded_input() -> None:
    objects = [cells(0), cells(1)]
    dataset = training_set(pictured(objects), gaps=True, random_offset=True)
    for row in range(2):
        sample = dataset[3, row, row]
        assert (sample["gaps"].shape, sample["gaps"].dtype) == ((1, 128, 128), torch.float32)
        valid = sample["valid"].numpy()
        np.testing.assert_array_equal(sample["gaps"].numpy()[valid], object_gaps(objects[row]).ravel())
        assert np.isposinf(sample["gaps"].numpy()[~valid]).all()


def test_void_hides_objects() -> None:
    """What lies in pixels that do not count is no object, and there are no gaps there."""
    objects = np.zeros(SHAPE, np.uint16)
    for number, left in enumerate((5, 25, 60), start=1):
        objects[20:40, left : left + 10] = number
    mask = (objects > 0).astype(np.uint8)
    mask[:, 50:] = VOID
    found = training_set(pictured([objects], masks=store([mask], masks=True)), gaps=True)[0, 0, 0]
    window = PAD.window(SHAPE).slices
    expected = object_gaps(np.where(mask == VOID, 0, objects))
    expected[mask == VOID] = np.inf
    np.testing.assert_array_equal(found["gaps"][0].numpy()[window], expected)


@pytest.mark.parametrize(
    "sizing",
    [Sizing(96, 64, "resize"), Sizing(128, 128, resize=(100, 90)), Sizing(32, 40, "resize"), Sizing(96, 96, margin=4)],
)
@pytest.mark.parametrize("crops", [None, Crops((40, 48))])
def test_gaps_and_mask_are_one_after_sizing_cropping_and_augmentation(sizing: Sizing, crops: Crops | None) -> None:
    """Objects and masks of classes go the same way, by nearest pixels: gaps are of exactly the background."""
    if crops is not None and sizing.margin:
        crops = Crops((48, 56), around=4)
        sizing = Sizing(48, 56, margin=4)
    images = pictured([cells(seed) for seed in range(3)])
    dataset = training_set(
        images, sizing=sizing, augmenter=Augmenter(ALL, 1, CLASSES), random_offset=True, crops=crops, gaps=True
    )
    finite = 0
    for draw in range(12):
        sample = dataset[1, draw % 3, draw]
        gaps, background = sample["gaps"].numpy(), ((sample["mask"] == 0) & sample["valid"]).numpy()
        some = bool(np.isfinite(gaps).any())
        finite += some
        np.testing.assert_array_equal(np.isfinite(gaps), background & some)
    assert finite > 6


def test_crops_have_the_gaps_of_what_lies_in_them() -> None:
    """An object that a crop cuts into two parts is still one."""
    objects = np.zeros((60, 60), np.uint16)
    objects[5:50, 10:14] = objects[5:50, 40:44] = objects[46:50, 10:44] = 9  # a U
    objects[20:24, 24:28] = 3
    dataset = training_set(pictured([objects]), sizing=Sizing(30, 60), crops=Crops((30, 60)), gaps=True)
    seen = set()
    for draw in range(20):
        sample = dataset[0, 0, draw]
        mask = sample["mask"][0].numpy()
        [top] = [t for t in range(31) if np.array_equal(objects[t : t + 30] > 0, mask > 0)]
        seen.add(top)
        np.testing.assert_array_equal(sample["gaps"][0].numpy(), object_gaps(objects[top : top + 30]))
    assert len(seen) > 5


def test_what_is_reflected_from_outside_is_no_object() -> None:
    """Where a mask of 0 and 1 shows what lies at an edge twice, in an image and in a crop with context alike."""
    objects = np.zeros((60, 60), np.uint16)
    objects[20:30, 1:6] = objects[20:30, 54:59] = 3
    objects[40:50, 28:32] = 4
    images = pictured([objects], Binary(("cell",)))
    augmenter = Augmenter({"affine": {"p": 1.0, "rotate": 40.0, "scale": 0.4}}, 0)
    dataset = training_set(images, sizing=Sizing(60, 60), augmenter=augmenter, crops=Crops((60, 60)), gaps=True)
    seen = 0
    for draw in range(10):
        sample = dataset[0, 0, draw]
        moved = augmenter.of(OBJECTS)(np.zeros((60, 60, 1), np.uint8), objects, 0, draw)[1]
        np.testing.assert_array_equal(sample["gaps"][0].numpy(), object_gaps(moved))
        seen += int(sample["mask"].sum()) - int((moved > 0).sum()) > 30
    assert seen, "nothing was reflected"


def test_without_gaps_a_sample_is_what_it_was() -> None:
    images = pictured([cells(seed) for seed in range(4)], Binary(("cell",)))
    settings: dict[str, Any] = {"augmenter": Augmenter(ALL, 1), "random_offset": True, "seed": 1}
    plain, gapped = training_set(images, **settings), training_set(images, gaps=True, **settings)
    for draw in range(8):
        left, right = plain[0, draw % 4, draw], gapped[0, draw % 4, draw]
        assert set(left) == {"image", "mask", "valid", "row"} and set(right) == {*left, "gaps"}
        assert same(left, right)  # looks at what the left one has
    assert gapped.sample_bytes == plain.sample_bytes + 4 * 128 * 128


def test_batches_with_gaps_do_not_depend_on_workers() -> None:
    dataset = training_set(
        pictured([cells(seed) for seed in range(4)]), augmenter=Augmenter(ALL, 1, CLASSES), gaps=True
    )

    def batch(dataset: TrainingSet, workers: int = 0) -> Any:
        return next(iter(DataLoader(dataset, batch_sampler=EpochSampler(4, 4), num_workers=workers)))

    alone = batch(dataset)
    assert alone["gaps"].shape == (4, 1, 128, 128)
    assert same(alone, batch(dataset, 2))
    assert same(alone, batch(pickle.loads(pickle.dumps(dataset))))  # as a spawned worker has it


def test_gaps_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="map of objects"):
        training_set(image_set(2), gaps=True)
    with pytest.raises(ValueError, match="not mixed"):
        training_set(pictured([cells(0)]), gaps=True, mix={"cutmix": {}})
