"""The stream of training batches: workers that live through a stage, an order that follows from the epoch."""

import signal
from collections.abc import Iterator

from torch.utils.data import DataLoader, Sampler

from segfold.config import Stage
from segfold.data.augment import Augmenter
from segfold.data.dataset import EpochSampler, Sample, TrainingSet
from segfold.inference.device import Runtime
from segfold.inference.networks import sizing_of
from segfold.training.job import FoldJob

GRACE_SECONDS = 30
"""How long a worker outlives SIGTERM."""


class _MovingSampler(Sampler[list[tuple[int, int]]]):
    """The batches of ``epoch`` from ``start`` on; both are set before each pass of the loader."""

    def __init__(self, length: int, batch_size: int, seed: int) -> None:
        self._arguments = length, batch_size
        self._seed = seed
        self.epoch = self.start = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(EpochSampler(*self._arguments, seed=self._seed, epoch=self.epoch, start=self.start))


class Batches:
    """Training batches of one stage of a fold."""

    def __init__(self, job: FoldJob, stage: Stage, runtime: Runtime) -> None:
        experiment = job.experiment
        steps = {name: settings.model_dump() for name, settings in experiment.augment.items()}
        dataset = TrainingSet(
            job.images,
            job.training_rows,
            sizing_of(experiment, stage),
            Augmenter(steps, job.seed) if steps else None,
            experiment.input.random_offset,
            channels=experiment.input.channels,
            seed=job.seed,
        )
        self._sampler = _MovingSampler(len(job.training_rows), job.batch_size, job.seed)
        workers = runtime.workers
        self._loader: DataLoader[Sample] = DataLoader(
            dataset,
            batch_sampler=self._sampler,
            num_workers=workers,
            pin_memory=runtime.pinned,
            prefetch_factor=4 if workers else None,
            persistent_workers=workers > 0,
            worker_init_fn=_leave_signals_to_parent if workers else None,
        )

    def of(self, epoch: int, start: int) -> Iterator[Sample]:
        """Batches of ``epoch`` (counted over all stages), the first ``start`` of them left out."""
        self._sampler.epoch, self._sampler.start = epoch, start
        return iter(self._loader)

    def close(self) -> None:
        """End the workers now rather than when the last reference goes, which a traceback may hold."""
        iterator = getattr(self._loader, "_iterator", None)
        if iterator is not None:
            iterator._shutdown_workers()


def _leave_signals_to_parent(worker: int) -> None:
    # Ctrl-C, and SIGTERM from a scheduler, reach the whole process group; the parent finishes its step, saves, and
    # ends the workers itself. A worker that died first would end the parent with an error; one that never obeyed
    # SIGTERM would keep the parent from ending.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))
