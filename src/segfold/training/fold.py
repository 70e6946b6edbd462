"""Train one fold: stages in order, checkpoints, validation, out-of-fold predictions, and the proof that it is done."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from segfold.data.dataset import Sample
from segfold.errors import SegfoldError
from segfold.inference.networks import build_network
from segfold.machine import Runtime, memory_errors, resolve, resume
from segfold.optim import build_optimizer, build_schedule, cycle_count, set_frozen, stopped_early, with_warmup
from segfold.runs.folder import append_line, truncate_lines
from segfold.stopping import Interrupted, Stopping
from segfold.training import checkpoint as checkpoints
from segfold.training.averages import ExponentialAverage
from segfold.training.batches import Batches
from segfold.training.checkpoint import Checkpoint, Position
from segfold.training.checks import check_network, check_stages, stage_loss
from segfold.training.compiling import Compiled
from segfold.training.engine import (
    Learner,
    NotFiniteError,
    Totals,
    check_weights,
    share_done,
    stage_rates,
    train_epoch,
)
from segfold.training.finish import finish_fold
from segfold.training.initial import start_from
from segfold.training.kept import NamedWeights
from segfold.training.plan import FoldJob, StagePlan
from segfold.training.processes import ALONE, Group, synchronised
from segfold.training.progress import Progress
from segfold.training.validation import Scores, score_network

SAVE_SECONDS = 300
"""How much work of an epoch a kill may cost."""


class _TooNarrowError(Exception):
    """The precision, which was our choice, gives numbers that are not finite."""


def train_fold(job: FoldJob, progress: Progress, stopping: Stopping, group: Group = ALONE) -> dict[str, Any] | None:
    """Train, or go on training, until the fold is done.

    Args:
        group: the processes that share the work; all call this with the same job.

    Returns:
        What ``done.json`` holds; None if time was up first (the same call goes on later).

    Raises:
        SegfoldError: the loss became NaN or infinite, or the checkpoint is of other data.
        Interrupted: a signal came; the state is saved.
    """
    try:
        return _trained(job, progress, stopping, group)
    except _TooNarrowError as error:
        progress.say(f"fold {job.fold}: {error}; going on in float32 from the last checkpoint")
    machine = job.experiment.machine.model_copy(update={"precision": "fp32"})
    wider = job.experiment.model_copy(update={"machine": machine})
    return _trained(replace(job, experiment=wider), progress, stopping, group)


def _trained(job: FoldJob, progress: Progress, stopping: Stopping, group: Group) -> dict[str, Any] | None:
    training = _FoldTraining(job, progress, stopping, group)
    try:
        if not training.run():
            return None
    finally:
        training.close()
    return training.finish()


class _FoldTraining:
    """The state of one call of :func:`train_fold`; nothing of it survives the call."""

    def __init__(self, job: FoldJob, progress: Progress, stopping: Stopping, group: Group) -> None:
        self.job, self.progress, self.stopping, self.group = job, progress, stopping, group
        check_stages(job, group)
        saved = checkpoints.load(job.folder.last)
        group.gathered("everyone has looked for a checkpoint, and the first process may write one")
        if saved is not None and (changed := job.changed(saved.bound)):
            raise SegfoldError(
                f"{job.folder.path} was trained on other {' and '.join(changed)}; restore them, or use --run NAME to start anew"
            )
        self.position = Position() if saved is None else saved.position
        self.runtime = self._runtime(saved)
        # The seed is set here, inside the fold, so that no fold begins where another ended.
        torch.manual_seed(job.seed)
        network = build_network(job.experiment, job.competition, job.images, fresh=saved is None)
        check_network(network, job, group, synchronises=self.runtime.device.type == "cuda")
        if saved is None and job.experiment.init is not None:
            progress.say(start_from(network, job))
        self.learner = self._learner(network)
        self.weights = NamedWeights(job, self.learner.network)
        self.totals = Totals()
        self.trained = False
        self._saved = time.monotonic()
        self._loading: tuple[int, Batches] | None = None
        self._freezes = any(plan.settings.freeze_encoder for plan in job.stages)
        if saved is None:
            group.alike(self.learner.network)
            self._save()
        else:
            self._restore(saved)
        if group.leads:
            truncate_lines(job.folder.metrics, self.position.epochs)

    def _runtime(self, saved: Checkpoint | None) -> Runtime:
        machine, images = self.job.experiment.machine, self.job.total_images
        if saved is None:
            return resolve(machine, images)
        runtime, changed = resume(machine, images, saved.decided)
        for line in changed:
            self.progress.say(f"fold {self.job.fold}: {line}")
        return runtime

    def _learner(self, network: nn.Module) -> Learner:
        experiment, runtime = self.job.experiment, self.runtime
        network = synchronised(network, runtime.device, self.group)
        network = network.to(runtime.device).to(memory_format=torch.channels_last)
        return Learner(
            network=network,
            forward=Compiled(network, self.progress.say) if runtime.compile else network,
            optimizer=self._optimizer(network),
            average=None if experiment.ema is None else ExponentialAverage(network, experiment.ema.decay),
            scaler=torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16"),
            runtime=runtime,
            clip=experiment.clip,
            seed=self.job.seed,
            accumulate=experiment.accumulate,
            group=self.group,
        )

    def _optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        experiment = self.job.experiment
        name, settings = self.plan.optimizer
        return build_optimizer(
            name, network, encoder_lr=experiment.encoder_lr, decay_norms=experiment.decay_norms, **settings
        )

    def _restore(self, saved: Checkpoint) -> None:
        learner = self.learner
        learner.network.load_state_dict(saved.network)
        learner.optimizer.load_state_dict(saved.optimizer)
        if saved.scaler:  # empty where the training began in another precision
            learner.scaler.load_state_dict(saved.scaler)
        if learner.average is not None and saved.average is not None:
            learner.average.network.load_state_dict(saved.average)
            learner.average.updates = saved.average_updates
        self.weights.restore(saved)
        self.totals = Totals.from_state(saved.sums, self.runtime.device)
        self.trained = saved.done

    def _save(self) -> None:
        learner, average = self.learner, self.learner.average
        if not self.group.leads:
            return
        checkpoints.save(
            self.job.folder.last,
            Checkpoint(
                network=learner.network.state_dict(),
                optimizer=learner.optimizer.state_dict(),
                average=None if average is None else average.network.state_dict(),
                average_updates=0 if average is None else average.updates,
                scaler=learner.scaler.state_dict(),
                position=self.position,
                sums=self.totals.state(),
                decided={
                    "device": self.runtime.device.type,
                    "precision": self.runtime.precision,
                    "compile": self.runtime.compile,
                    "threads": self.runtime.threads,
                },
                bound=self.job.bound,
                done=self.trained,
                **self.weights.state(),
            ),
        )
        self.weights.tidy()
        self._saved = time.monotonic()

    def _save_within_epoch(self) -> None:
        self.totals.means()
        check_weights(self.learner.network)
        self._save()

    @property
    def plan(self) -> StagePlan:
        """The present stage."""
        return self.job.stages[self.position.stage]

    @property
    def predictor(self) -> nn.Module:
        """The module whose predictions count: the average, or without one the last weights."""
        average = self.learner.average
        return self.learner.network if average is None else average.network

    def run(self) -> bool:
        """All remaining epochs. Returns False if time was up first."""
        self.progress.start(self.job, self.position)
        while not self.trained:
            if self.position.epoch < self.plan.epochs and not self._epoch():
                return False
            if self.position.epoch >= self.plan.epochs:
                self._next_stage()
        return True

    def _next_stage(self) -> None:
        if self.position.stage + 1 < len(self.job.stages):
            before = self.plan.optimizer
            self.position.stage += 1
            self.position.epoch = 0
            if self.plan.optimizer != before:
                self.learner.optimizer = self._optimizer(self.learner.network)
        else:
            self.trained = True
        self._save()

    def _epoch(self) -> bool:
        plan, position, stage = self.plan, self.position, self.plan.settings
        loss = stage_loss(stage)
        self.learner.unpadded = stage.loss.unpadded
        self.learner.frozen = position.epoch < stage.freeze_encoder
        if self._freezes:
            set_frozen(self.learner.network, self.learner.frozen)
        schedule = with_warmup(build_schedule(stage.schedule.name, **stage.schedule.settings), plan.warmup)
        scores = self.weights.stage_scores(position.stage)
        rates = stage_rates(schedule, stage.lr, position.epoch, plan.epochs, plan.steps, scores)
        epoch, seconds, samples = position.epoch, position.seconds, position.samples
        try:
            with self.stopping.deferred(), memory_errors(self.runtime, self._smaller_steps()):
                finished = train_epoch(
                    self.learner,
                    self._batches(plan),
                    lambda step: loss.at(share_done(epoch, plan.epochs, plan.steps, step)),
                    rates,
                    position,
                    self.totals,
                    self.stopping,
                    lambda means: self._within_epoch(rates(position.step), means),
                )
                if not finished:
                    self._save_within_epoch()
                    return False
        except NotFiniteError as error:
            if self.runtime.precision != "fp32" and self.job.experiment.machine.precision == "auto":
                raise _TooNarrowError(f"{error} in {self.runtime.precision}") from None
            raise SegfoldError(
                f"fold {self.job.fold}, stage {plan.name}, epoch {position.epoch + 1}, step {position.step}: {error}; the "
                f"state before this epoch is kept in {self.job.folder.last}; lower stages.{plan.name}.lr, set clip=1 or "
                "machine.precision=fp32, and use --run NAME"
            ) from None
        found = self._validated()
        rate = rates(position.step - 1)
        position.epoch, position.epochs, position.step = position.epoch + 1, position.epochs + 1, 0
        line = {
            "epoch": position.epochs,
            "stage": plan.name,
            "lr": rate,
            **self.totals.means(),
            "samples": position.samples,
            "seconds": round(position.seconds, 3),
            "images_per_second": round((position.samples - samples) / max(position.seconds - seconds, 1e-9), 2),
        }
        self._after_epoch(line, found)
        return True

    def _within_epoch(self, rate: float, means: dict[str, float]) -> None:
        self.progress.step(self.plan, self.position, rate, means)
        # In a group only the first process is here, and must not leave the others alone with a broken state.
        if time.monotonic() - self._saved >= SAVE_SECONDS and self.group.leads and self.totals.finite:
            self._save_within_epoch()

    def _smaller_steps(self) -> str:
        accumulate = self.job.experiment.accumulate
        return f"lower batch_size (now {self.plan.batch_size}) or raise accumulate (now {accumulate})"

    def _validated(self) -> Scores | None:
        """Scores of the epoch whose steps are all taken, if they are due; a stop saves what was trained first."""
        for module in (self.learner.network, self.predictor):
            self.group.alike(module)  # batch-norm statistics differ between processes on CPUs
        if not self._validates():
            return None
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self._save()
        try:
            return self._validate()
        except (Interrupted, KeyboardInterrupt):
            self._save()
            raise

    def _after_epoch(self, line: dict[str, Any], scores: Scores | None) -> None:
        plan, position = self.plan, self.position
        if scores is not None:
            line.update(scores.as_record())
            self.weights.scores.append((position.stage, position.epochs, scores.score))
        cycles = cycle_count(plan.settings.schedule.name, plan.settings.schedule.settings)
        self.weights.after_epoch(position, cycles, self.predictor, self.group.leads)
        patience = plan.settings.early_stop
        if patience is not None and stopped_early(self.weights.stage_scores(position.stage), patience):
            position.epoch = plan.epochs
        self.totals = Totals()
        if self.group.leads:
            append_line(self.job.folder.metrics, line)
        self.progress.epoch(line)
        self._save()

    def _validates(self) -> bool:
        epochs = self.position.epochs + 1
        last = epochs >= self.job.epochs
        due = epochs % self.job.experiment.validate_.every == 0
        # The last epoch's own score follows from the out-of-fold predictions, unless epochs are compared.
        return self.job.experiment.best > 0 if last else due

    def _validate(self) -> Scores:
        job = self.job
        self.progress.note("validating")
        return score_network(
            self.predictor.eval(),
            job.images,
            job.validation_rows,
            job.experiment,
            job.competition,
            self.runtime,
            self.group,
        )

    def _batches(self, plan: StagePlan) -> Iterator[Sample]:
        if self._loading is None or self._loading[0] != self.position.stage:
            self.close()
            batches = Batches(self.job, plan, self.runtime, self.group)
            if batches.note:
                self.progress.say(batches.note)
            self._loading = self.position.stage, batches
        return self._loading[1].of(self.position.epochs, self.position.step)

    def close(self) -> None:
        """End the workers of the present stage."""
        if self._loading is not None:
            self._loading[1].close()
            self._loading = None

    def finish(self) -> dict[str, Any]:
        """Weights, out-of-fold predictions and their score, by the first process; the others wait for it."""
        done = None
        if self.group.leads:
            done = finish_fold(self.job, self.position, self.predictor, self.weights, self.runtime, self.progress)
        found: dict[str, Any] = self.group.gathered(done)[0]
        return found
