"""What a fold's training changes with every step: network, optimiser, averages, position. A checkpoint holds it whole."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from segfold.data.dataset import Sample
from segfold.errors import SegfoldError
from segfold.files import truncate_lines
from segfold.inference.networks import normalisation
from segfold.machine import Compiled, Runtime, resolve, resume
from segfold.models import Output
from segfold.models.checkpoints import loaded_lines
from segfold.observer import FoldWork, Moment, Observer
from segfold.optim import build_optimizer, frozen_mode, set_frozen
from segfold.runs.folder import RunFolder
from segfold.runs.identity import begun
from segfold.runs.record import RunRecord, write_record
from segfold.training import checkpoint as checkpoints
from segfold.training.averages import ExponentialAverage
from segfold.training.checkpoint import Checkpoint, Position, start_from
from segfold.training.checks import check_network
from segfold.training.gradient import Target
from segfold.training.named_weights import NamedWeights
from segfold.training.plan import FoldJob, StagePlan
from segfold.training.processes import ALONE, Group, synchronised


class NotFiniteError(Exception):
    """The loss, or a weight, became NaN or infinite."""


@dataclass
class Totals:
    """Sums over the samples of an epoch, kept on the device until they are shown.

    Each term of the loss has its own number of samples: one that ramps in or out has none before or after its ramp.
    """

    sums: dict[str, Tensor] = field(default_factory=dict)
    samples: dict[str, int] = field(default_factory=dict)

    def add(self, values: dict[str, Tensor], samples: int) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value * samples
            self.samples[name] = self.samples.get(name, 0) + samples

    @property
    def finite(self) -> bool:
        """Whether no term of the loss has become NaN or infinite."""
        return all(bool(torch.isfinite(value)) for value in self.sums.values())

    def means(self, checked: bool = True) -> dict[str, float]:
        """Mean of each term of the loss. Raises NotFiniteError if one is NaN or infinite, unless not ``checked``."""
        means = {name: float(value) / self.samples[name] for name, value in self.sums.items()}
        if checked and not all(math.isfinite(value) for value in means.values()):
            raise NotFiniteError(", ".join(f"{name} is {value}" for name, value in means.items()))
        return means

    def state(self) -> dict[str, tuple[float, int]]:
        return {name: (float(value), self.samples[name]) for name, value in self.sums.items()}

    @classmethod
    def from_state(cls, state: dict[str, tuple[float, int]], device: torch.device) -> "Totals":
        sums = {name: torch.tensor(value, device=device) for name, (value, _) in state.items()}
        return cls(sums, {name: samples for name, (_, samples) in state.items()})


class Learner:
    """A network with all that trains it.

    Attributes:
        network: the trained module.
        forward: ``network``, or a compiled twin that shares its weights.
        average: of the weights over the steps, or None.
        named: the sets of weights that are kept beside the last ones.
        totals: of the present epoch.
        trained: whether all stages are over.
    """

    def __init__(
        self,
        job: FoldJob,
        network: nn.Module,
        runtime: Runtime,
        group: Group = ALONE,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """
        Args:
            network: on the CPU; it becomes the learner's.
            group: the processes that train one network together.
            say: told if compiling fails.
        """
        self.job, self.runtime, self.group = job, runtime, group
        network = synchronised(network, runtime.device, group)
        self.network = network.to(runtime.device).to(memory_format=torch.channels_last)
        self.forward: Callable[[Tensor], Output] = Compiled(network, say) if runtime.compile else network
        self.position = Position()
        self.optimizer = self._new_optimizer()
        ema = job.experiment.ema
        self.average = None if ema is None else ExponentialAverage(network, ema.decay)
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16")
        self.named = NamedWeights(job, network)
        self.totals = Totals()
        self.trained = False
        self.saved_at = time.monotonic()

    @property
    def plan(self) -> StagePlan:
        """The present stage."""
        return self.job.stages[self.position.stage]

    @property
    def predictor(self) -> nn.Module:
        """The module whose predictions count: the average, or without one the last weights."""
        return self.network if self.average is None else self.average.network

    def _new_optimizer(self) -> Optimizer:
        experiment = self.job.experiment
        name, settings = self.plan.optimizer
        return build_optimizer(
            name,
            self.network,
            encoder_lr=experiment.encoder_lr,
            bias_lr=experiment.bias_lr,
            decay_norms=experiment.decay_norms,
            **settings,
        )

    def ready(self) -> None:
        """Training mode for the present epoch; in the stage's first ones the encoder may be frozen."""
        frozen = self.position.epoch < self.plan.settings.freeze_encoder
        if any(plan.settings.freeze_encoder for plan in self.job.stages):
            set_frozen(self.network, frozen)
        self.network.train()
        if frozen:
            frozen_mode(self.network)

    def rate(self, step: int) -> float:
        """Learning rate of a step of the present epoch."""
        plan, position = self.plan, self.position
        scores = self.named.stage_scores(position.stage)
        return plan.settings.lr * plan.schedule(plan.share_done(position.epoch, step), scores)

    def outputs(self, part: Sample, number: int) -> Output:
        """The network's outputs for part ``number`` of this process's share of a batch."""
        # Dropout depends on the step and the part alone, so a resumed run draws what the uninterrupted one drew.
        place = self.group.rank * self.job.experiment.accumulate + number
        torch.manual_seed((self.job.seed * 1_000_003 + self.position.steps + place * 0x9E3779B97F4A7C15) % 2**63)
        image = part["image"].to(self.runtime.device, non_blocking=True, memory_format=torch.channels_last)
        with self.runtime.autocast():
            # Of a network that knows what is none of the classes, only a stage that trains on it sees that.
            return self.forward(image).of_classes(len(self.plan.task.classes))

    def target(self, part: Sample) -> Target:
        """The target of a part. The padded border does not count, unless it shall."""
        device = self.runtime.device
        # Where a border has no class of its own, it never counts.
        valid = None if self.plan.padding_counts else part["valid"].to(device, non_blocking=True)
        mask = part["mask"].to(device, non_blocking=True)
        # Once for all losses and heads; indices stay whole numbers.
        mask = mask if self.job.images.task.exclusive else mask.float()
        return Target(mask, valid, part["gaps"].to(device, non_blocking=True) if "gaps" in part else None)

    def check(self) -> None:
        """Raises NotFiniteError if the loss of this epoch or a weight is NaN or infinite."""
        self.totals.means()
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.network.parameters()):
            raise NotFiniteError("a weight is not a finite number")

    def next_stage(self) -> None:
        """Go to the first epoch of the next stage, with its optimiser; after the last one all is trained."""
        if self.position.stage + 1 == len(self.job.stages):
            self.trained = True
            return
        before = self.plan.optimizer
        self.position.stage += 1
        self.position.epoch = 0
        if self.plan.optimizer != before:
            self.optimizer = self._new_optimizer()

    def work(self) -> FoldWork:
        """What the fold's training takes, and how much of it is done."""
        job, position = self.job, self.position
        return FoldWork(
            fold=job.fold,
            images=len(job.training_rows),
            epochs=job.epochs,
            steps=job.total_steps,
            batch_sizes=tuple(plan.batch_size for plan in job.stages),
            work=job.work,
            epochs_done=position.epochs,
            steps_done=position.steps,
            samples_done=position.samples,
        )

    def moment(self) -> Moment:
        """Where the training is, right after a step."""
        plan, position = self.plan, self.position
        return Moment(
            stage=plan.name,
            stage_number=position.stage,
            epoch=position.epoch,
            stage_epochs=plan.epochs,
            epochs_done=position.epochs,
            steps_done=position.steps,
            batch_size=plan.batch_size,
            work=self.job.work_done(position.stage, position.epoch, position.step),
            rate=self.rate(position.step - 1),
        )

    def save(self) -> None:
        """Write the checkpoint; only the first process of a group does."""
        if not self.group.leads:
            return
        average, runtime = self.average, self.runtime
        checkpoints.save(
            self.job.folder.last,
            Checkpoint(
                network=self.network.state_dict(),
                optimizer=self.optimizer.state_dict(),
                average=None if average is None else average.network.state_dict(),
                average_updates=0 if average is None else average.updates,
                scaler=self.scaler.state_dict(),
                position=self.position,
                sums=self.totals.state(),
                decided={
                    "device": runtime.device.type,
                    "precision": runtime.precision,
                    "compile": runtime.compile,
                    "threads": runtime.threads,
                },
                bound=self.job.bound,
                done=self.trained,
                **self.named.state(),
            ),
        )
        self.named.tidy()
        self.saved_at = time.monotonic()

    def restore(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint of this job."""
        self.position = saved.position
        self.network.load_state_dict(saved.network)
        self.optimizer = self._new_optimizer()
        self.optimizer.load_state_dict(saved.optimizer)
        if saved.scaler:  # empty where the training began in another precision
            self.scaler.load_state_dict(saved.scaler)
        if self.average is not None and saved.average is not None:
            self.average.network.load_state_dict(saved.average)
            self.average.updates = saved.average_updates
        self.named.restore(saved)
        self.totals = Totals.from_state(saved.sums, self.runtime.device)
        self.trained = saved.done


def open_learner(job: FoldJob, observer: Observer, group: Group = ALONE) -> Learner:
    """The learner of a fold that begins, or goes on from its checkpoint.

    Raises:
        SegfoldError: the checkpoint is of other data, or the network cannot be trained as the stages ask.
    """
    saved = checkpoints.load(job.folder.last)
    group.gathered("everyone has looked for a checkpoint, and the first process may write one")
    if saved is not None and (changed := job.changed(saved.bound)):
        raise SegfoldError(
            f"{job.folder.path} was trained on other {' and '.join(changed)}; restore them, or use --run NAME to start anew"
        )
    machine, images = job.experiment.machine, job.total_images
    if saved is None:
        runtime = resolve(machine, images)
    else:
        runtime, changes = resume(machine, images, saved.decided)
        for line in changes:
            observer.say(f"fold {job.fold}: {line}")
    # The seed is set here, inside the fold, so that no fold begins where another ended.
    torch.manual_seed(job.seed)
    network = job.network(fresh=saved is None)
    for line in loaded_lines(network):
        observer.say(f"fold {job.fold}: {line}")
    check_network(network, job, group, synchronises=runtime.device.type == "cuda")
    run = RunFolder(job.folder.path.parent)
    if group.leads and not (run.record_path.exists() and begun(run)):
        record_run(job, network)
    if saved is None and job.experiment.init is not None:
        observer.say(start_from(network, job))
    learner = Learner(job, network, runtime, group, observer.say)
    if saved is None:
        group.alike(learner.network)
        learner.save()
    else:
        learner.restore(saved)
    if group.leads:
        truncate_lines(job.folder.metrics, learner.position.epochs)
    return learner


def record_run(job: FoldJob, network: nn.Module) -> None:
    """Write into the run's folder what its networks take and give."""
    mean, std = normalisation(network)
    write_record(RunFolder(job.folder.path.parent), RunRecord(job.competition, job.channels, mean, std))
