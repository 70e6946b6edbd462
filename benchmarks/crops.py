"""Training by crops of large images, against the same training on files that hold a crop each."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.engine import Trained
from benchmarks.large_images import competition, cut_competition, experiment, large_split, make_competition
from benchmarks.measure import Effort, Row, interleave, rate, spread
from segfold.data.images import ImageSet, load_split
from segfold.machine import Runtime, resolve
from segfold.runs.folder import RunFolder
from segfold.training import FoldJob
from segfold.training.batches import training_samples

SIDE, IMAGES, CROP = 4096, 4, 512
BATCH, STEPS = 4, 4
TARGET = 0.9


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    side, steps = effort.side(SIDE, 2 * CROP), effort.size(STEPS, 2)
    make_competition(folder, "whole", train=[side] * IMAGES)
    cut_competition(folder, "parts", "whole", CROP)
    parts = load_split(competition(folder, "parts"), "train", folder)
    images = {
        "ours": large_split(folder, "whole", "train"),
        "tiff": large_split(folder, "whole", "train", in_place=True),
        "peer": parts,
    }
    runtime = resolve(experiment(folder, "whole").machine)
    seen = {"ours": f"input.crop={CROP}", "tiff": f"input.crop={CROP}", "peer": f"input.size={CROP}"}
    trained = {name: training(folder, images[name], seen[name], steps, runtime) for name in images}
    check(list(trained.values()))
    made = {name: milliseconds(each, effort.size(64, 4)) for name, each in trained.items()}
    for each in trained.values():
        each.epoch()
    times = interleave(
        {name: each.epoch for name, each in trained.items()}, least=effort.least(5), seconds=effort.seconds(60)
    )
    for each in trained.values():
        each.close()
    samples = steps * BATCH
    speeds = {name: rate(samples, found) for name, found in times.items()}
    how = (
        f"{IMAGES} images of {side:,}² of 16 bits in the mapped cache, {BATCH} crops of {CROP}² a step, {runtime.precision}, "
        f"{runtime.threads} threads, {runtime.workers} workers; the peer reads {len(parts)} images of {CROP}² from memory"
    )
    tiff = f"by windows of tiled TIFF (deflate) {speeds['tiff'] / speeds['peer']:.3f} of the peer's"
    alone = "one sample alone takes {ours:.1f} ms of one core, by TIFF {tiff:.1f} ms, the peer's {peer:.1f} ms".format(
        **made
    )
    return [Row("crops", speeds["ours"], speeds["peer"], "images/s", TARGET, notes=(how, spread(times), tiff, alone))]


def training(folder: Path, images: ImageSet, seen: str, steps: int, runtime: Runtime) -> Trained:
    """A training on all images, an epoch of so many steps; the weights are the same for all."""
    chosen = experiment(folder, "whole", seen, f"sample.images={steps * BATCH}", f"batch_size={BATCH}")
    # No image is held out: fold 0 is empty, and the rows of fold 1 are trained on.
    place = RunFolder(folder / "runs/bench").fold(0)
    job = FoldJob(chosen, competition(folder, "whole"), images, np.ones(len(images), int), 0, place)
    torch.manual_seed(0)
    return Trained(job, job.network(), runtime)


def milliseconds(trained: Trained, count: int) -> float:
    """Of a core, to read and augment a sample in this process."""
    job, plan = trained.learner.job, trained.plan
    samples = training_samples(job.experiment, job.images, plan.rows, plan.settings, plan.chances, job.seed)
    began = time.process_time()
    for draw in range(count):
        samples[(0, draw * 37 % len(plan.rows), draw)]
    return 1000 * (time.process_time() - began) / count


def check(trained: Sequence[Trained]) -> None:
    """Asserts that all take as many samples of one kind."""
    kinds = set()
    for each in trained:
        batches = [(batch["image"], batch["mask"], batch["valid"]) for batch in each.samples()]
        kinds.add((len(batches), *((tensor.shape, tensor.dtype) for tensor in batches[0])))
        assert all(bool(valid.all()) for _, _, valid in batches)
    assert len(kinds) == 1, f"samples differ: {kinds}"
