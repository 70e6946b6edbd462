"""Training images a second: segfold's engine against the plain loop, on the peer's own network and on ours."""

import copy
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.engine import RawPixels, Trained
from benchmarks.measure import Effort, Row, difference, has_amx, interleave, rate, spread, timed
from benchmarks.peers.smp_training import MEAN, STD, PlainLoop, network
from benchmarks.workload import FULL_TRAINING, STAGE, first_stage, gmacs, make_images
from segfold.machine import resolve

SIZE, BATCH = 128, 16
TARGET = 2.0
SAME_LOSS = (
    f"stages.{STAGE}.loss.mask.dice.mode=batch",
    f"stages.{STAGE}.loss.mask.dice.smooth=0",
    f"stages.{STAGE}.loss.heads={{levels: 0, image: 0}}",
)
"""What makes the quick config's loss the peer's sum of its BCE and its Dice."""


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    size = effort.size(SIZE, 64)
    images = effort.size(12, 2) * BATCH
    ours, peer = pair(folder, size, images)
    check(ours, peer)
    runtime = ours.learner.runtime

    default_job = first_stage(folder, size, BATCH)
    built = default_job.network()
    default = Trained(default_job, built, runtime)
    work = {"ours": gmacs(ours.learner.network, size), "default": gmacs(built, size)}
    first = {"ours": timed(ours.epoch), "default": timed(default.epoch)}
    peer.epoch()
    times = interleave(
        {"ours": ours.epoch, "peer": peer.epoch, "default": default.epoch},
        least=effort.least(3),
        seconds=effort.seconds(120),
    )
    ours.close()
    default.close()

    plain = rate(images, times["peer"])
    how = (
        f"{runtime.precision}, {'compiled' if runtime.compile else 'not compiled'}, {runtime.threads} threads, {size}²"
    )
    notes = {}
    for name in ("ours", "default"):
        compiling = max(first[name] - min(times[name]), 0.0)
        notes[name] = [how, spread(times, name)]
        notes[name] += [f"compiling took {compiling:.0f} s, not counted"] if runtime.compile else []
    asked = runtime.device.type == "cpu" and has_amx()
    return [
        Row(
            "training",
            rate(images, times["ours"]),
            plain,
            f"images/s, {work['ours']:.2f} GMACs",
            TARGET if asked else None,
            notes=tuple(notes["ours"]),
            waived="" if asked else f"the target of {TARGET:g} is for a CPU with AMX",
        ),
        Row(
            "training-default",
            rate(images, times["default"]),
            plain,
            f"images/s, {work['default']:.2f} against {work['ours']:.2f} GMACs",
            None,
            notes=tuple(notes["default"]),
        ),
    ]


def pair(folder: Path, size: int, images: int, overrides: Sequence[str] = ()) -> tuple[Trained, PlainLoop]:
    """The peer's network with one set of weights, in the engine and in the plain loop, on one set of images."""
    data = make_images(folder, images)
    job = first_stage(folder, size, min(BATCH, images), [*SAME_LOSS, *overrides])
    torch.manual_seed(0)
    theirs = network()
    ours = Trained(job, RawPixels(copy.deepcopy(theirs), MEAN, STD), resolve(job.experiment.machine, FULL_TRAINING))
    return ours, PlainLoop(theirs, data / "train", [str(name) for name in job.images.ids], size, min(BATCH, images))


def check(ours: Trained, peer: PlainLoop) -> None:
    """Asserts that loss and gradient of the two agree on a batch, in float32.

    The loss agrees closely. A fresh network enlarges rounding (batch norms of nearly constant channels, maxima
    among equals), so that its gradient strays by about a hundredth even between two orders of normalising.
    """
    image, target, valid = ours.in_memory([next(iter(ours.samples()))])[0]
    mean, std = (torch.tensor(values, device=image.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    output = ours.learner.network(image)
    mine, _ = ours.loss(output.logits, output.heads, target, valid)
    theirs = peer.loss((image / 255 - mean) / std, target)
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    mine.backward()
    theirs.backward()
    gradients = [
        [p.grad for p in network.parameters() if p.grad is not None] for network in (ours.learner.network, peer.model)
    ]
    apart = difference(*gradients)
    assert apart < 0.05, f"gradients differ by {apart:.1%}"
    ours.learner.network.zero_grad()
    peer.model.zero_grad()
