"""Training one fold. Stages, epochs, steps; in each step forward, loss, backward, step. Read this file first."""

import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from segfold.data.dataset import Sample
from segfold.faults import fault
from segfold.files import append_line
from segfold.losses import StageLoss
from segfold.machine import memory_errors
from segfold.observer import SILENT, Observer
from segfold.optim import cycle_count, stopped_early
from segfold.stopping import Interrupted, Stopping
from segfold.training.batches import Batches
from segfold.training.checks import check_stages, not_finite
from segfold.training.curves import Curves
from segfold.training.finish import finish_fold
from segfold.training.gradient import Parts
from segfold.training.learner import Learner, NotFiniteError, Totals, open_learner
from segfold.training.plan import FoldJob, StagePlan
from segfold.training.processes import ALONE, Group
from segfold.training.validation import FoldScores, is_due, score_network

REFRESH_SECONDS = 0.5
SAVE_SECONDS = 300
"""How much work of an epoch a kill may cost."""


class _TooNarrowError(Exception):
    """The precision, which was our choice, gives numbers that are not finite."""


def train_fold(
    job: FoldJob, observer: Observer = SILENT, stopping: Stopping | None = None, group: Group = ALONE
) -> dict[str, Any] | None:
    """Train, or go on training, until the fold is done.

    Args:
        stopping: asked after every step.
        group: the processes that share the work; all call this with the same job.

    Returns:
        What ``done.json`` holds; None if time was up first (the same call goes on later).

    Raises:
        SegfoldError: the loss became NaN or infinite, or the checkpoint is of other data.
        Interrupted: a signal came; the state is saved.
    """
    stopping = stopping or Stopping()
    try:
        return _trained(job, observer, stopping, group)
    except _TooNarrowError as error:
        observer.say(f"fold {job.fold}: {error}; going on in float32 from the last checkpoint")
    machine = job.experiment.machine.model_copy(update={"precision": "fp32"})
    wider = job.experiment.model_copy(update={"machine": machine})
    return _trained(replace(job, experiment=wider), observer, stopping, group)


def _trained(job: FoldJob, observer: Observer, stopping: Stopping, group: Group) -> dict[str, Any] | None:
    if group.leads:
        job.boxes.prepare(observer)
    group.gathered("the proposals are kept")
    check_stages(job, group, observer.say)
    learner = open_learner(job, observer, group)
    with closing(Curves(job.folder.path / "tensorboard", learner.position.epochs, writes=group.leads)) as curves:
        loop = Loop(learner, observer, stopping, curves)
        if not loop.stages():
            return None
    done = finish_fold(learner, observer) if group.leads else None
    found: dict[str, Any] = group.gathered(done)[0]
    return found


