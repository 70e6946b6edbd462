"""How images are predicted: their views, what is merged of them, and on what."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from segfold.data.edge_boxes import ProposalSettings
from segfold.data.geometry.boxes import BestBoxes
from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.view import Tiling, ViewPlan
from segfold.data.image_views import ImageViews
from segfold.inference.accumulate import Merge
from segfold.machine import Runtime
from segfold.settings import Experiment
from segfold.settings.views import views_of

Values = Literal["probabilities", "logits"]
"""What is merged where several views have an answer."""

USUAL_BATCH, USUAL_PIXELS = 64, 64 * 128 * 128


@dataclass(frozen=True)
class PredictionSettings:
    """How images are predicted.

    Attributes:
        sizing: to the network's input and back, of the whole image or of a tile.
        tta: entries of test-time augmentation.
        channels: of the network's input.
        tiles: None for whole images.
        boxes: which of an image's boxes are predicted beside the whole of it; None for none.
        proposals: how boxes are found, where they are not given.
    """

    sizing: Sizing
    runtime: Runtime
    tta: tuple[str, ...] = ("identity",)
    batch_size: int = USUAL_BATCH
    channels: tuple[str, ...] = ("image",)
    tiles: Tiling | None = None
    values: Values = "probabilities"
    merge: Merge = "mean"
    boxes: BestBoxes | None = None
    proposals: ProposalSettings | None = None

    @classmethod
    def of(cls, experiment: Experiment, runtime: Runtime) -> "PredictionSettings":
        """That of an experiment's settings."""
        plan, settings = views_of(experiment), experiment.predict
        # Of tiles and of boxes, as many as have the pixels of a usual batch.
        parts = plan.tiles is not None or plan.boxes is not None
        usual = USUAL_PIXELS // (plan.sizing.height * plan.sizing.width) if parts else USUAL_BATCH
        return cls(
            plan.sizing,
            runtime,
            plan.tta,
            settings.batch_size or max(1, usual),
            experiment.input.channels,
            plan.tiles,
            settings.values,
            settings.merge,
            plan.boxes,
            experiment.proposals.search,
        )

    @cached_property
    def plan(self) -> ViewPlan:
        """The views of images."""
        return ViewPlan(self.sizing, self.tta, self.tiles, self.boxes)


def units(manner: PredictionSettings, shapes: np.ndarray) -> np.ndarray:
    """First images of units: images whose views share batches, so that their last bits do not depend on other units.

    Args:
        shapes: N×2 or more, height and width first, of images in the order of their prediction.

    Returns:
        Increasing positions, from 0 on: the first image of each unit.
    """
    starts, held, plan = [0], 0, manner.plan
    for position, (height, width) in enumerate(shapes[:, :2].tolist()):
        if held >= manner.batch_size:
            starts.append(position)
            held = 0
        held += plan.load((height, width))
    return np.array(starts, np.int64)


def view_counts(views: ImageViews) -> np.ndarray:
    """(N,) how many views each image has."""
    return np.array([len(views.of(position)) for position in range(len(views))], np.int64)
