"""Speed, memory and size of one system, in a process of its own: ``python -m benchmarks.zoo.probe CONFIG OVERRIDES``.

Prints one line of JSON, and leaves nothing behind.
"""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.engine import Trained
from benchmarks.private_memory import Peak, private_bytes
from benchmarks.workload import gmacs
from segfold.competition import load_competition
from segfold.config import load_experiment
from segfold.data.dataset import Sample
from segfold.data.images import ImageSet
from segfold.errors import SegfoldError
from segfold.inference.networks import image_channels, input_channels
from segfold.machine import resolve
from segfold.metrics import Metric, ScoreSums
from segfold.road import Run, fold_job
from segfold.runs.folder import RunFolder
from segfold.tasks.scoring import features

WARM_UP, LEAST, SECONDS = 3, 6, 12.0


def probe(config: Path, overrides: Sequence[str]) -> dict[str, float]:
    """What a few seconds of training on fold 0 show.

    Returns:
        ``images_per_second``, loading included; ``peak_mib`` of private memory above the imports, or of the GPU's;
        ``parameters``; ``gmacs`` of one image's forward pass; ``floor``, the score of saying the same of every pixel.
    """
    base = private_bytes()
    with Peak() as peak:
        experiment = load_experiment(config, overrides)
        competition = load_competition(experiment.competition)
        job = fold_job(Run(experiment, competition, RunFolder(Path("runs/probe")), Path()), 0)
        torch.manual_seed(0)
        network = job.network()
        runtime = resolve(experiment.machine, job.total_images)
        trained = Trained(job, network, runtime)
        clock = _Clock(job.stages[0].batch_size)
        trained.engine(clock.until_known(trained.samples()))
        trained.close()
    memory = torch.cuda.max_memory_allocated() if runtime.device.type == "cuda" else peak.bytes - base
    return {
        "images_per_second": clock.rate,
        "peak_mib": memory / 2**20,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "gmacs": gmacs(network, job.experiment.input.shape, input_channels(experiment, image_channels(job.images))),
        "floor": floor(job.images, job.validation_rows, competition.scorer),
    }


def floor(images: ImageSet, rows: npt.NDArray[np.intp], metric: Metric) -> float:
    """The score on some images of saying the same of every pixel: nothing, or where classes exclude each other, their commonest.

    Raises:
        ValueError: images without masks.
    """
    task, masks = images.task, images.masks
    if masks is None:
        raise ValueError("the images have no masks")
    commonest = int(np.sum([task.areas(masks[row]) for row in rows], axis=0).argmax())
    found = []
    for row in rows:
        truth = masks[row]
        same = np.full_like(truth, commonest) if task.exclusive else np.zeros_like(truth)
        objects = None if images.instances is None else images.instances[row]
        found.append(features(task, metric, same, truth, objects))
    return ScoreSums.of(np.array(found)).score(metric).mean


class _Clock:
    """Passes batches on until enough of them have been timed."""

    def __init__(self, batch_size: int) -> None:
        self.rate = 0.0
        self._batch_size = batch_size

    def until_known(self, batches: Iterable[Sample]) -> Iterator[Sample]:
        began = 0.0
        for step, batch in enumerate(batches):
            if step == WARM_UP:
                began = _now()
            done = step - WARM_UP
            if done >= LEAST and _now() - began >= SECONDS:
                self.rate = done * self._batch_size / (_now() - began)
                return
            yield batch


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    try:
        print(json.dumps(probe(Path(sys.argv[1]), sys.argv[2:])))
    except SegfoldError as error:
        sys.exit(f"error: {error}")
