"""What the engine adds: an epoch through it against bare steps on batches that lie in memory."""

import copy
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch

from benchmarks.engine import Trained
from benchmarks.measure import Effort, Row, difference, interleave
from benchmarks.workload import FULL_TRAINING, first_stage, make_images
from segfold.data.dataset import Sample
from segfold.machine import Runtime, resolve
from segfold.training import FoldJob

SIZE, BATCH, STEPS = 64, 8, 10
"""Short epochs, so that many are timed in turn and compared pair by pair: a processor whose speed strays by a tenth from
one minute to the next would else decide a ratio that is asked for to the twentieth."""

IN_MEMORY = 5
"""Different batches that the bare loop goes round."""

LEAST = 20
"""Epochs: 200 steps of each."""


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    count = effort.size(STEPS, IN_MEMORY)
    make_images(folder, count * BATCH)
    job = first_stage(folder, SIZE, BATCH)
    runtime = resolve(job.experiment.machine, FULL_TRAINING)
    ours, bare, samples = pair(job, runtime)
    check(ours, bare, samples[:2])
    memory = bare.in_memory(samples)

    ours.epoch()
    bare.bare(memory)
    times = interleave(
        {"ours": ours.epoch, "peer": lambda: bare.bare(memory * (count // IN_MEMORY))},
        least=effort.least(LEAST),
        seconds=effort.seconds(150),
    )
    ours.close()
    ratios = sorted(mine / theirs for mine, theirs in zip(times["ours"], times["peer"]))
    bare_epoch = median(times["peer"])
    note = (
        f"{len(ratios)} epochs of {count} steps, {BATCH} images of {SIZE}², {runtime.precision}, "
        f"{'compiled' if runtime.compile else 'not compiled'}; the median of the pairs, {ratios[0]:.3f} to {ratios[-1]:.3f}"
    )
    return [Row("overhead", bare_epoch * median(ratios), bare_epoch, "s an epoch", 1.05, "lower", (note,))]


def pair(job: FoldJob, runtime: Runtime) -> tuple[Trained, Trained, list[Sample]]:
    """The same training twice, one for the engine and one for the bare loop, and batches of its first epoch."""
    torch.manual_seed(0)
    network = job.network()
    ours, bare = Trained(job, copy.deepcopy(network), runtime), Trained(job, network, runtime)
    return ours, bare, list(ours.samples())[:IN_MEMORY]


def check(ours: Trained, bare: Trained, samples: Sequence[Sample]) -> None:
    """Asserts that both loops move the weights, and their average, alike on the same batches."""
    start = [parameter.detach().clone() for parameter in ours.learner.network.parameters()]
    ours.engine(samples)
    bare.bare(bare.in_memory(samples))
    for mine, theirs in ((ours.learner.network, bare.learner.network), (ours.average, bare.average)):
        moves = [[p - s for p, s in zip(network.parameters(), start)] for network in (mine, theirs)]
        apart = difference(*moves)
        assert apart < 0.02, f"the two loops move the weights {apart:.1%} apart"
