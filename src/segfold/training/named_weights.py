"""The named sets of weights that a fold leaves for prediction, besides ``model``."""

import copy
import math
from collections.abc import Callable
from typing import Any

from torch import nn

from segfold.inference.networks import save_weights, weights_digest
from segfold.training.averages import RunningAverage, best_epochs, mean_of_states
from segfold.training.checkpoint import Checkpoint, Position
from segfold.training.plan import FoldJob, StagePlan
from segfold.training.processes import unsynchronised

EpochScore = tuple[int, int, float]
"""Stage, epochs done over all stages, validation score."""


def cycle_ends(epochs: int, cycles: int, warmup: float = 0.0) -> set[int]:
    """Epochs, counted from 1, at which the cycles of a stage end; they begin after ``warmup`` epochs."""
    return {math.ceil(warmup + (epochs - warmup) * number / cycles - 1e-9) for number in range(1, cycles + 1)}


class NamedWeights:
    """Collects ``snapshot1``, ``snapshot2`` … at the ends of cycles, ``best`` over validated epochs, and ``swa``.

    Files are written before the checkpoint that knows of them, so that a kill in between only repeats an epoch.
    """

    def __init__(self, job: FoldJob, network: nn.Module) -> None:
        self.job = job
        self.scores: list[EpochScore] = []
        self.snapshots = 0
        self.swa = None if job.experiment.swa is None else RunningAverage(network)

    def restore(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint."""
        self.scores = [(int(stage), int(epoch), float(score)) for stage, epoch, score in saved.scores]
        self.snapshots = saved.snapshots
        if self.swa is not None and saved.swa is not None:
            self.swa.load_state_dict(saved.swa)

    def state(self) -> dict[str, Any]:
        """Fields of the checkpoint."""
        return {
            "scores": self.scores,
            "snapshots": self.snapshots,
            "swa": None if self.swa is None else self.swa.state_dict(),
        }

    def stage_scores(self, stage: int) -> list[float]:
        """Validation scores of a stage, oldest first."""
        return [score for at, _, score in self.scores if at == stage]

    def _best(self) -> list[int]:
        return best_epochs([(epoch, score) for _, epoch, score in self.scores], self.job.experiment.best)

    def after_epoch(self, position: Position, cycles: int, predictor: nn.Module, writes: bool) -> None:
        """Keep what this epoch's weights are needed for.

        Args:
            position: after the epoch.
            cycles: of the stage's schedule.
            predictor: the network whose predictions count.
            writes: whether this process writes the files.
        """
        plan = self.job.stages[position.stage]
        if plan.settings.snapshots and position.epoch in cycle_ends(plan.epochs, cycles, plan.warmup * plan.epochs):
            self.snapshots += 1
            if writes:
                save_weights(predictor, self.job.folder.weights(f"snapshot{self.snapshots}"))
        if writes and position.epochs in self._best():
            save_weights(predictor, self.job.folder.weights(f"epoch{position.epochs}"))
        if self.swa is not None and self._in_average(plan, position):
            self.swa.update()

    def _in_average(self, plan: StagePlan, position: Position) -> bool:
        settings = self.job.experiment.swa
        assert settings is not None
        first = math.floor(settings.start * plan.epochs) + 1
        return (
            position.stage == self.job.last_stage
            and position.epoch >= first
            and (position.epoch - first) % settings.every == 0
        )

    def tidy(self) -> None:
        """Remove the epochs that are no longer among the best; called when a checkpoint without them is on disk."""
        self.job.folder.remove_epochs({self.job.folder.weights(f"epoch{epoch}") for epoch in self._best()})

    def finish(self, network: nn.Module, estimate: Callable[[nn.Module], None]) -> dict[str, str]:
        """Write ``best`` and ``swa``; returns the sha256 of each named set's file.

        Args:
            network: of the fold's architecture; its weights are left alone.
            estimate: gives a network batch-norm statistics of its own, as the mean of several epochs needs.
        """
        folder, epochs = self.job.folder, self._best()
        found = {f"snapshot{number}": folder.weights(f"snapshot{number}") for number in range(1, self.snapshots + 1)}
        digests = {name: weights_digest(path) for name, path in found.items()}
        scratch = unsynchronised(copy.deepcopy(network))
        if epochs:
            paths = [folder.weights(f"epoch{epoch}") for epoch in epochs]
            scratch.load_state_dict(mean_of_states(paths))
            if len(paths) > 1:
                estimate(scratch)
            digests["best"] = save_weights(scratch, folder.weights("best"))
        if self.swa is not None:
            if not self.swa.count:  # the stage stopped before its average began
                self.swa.update()
            scratch.load_state_dict(self.swa.network.state_dict())
            estimate(scratch)
            digests["swa"] = save_weights(scratch, folder.weights("swa"))
        return digests
