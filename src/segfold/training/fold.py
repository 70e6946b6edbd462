"""Train one fold: stages in order, checkpoints, validation, out-of-fold predictions, and the proof that it is done."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from segfold.config import Stage
from segfold.data.dataset import Sample
from segfold.errors import SegfoldError
from segfold.inference.device import Runtime, resolve
from segfold.inference.networks import build_network, save_weights
from segfold.inference.stored import store_predictions
from segfold.losses import StageLoss, Term
from segfold.optim import build_optimizer, build_schedule
from segfold.runs import append_line, truncate_lines, write_json
from segfold.stopping import Stopping
from segfold.training import checkpoint as checkpoints
from segfold.training.averaging import ExponentialAverage
from segfold.training.checkpoint import Checkpoint, Position
from segfold.training.compiling import Compiled
from segfold.training.engine import Learner, NotFiniteError, Totals, stage_rates, train_epoch
from segfold.training.job import FoldJob
from segfold.training.loading import Batches
from segfold.training.progress import Progress
from segfold.training.validation import Scores, score_network, score_store


def train_fold(job: FoldJob, progress: Progress, stopping: Stopping) -> dict[str, Any] | None:
    """Train, or go on training, until the fold is done.

    Returns:
        What ``done.json`` holds; None if time was up first (the same call goes on later).

    Raises:
        SegfoldError: the loss became NaN or infinite, or the checkpoint is of other data.
        Interrupted: a signal came; the state is saved.
    """
    training = _FoldTraining(job, progress, stopping)
    try:
        if not training.run():
            return None
    finally:
        training.close()
    return training.finish()


class _FoldTraining:
    """The state of one call of :func:`train_fold`; nothing of it survives the call."""

    def __init__(self, job: FoldJob, progress: Progress, stopping: Stopping) -> None:
        self.job, self.progress, self.stopping = job, progress, stopping
        saved = checkpoints.load(job.folder.last)
        if saved is not None and saved.bound != job.bound:
            changed = [name for name in job.bound if saved.bound.get(name) != job.bound[name]]
            raise SegfoldError(
                f"{job.folder.path} was trained on other {' and '.join(changed)}; restore them, or use --run NAME to start anew"
            )
        self.runtime = self._runtime(saved)
        # The seed is set here, inside the fold, so that no fold begins where another ended.
        torch.manual_seed(job.seed)
        network = build_network(job.experiment, job.competition, job.images, fresh=saved is None)
        self.learner = self._learner(network)
        self.position = Position()
        self.totals = Totals()
        self.trained = False
        self._loading: tuple[int, Batches] | None = None
        if saved is None:
            self._save()
        else:
            self._restore(saved)
        truncate_lines(job.folder.metrics, self.position.epochs)

    def _runtime(self, saved: Checkpoint | None) -> Runtime:
        runtime = resolve(self.job.experiment.machine, self.job.total_steps * self.job.batch_size)
        if saved is None or saved.decided["device"] != runtime.device.type:
            return runtime
        torch.set_num_threads(saved.decided["threads"])
        return Runtime(
            runtime.device,
            saved.decided["precision"],
            saved.decided["compile"],
            saved.decided["threads"],
            runtime.workers,
        )

    def _learner(self, network: nn.Module) -> Learner:
        experiment, runtime = self.job.experiment, self.runtime
        network = network.to(runtime.device).to(memory_format=torch.channels_last)
        optimizer = build_optimizer(experiment.optimizer.name, network.parameters(), **experiment.optimizer.settings)
        return Learner(
            network=network,
            forward=Compiled(network, self.progress.say) if runtime.compile else network,
            optimizer=optimizer,
            average=None if experiment.ema is None else ExponentialAverage(network, experiment.ema.decay),
            scaler=torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16"),
            runtime=runtime,
            clip=experiment.clip,
            seed=self.job.seed,
        )

    def _restore(self, saved: Checkpoint) -> None:
        learner = self.learner
        learner.network.load_state_dict(saved.network)
        learner.optimizer.load_state_dict(saved.optimizer)
        learner.scaler.load_state_dict(saved.scaler)
        if learner.average is not None and saved.average is not None:
            learner.average.network.load_state_dict(saved.average)
            learner.average.updates = saved.average_updates
        self.position = saved.position
        self.totals = Totals.from_state(saved.sums, self.runtime.device)
        self.trained = saved.done

    def _save(self) -> None:
        learner, average = self.learner, self.learner.average
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
            ),
        )

    @property
    def predictor(self) -> nn.Module:
        """The module whose predictions count: the average, or without one the last weights."""
        average = self.learner.average
        return self.learner.network if average is None else average.network

    def run(self) -> bool:
        """All remaining epochs. Returns False if time was up first."""
        self.progress.start(self.job, self.position)
        while not self.trained:
            name, stage = self.job.stages[self.position.stage]
            if self.position.epoch < stage.epochs and not self._epoch(name, stage):
                return False
            if self.position.epoch >= stage.epochs:
                self._next_stage()
        return True

    def _next_stage(self) -> None:
        if self.position.stage + 1 < len(self.job.stages):
            self.position.stage += 1
            self.position.epoch = 0
        else:
            self.trained = True
        self._save()

    def _epoch(self, name: str, stage: Stage) -> bool:
        job, position = self.job, self.position
        loss = stage_loss(stage)
        self.learner.unpadded = stage.loss.unpadded
        schedule = build_schedule(stage.schedule.name, **stage.schedule.settings)
        rates = stage_rates(schedule, stage.lr, position.epoch, stage.epochs, job.steps_per_epoch)
        seconds, samples = position.seconds, position.samples
        try:
            with self.stopping.deferred():
                finished = train_epoch(
                    self.learner,
                    self._batches(stage),
                    loss,
                    rates,
                    position,
                    self.totals,
                    self.stopping,
                    lambda means: self.progress.step(name, stage, position, rates(position.step), means),
                )
                if not finished:
                    self._save()
                    return False
        except NotFiniteError as error:
            raise SegfoldError(
                f"fold {job.fold}, stage {name}, epoch {position.epoch + 1}, step {position.step}: {error}; the state before "
                f"this epoch is kept in {job.folder.last}; lower stages.{name}.lr, set clip=1 or machine.precision=fp32, "
                "and use --run NAME"
            ) from None
        rate = rates(position.step - 1)
        position.epoch, position.epochs, position.step = position.epoch + 1, position.epochs + 1, 0
        line = {
            "epoch": position.epochs,
            "stage": name,
            "lr": rate,
            **self.totals.means(),
            "samples": position.samples,
            "seconds": round(position.seconds, 3),
            "images_per_second": round((position.samples - samples) / max(position.seconds - seconds, 1e-9), 2),
        }
        if self._validates():
            line.update(self._validate().as_record())
        self.totals = Totals()
        append_line(job.folder.metrics, line)
        self.progress.epoch(line)
        self._save()
        return True

    def _validates(self) -> bool:
        return (
            self.position.epochs < self.job.epochs and self.position.epochs % self.job.experiment.validate_.every == 0
        )

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
        )

    def _batches(self, stage: Stage) -> Iterator[Sample]:
        if self._loading is None or self._loading[0] != self.position.stage:
            self.close()
            self._loading = self.position.stage, Batches(self.job, stage, self.runtime)
        return self._loading[1].of(self.position.epochs, self.position.step)

    def close(self) -> None:
        """End the workers of the present stage."""
        if self._loading is not None:
            self._loading[1].close()
            self._loading = None

    def finish(self) -> dict[str, Any]:
        """Weights, out-of-fold predictions and their score; ``done.json`` last."""
        job = self.job
        digest = save_weights(self.predictor, job.folder.weights())
        started = time.monotonic()
        store = store_predictions(
            self.predictor.eval(),
            digest,
            job.folder,
            job.experiment,
            job.competition,
            job.images,
            job.validation_rows,
            "oof",
            self.runtime,
            self.progress.predicting,
        )
        scores = score_store(store, job.images, job.competition)
        done = {
            "competition": job.competition.name,
            "fold": job.fold,
            **scores.as_record(),
            "images": len(job.validation_rows),
            "held_out": [str(name) for name in job.images.ids[job.validation_rows]],
            "training_images": len(job.training_rows),
            "epochs": self.position.epochs,
            "steps": self.position.steps,
            "samples": self.position.samples,
            "seconds": round(self.position.seconds, 1),
            "prediction_seconds": round(time.monotonic() - started, 1),
            "parameters": sum(parameter.numel() for parameter in self.predictor.parameters()),
            "device": self.runtime.device.type,
            "precision": self.runtime.precision,
            "weights": {"model": digest},
            **{f"{name}_hash": value for name, value in job.bound.items()},
        }
        write_json(job.folder.done, done)
        return done


def stage_loss(stage: Stage) -> StageLoss:
    """The loss that a stage's settings describe."""
    settings = stage.loss
    mask = {}
    for name, chosen in settings.mask.items():
        values = chosen.model_dump()
        mask[name] = (values.pop("weight"), values)
    levels, nonempty = (
        None if head is None or head.weight == 0 else Term(head.weight, head.over)
        for head in (settings.levels, settings.nonempty)
    )
    return StageLoss(mask=mask, levels=levels, nonempty=nonempty, image=settings.image)
