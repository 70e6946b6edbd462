"""From settings to the boxes that a stage trains on, and what there is to say of them."""

import numpy as np

from segfold.data.boxes import Boxes, TrainingBoxes, object_boxes, proposed_boxes
from segfold.data.images import ImageSet
from segfold.data.objects import ObjectBoxes
from segfold.data.proposals import Proposals
from segfold.errors import SegfoldError
from segfold.observer import SILENT, Observer
from segfold.settings import Experiment, Stage
from segfold.settings.views import part_of


class BoxSource:
    """The boxes of some training images, found when a stage first asks for them.

    Args:
        images: a split with masks.
        rows: indices into ``images`` of those that are trained on.
    """

    def __init__(self, experiment: Experiment, images: ImageSet, rows: np.ndarray) -> None:
        self._experiment, self._images, self._rows = experiment, images, rows
        self._objects: dict[float, ObjectBoxes] = {}
        self._proposals: Proposals | None = None

    def prepare(self, observer: Observer) -> None:
        """Finds the proposals that a stage trains on, as far as they are not kept, and tells how far it has come."""
        stages = self._experiment.stages.values()
        if any(stage.epochs and stage.boxes is not None and stage.boxes.of == "proposals" for stage in stages):
            self._prepared(observer)

    def of(self, name: str, stage: Stage) -> TrainingBoxes | None:
        """What a stage draws from; None where it trains on whole images or crops.

        Raises:
            SegfoldError: there is no object, or no proposal that overlaps one.
        """
        settings = stage.boxes
        if settings is None or stage.epochs == 0:
            return None
        found = self._found(settings.least)
        if not len(found):
            raise SegfoldError(self._no_objects(name, settings.least))
        isolates = stage.isolates_objects
        boxed = object_boxes(found) if isolates else proposed_boxes(found, self._proposed, settings.overlap)
        if not len(boxed.rows):
            raise SegfoldError(
                f"stage {name}: no proposal overlaps one of {len(found)} objects by {settings.overlap:g}; lower "
                f"stages.{name}.boxes.overlap, or let more be found (proposals.count, proposals.least_area)"
            )
        return TrainingBoxes(
            boxed,
            found,
            self._images.task.with_other() if isolates else self._images.task,
            alone=isolates,
            scale=settings.scale,
            part=part_of(self._experiment, name),
            images=self._rows if settings.whole > 0 else self._rows[:0],
            shapes=self._images.images.shapes,
        )

    def _found(self, least: float) -> ObjectBoxes:
        if least not in self._objects:
            self._objects[least] = ObjectBoxes(self._images, self._rows, least)
        return self._objects[least]

    def _proposed(self, row: int) -> Boxes:
        return self._prepared(SILENT).of(row)[0]

    def _prepared(self, observer: Observer) -> Proposals:
        if self._proposals is None:
            done, total = 0, len(self._rows)

            def on_image() -> None:
                nonlocal done
                done += 1
                observer.predicting("proposals", done, total)

            self._proposals = Proposals(self._images, self._experiment.proposals.search, observer.say, on_image)
            self._proposals.prepare(self._rows.tolist())
        return self._proposals

    def _no_objects(self, name: str, least: float) -> str:
        count = len(self._rows)
        if self._images.instances is not None:
            return (
                f"stage {name}: none of {count} training images has an object; train it on whole images or crops instead "
                f"(stages.{name}.boxes=null)"
            )
        return (
            f"stage {name}: none of {count} training images has an object, a connected part of a class with at "
            f"least {100 * least:g} % of the image's pixels; lower stages.{name}.boxes.least, or train on whole images or crops "
            f"(stages.{name}.boxes=null)"
        )


def boxes_found(name: str, boxes: TrainingBoxes, images: int) -> str:
    """What to say of a stage's boxes: how many, in how many of its training images, and of which classes."""
    rows, kind = boxes.boxed.rows, "objects" if boxes.alone else "proposals that overlap an object"
    said = f"stage {name}: {len(rows):,} {kind}, in {len(np.unique(rows)):,} of {images:,} training images"
    if len(boxes.task.rows) == 1:
        return said
    counts = np.bincount(boxes.classes, minlength=len(boxes.task.classes))
    return f"{said}; " + ", ".join(f"{boxes.task.classes[index]} {counts[index]:,}" for index in boxes.task.rows)
