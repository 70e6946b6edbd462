"""Image sets in memory for tests of samples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from segfold.data.dataset import TrainingSet
from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.view import ViewPlan
from segfold.data.image_views import ImageViews
from segfold.data.images import ImageSet, PixelStore
from segfold.data.prediction_set import PredictionSet

PAD = Sizing(128, 128)


def store(arrays: list[np.ndarray], masks: bool = False) -> PixelStore:
    shapes = [(*array.shape, 1)[:3] for array in arrays]
    return PixelStore(np.concatenate([array.ravel() for array in arrays]), np.array(shapes), masks)


def image_set(
    count: int = 12,
    shape: tuple[int, int] = (101, 101),
    channels: int = 3,
    dtype: type = np.uint8,
    masks: bool = True,
    **changes: Any,
) -> ImageSet:
    """Random images; the mask of each is where its first channel lies in the upper half of the range."""
    stream = np.random.default_rng(0)
    full = np.iinfo(dtype).max
    arrays = [stream.integers(0, full, (*shape, channels), dtype, endpoint=True) for _ in range(count)]
    targets = [(array[:, :, 0] > full // 2).astype(np.uint8) for array in arrays]
    arguments: dict[str, Any] = {
        "ids": np.array([f"{i:03}" for i in range(count)], object),
        "images": store(arrays),
        "masks": store(targets, masks=True) if masks else None,
        "extra": pd.DataFrame(index=[f"{i:03}" for i in range(count)]),
        "fingerprint": "",
        "coverage": np.array([target.mean() for target in targets]),
        "groups": None,
        "constant": np.zeros(count, bool),
    }
    return ImageSet(**{**arguments, **changes})


def training_set(images: ImageSet, **changes: Any) -> TrainingSet:
    arguments = {"rows": np.arange(len(images)), "sizing": PAD, "augmenter": None, "random_offset": False}
    return TrainingSet(images, **{**arguments, **changes})


def same(left: Any, right: Any) -> bool:
    """Whether two samples, or batches, hold the same."""
    return all(torch.equal(torch.as_tensor(left[key]), torch.as_tensor(right[key])) for key in left)


def prediction_set(
    images: ImageSet,
    rows: Sequence[int] | np.ndarray,
    sizing: Sizing = PAD,
    channels: Sequence[str] = ("image",),
    tta: Sequence[str] = ("identity",),
) -> PredictionSet:
    """Whole images of some rows."""
    return PredictionSet(images, ImageViews(images, np.array(rows), ViewPlan(sizing, tuple(tta))), channels)
