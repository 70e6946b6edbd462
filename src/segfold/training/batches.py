"""The stream of training batches: workers that live through a stage, an order that follows from the epoch."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from torch.utils.data import DataLoader, Sampler

from segfold.data.augment import AUGMENTATIONS, Augmenter
from segfold.data.boxes import TrainingBoxes
from segfold.data.dataset import Sample, TrainingSet
from segfold.data.images import ImageSet
from segfold.data.places import ClassPlaces
from segfold.data.sampling import EpochSampler, Key
from segfold.data.workers import batches, fitting, loader, too_little_shared
from segfold.machine import Runtime
from segfold.settings import Experiment, Stage
from segfold.settings.views import sizing_of
from segfold.stopping import leave_signals_to_parent
from segfold.training.crops import crops_of
from segfold.training.gaps import wants_gaps
from segfold.training.plan import FoldJob, StagePlan
from segfold.training.processes import ALONE, Group


def training_samples(
    experiment: Experiment,
    images: ImageSet,
    rows: np.ndarray,
    stage: Stage,
    chances: np.ndarray | None,
    seed: int,
    places: Callable[[], ClassPlaces] | None = None,
    boxes: TrainingBoxes | None = None,
    gaps: bool = False,
) -> TrainingSet:
    """The augmented samples of a stage.

    Args:
        rows: indices into ``images``.
        chances: how likely each of ``rows`` is the second image of a mixed sample; None for all alike.
        places: where the classes of ``rows`` lie, which is asked if crops are placed by them; None to count them now.
        boxes: what the stage trains on in place of whole images or crops; ``rows`` are then its own.
        gaps: whether samples come with the gaps between the competition's objects.
    """
    crops = crops_of(experiment, stage, images.task)
    if crops is not None and crops.focus > 0:
        assert images.masks is not None
        found = ClassPlaces(images.masks, rows, images.task) if places is None else places()
        crops = replace(crops, places=found)
    steps = {name: chosen.model_dump() for name, chosen in (stage.augment or experiment.augment).items()}
    own = {name: settings for name, settings in steps.items() if name in AUGMENTATIONS}
    return TrainingSet(
        images,
        rows,
        sizing_of(experiment, stage),
        Augmenter(own, seed, images.task if boxes is None else boxes.task) if own else None,
        experiment.input.random_offset,
        channels=experiment.input.channels,
        seed=seed,
        mix={name: settings for name, settings in steps.items() if name not in own},
        chances=chances,
        crops=crops,
        boxes=boxes,
        gaps=gaps,
    )


class _MovingSampler(Sampler[list[Key]]):
    """The batches of ``epoch`` from ``start`` on; both are set before each pass of the loader."""

    def __init__(self, plan: StagePlan, seed: int, group: Group) -> None:
        self._plan, self._seed, self._group = plan, seed, group
        self.epoch = self.start = 0

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(
            EpochSampler(
                len(self._plan.rows),
                self._plan.batch_size,
                chances=self._plan.chances,
                images=self._plan.images,
                seed=self._seed,
                epoch=self.epoch,
                start=self.start,
                rank=self._group.rank,
                world=self._group.size,
            )
        )


class Batches:
    """Training batches of one stage of a fold; in a group of processes, this one's share of each.

    Args:
        gaps: whether samples come with gaps where the stage's loss weighs them; for who looks at images alone they need not.
    """

    def __init__(
        self, job: FoldJob, plan: StagePlan, runtime: Runtime, group: Group = ALONE, gaps: bool = True
    ) -> None:
        dataset = training_samples(
            job.experiment,
            job.images,
            plan.rows,
            plan.settings,
            plan.chances,
            job.seed,
            lambda: job.places,
            plan.boxes,
            gaps and wants_gaps(job, plan),
        )
        self._sampler = _MovingSampler(plan, job.seed, group)
        size = dataset.sample_bytes * plan.batch_size // group.size
        workers, ahead = fitting(runtime.workers, size, 4)
        self.note = "" if workers == runtime.workers else too_little_shared(size)
        self._loader: DataLoader[Sample] = loader(
            dataset,
            batch_sampler=self._sampler,
            num_workers=workers,
            pin_memory=runtime.pinned,
            prefetch_factor=ahead if workers else None,
            persistent_workers=workers > 0,
            worker_init_fn=leave_signals_to_parent if workers else None,
        )

    def of(self, epoch: int, start: int) -> Iterator[Sample]:
        """Batches of ``epoch`` (counted over all stages), the first ``start`` of them left out."""
        self._sampler.epoch, self._sampler.start = epoch, start
        return batches(iter(self._loader))

    def close(self) -> None:
        """End the workers now rather than when the last reference goes, which a traceback may hold."""
        iterator = getattr(self._loader, "_iterator", None)
        if iterator is not None:
            iterator._shutdown_workers()