class Loop:
    """One call of ``train_fold``; nothing of it survives the call."""

    def __init__(self, learner: Learner, observer: Observer, stopping: Stopping, curves: Curves | None = None) -> None:
        self.learner, self.observer, self.stopping, self.curves = learner, observer, stopping, curves
        self.job, self.group = learner.job, learner.group

    def stages(self) -> bool:
        """All that is left to train. Returns False if time was up first."""
        learner, position = self.learner, self.learner.position
        self.observer.training_begins(learner.work())
        while not learner.trained:
            plan = learner.plan
            if position.epoch < plan.epochs:
                # The workers live through a stage.
                with closing(Batches(self.job, plan, learner.runtime, self.group)) as batches:
                    if batches.note:
                        self.observer.say(batches.note)
                    while position.epoch < plan.epochs:
                        if not self.epoch(plan, batches):
                            return False
            learner.next_stage()
            learner.save()
        return True

    def epoch(self, plan: StagePlan, batches: Batches) -> bool:
        """What is left of the present epoch, its validation, its line. Returns False if time was up first."""
        learner, position = self.learner, self.learner.position
        before = replace(position)
        smaller = f"lower batch_size (now {plan.batch_size}) or raise accumulate (now {self.job.experiment.accumulate})"
        try:
            with self.stopping.deferred(), memory_errors(learner.runtime, smaller):
                if not self.steps(plan, batches.of(position.epochs, position.step)):
                    self._save_within_epoch()
                    return False
        except NotFiniteError as error:
            if learner.runtime.precision != "fp32" and self.job.experiment.machine.precision == "auto":
                raise _TooNarrowError(f"{error} in {learner.runtime.precision}") from None
            raise not_finite(str(error), self.job, position) from None
        scores = self._validated()
        rate = learner.rate(position.step - 1)
        position.epoch, position.epochs, position.step = position.epoch + 1, position.epochs + 1, 0
        line = {
            "epoch": position.epochs,
            "stage": plan.name,
            "lr": rate,
            **learner.totals.means(),
            "samples": position.samples,
            "seconds": round(position.seconds, 3),
            "images_per_second": round(
                (position.samples - before.samples) / max(position.seconds - before.seconds, 1e-9), 2
            ),
        }
        if scores is not None:
            line |= scores.as_record()
            learner.named.scores.append((position.stage, position.epochs, scores.score))
        cycles = cycle_count(plan.settings.schedule.name, plan.settings.schedule.settings)
        learner.named.after_epoch(position, cycles, learner.predictor, self.group.leads)
        patience = plan.settings.early_stop
        if patience is not None and stopped_early(learner.named.stage_scores(position.stage), patience):
            position.epoch = plan.epochs
        learner.totals = Totals()
        if self.group.leads:
            append_line(self.job.folder.metrics, line)
        if self.curves is not None:
            self.curves.add(position.epochs, {name: value for name, value in line.items() if isinstance(value, float)})
        self.observer.epoch(line)
        learner.save()
        return True

    def steps(self, plan: StagePlan, batches: Iterable[Sample]) -> bool:
        """A step on each batch, the present epoch's from ``position.step`` on. Nothing in a step waits for the device.

        Returns:
            False if the epoch was left early because a stop was asked for; the state is whole either way.

        Raises:
            NotFiniteError: the loss, or a weight at the end, became NaN or infinite.
        """
        learner, position = self.learner, self.learner.position
        learner.ready()
        started = refreshed = time.monotonic()
        seconds = position.seconds
        for batch in batches:
            loss = plan.loss.at(plan.share_done(position.epoch, position.step))
            samples = batch["image"].shape[0] * self.group.size
            learner.totals.add(self.step(batch, loss, learner.rate(position.step)), samples)
            position.step += 1
            position.steps += 1
            position.samples += samples
            now = time.monotonic()
            position.seconds = seconds + now - started
            if now - refreshed >= REFRESH_SECONDS:
                refreshed = now
                self._refresh()
            if self.group.any(self.stopping.asked):
                return False
        learner.check()
        position.seconds = seconds + time.monotonic() - started
        return True

    def step(self, batch: Sample, loss: StageLoss, rate: float) -> dict[str, Tensor]:
        """Forward, loss, backward, step, average; returns the loss and its terms, still on the device."""
        learner, optimizer, scaler = self.learner, self.learner.optimizer, self.learner.scaler
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)
        parts = Parts(batch, self.job.experiment.accumulate, self.group, loss, learner)
        for number, part in parts:
            output = learner.outputs(part, number)
            scaler.scale(parts.loss(part, output)).backward()
        total, terms = parts.total()
        fault("step")
        if (clip := self.job.experiment.clip) is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(learner.network.parameters(), clip)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if learner.average is not None:
            learner.average.update()
        return {"loss": total, **terms}

    def _refresh(self) -> None:
        learner = self.learner
        # All processes of a group must fail at the same step, so there the end of the epoch finds what is not finite.
        self.observer.step(learner.moment(), learner.totals.means(checked=self.group.size == 1))
        # In a group only the first process is here, and must not leave the others alone with a broken state.
        if time.monotonic() - learner.saved_at >= SAVE_SECONDS and self.group.leads and learner.totals.finite:
            self._save_within_epoch()

    def _save_within_epoch(self) -> None:
        self.learner.check()
        self.learner.save()

    def _validated(self) -> FoldScores | None:
        """FoldScores of the epoch whose steps are all taken, if they are due; a stop saves what was trained first."""
        learner, job = self.learner, self.job
        for module in (learner.network, learner.predictor):
            self.group.alike(module)  # batch-norm statistics differ between processes on CPUs
        if not is_due(job, learner.position.epochs + 1):
            return None
        if time.monotonic() - learner.saved_at >= SAVE_SECONDS:
            learner.save()
        self.observer.note("validating")
        try:
            return score_network(learner.predictor.eval(), job, learner.runtime, self.group, self.observer.say)
        except (Interrupted, KeyboardInterrupt):
            learner.save()
            raise
