"""What an experiment's network is shown: the sizing of training, and the views of prediction."""

from dataclasses import replace
from typing import TYPE_CHECKING

from segfold.data.geometry.boxes import BestBoxes
from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.view import Tiling, ViewPlan, around_of
from segfold.errors import SegfoldError
from segfold.models import margin_of, sides_of
from segfold.models.pixels import check_sides
from segfold.resize import Shape
from segfold.settings.data import both_sides
from segfold.settings.training import Stage

if TYPE_CHECKING:
    from segfold.settings.experiment import Experiment


def margin_of_model(experiment: "Experiment") -> int:
    """Pixels on each side of the input that the experiment's network sees and says nothing of."""
    settings = experiment.model.model_dump()
    return margin_of(settings.pop("name"), settings)


def sizing_of(experiment: "Experiment", stage: Stage | None = None) -> Sizing:
    """Sizing to the network's input, or to that of a stage with a size of its own: of a whole image, of a crop, or of a box.

    Raises:
        SegfoldError: settings that do not fit together.
    """
    settings, model = experiment.input, experiment.model.model_dump()
    size = settings.size if stage is None or stage.size is None else stage.size
    check_sides(both_sides(size), *sides_of(model.pop("name"), model))
    sizing = replace(settings.sizing(size), margin=margin_of_model(experiment))
    if stage is not None and stage.boxes is not None:
        return sizing.filled
    crop = crop_of(experiment, stage)
    if crop is None:
        return sizing
    around = around_of(sizing, crop)
    down, across = crop[0] - 2 * around, crop[1] - 2 * around
    if min(down, across) < 1:
        raise SegfoldError(
            f"a crop of {crop[0]}×{crop[1]} leaves nothing inside a margin of {around} pixels of the image: set a larger input.crop"
        )
    # What is given of a crop comes to what is given of the input, to the pixel.
    scale = sizing.given[0] / down, sizing.given[1] / across
    return replace(sizing, fit="pad", resize=None, scale=scale)


def crop_of(experiment: "Experiment", stage: Stage | None = None) -> Shape | None:
    """Height and width of what the network sees of an image at once in training; None for the whole image, or for boxes."""
    if stage is not None and stage.boxes is not None:
        return None
    own = None if stage is None else stage.crop
    crop = experiment.input.crop if own is None else own
    return None if crop is None else both_sides(crop)


def part_of(experiment: "Experiment", name: str) -> tuple[float, float]:
    """Shares of the height and the width of a box that the network sees in the stage of a name.

    Raises:
        SegfoldError: the box is stretched to less than what the network says something of.
    """
    stage = experiment.stages[name]
    resize = None if stage.boxes is None else stage.boxes.resize
    if resize is None:
        return 1.0, 1.0
    given, whole = sizing_of(experiment, stage).given, both_sides(resize)
    if whole[0] < given[0] or whole[1] < given[1]:
        raise SegfoldError(
            f"stages.{name}.boxes.resize of {whole[0]}×{whole[1]} is less than the {given[0]}×{given[1]} that the network says "
            "something of: set a larger one, or null for whole boxes"
        )
    return given[0] / whole[0], given[1] / whole[1]


def views_of(experiment: "Experiment") -> ViewPlan:
    """The views by which the experiment predicts images.

    A whole image is stretched to the input where the last stage trains on boxes, as they are, and where crops leave no sizing
    of it.

    Raises:
        SegfoldError: tiles without a size, or that are smaller than their overlap, or beside boxes.
    """
    sizing, crop = sizing_of(experiment), crop_of(experiment)
    settings, tta, boxes = experiment.predict.tiles, experiment.predict.tta, experiment.predict.boxes
    if settings is not None and boxes is not None:
        raise SegfoldError(
            "predict.tiles and predict.boxes are both set: images are predicted by tiles, or as a whole and by boxes; take "
            "one of them out"
        )
    if boxes is not None or (settings is None and crop is None):
        trained = [stage for stage in experiment.stages.values() if stage.epochs]
        stretches = crop is not None or (bool(trained) and trained[-1].boxes is not None)
        best = None if boxes is None else BestBoxes(**boxes.model_dump())
        return ViewPlan(sizing.filled if stretches else sizing, tta, boxes=best)
    given = None if settings is None else settings.size
    size = crop if given is None else both_sides(given)
    if size is None:
        raise SegfoldError(
            "predict.tiles needs a size beside its overlap and blend where there is no input.crop to take it from: set "
            "predict.tiles.size"
        )
    if crop is None and (sizing.fit == "resize" or sizing.resize is not None):
        raise SegfoldError(
            "predict.tiles cuts images at their own scale, but training stretches whole images (input.fit or input.resize): "
            "set input.crop, or leave predict.tiles out"
        )
    seen = size if crop is None else crop
    inputs = size if crop is None else (sizing.height, sizing.width)
    frame = [max(1, round(tile * wide / part)) for tile, wide, part in zip(size, inputs, seen)]
    overlap = None if settings is None else settings.overlap
    tiling = Tiling(
        size, min(size) // 4 if overlap is None else overlap, "linear" if settings is None else settings.blend
    )
    fitted = replace(sizing, height=frame[0], width=frame[1], scale=(1.0, 1.0))
    plan = ViewPlan(fitted, tta, tiling)
    plan.views((1, 1))  # refuses what cannot be tiled, at any of the scales
    return plan
