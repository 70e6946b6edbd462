"""An experiment: everything that its config file may say."""

import re
from functools import partial
from typing import Annotated

from annotated_types import Ge, Gt, Le
from pydantic import Field, model_validator

from segfold.optim import needs_scores
from segfold.ranges import Batch, Count, Epochs, PathText, Seed, StageName
from segfold.schema import Settings, said
from segfold.settings.boxes import Proposals
from segfold.settings.data import Folds, Input, Sampling
from segfold.settings.families import Augmentations, ModelChoice, OptimizerChoice
from segfold.settings.running import Machine, Predict
from segfold.settings.training import Ema, Stage, Swa, Validation
from segfold.settings.views import crop_of, part_of, sizing_of, views_of


class Experiment(Settings):
    """Everything that decides what a run's weights and predictions are.

    Attributes:
        competition: name of a competition, ``configs/competitions/NAME.yaml``.
        seed: random seed of the weights, the order of images and the augmentations.
        fast: a trial of the whole road: the first 64 images of each part, and one epoch a stage of at most 64 samples.
        folds: how the images are split.
        input: from an image of any size to the network's input.
        model: the network; ``name`` says which, and the other settings are that model's own.
        init: run folder whose weights of the same fold the training starts from; null: none.
        augment: steps of augmentation by name, applied in the order below; ``true`` takes a step's defaults.
        sample: which images an epoch draws.
        batch_size: images in a step of the optimizer.
        accumulate: parts that a batch is split into, one after the other, to save memory.
        optimizer: what turns gradients into steps.
        encoder_lr: factor on the learning rate of the encoder.
        bias_lr: factor on the learning rate of biases; shifts of normalisations are not biases.
        decay_norms: whether normalisations and biases decay too.
        clip: largest norm of the gradient, beyond which it is scaled down; null: none.
        ema: exponential moving average of the weights, which then predicts; null: the weights themselves.
        swa: mean of the weights over the last stage's end; null: none.
        best: how many epochs with the best scores are kept and averaged; 0: none.
        stages: parts of the training by name, in order.
        proposals: boxes that may hold an object, where a stage or the prediction asks for them.
        validate: how often the validation fold is predicted during training.
        predict: how a trained fold predicts.
        machine: what concerns this machine only.
        minutes: minutes after which the training stops, to go on with the same command; null: no limit.
    """

    competition: PathText
    seed: Seed = 0
    fast: bool = False
    folds: Folds = Folds()
    input: Input = Input()
    model: ModelChoice = Field(default_factory=dict, validate_default=True)
    init: PathText | None = None
    augment: Augmentations = Field(default_factory=dict, validate_default=True)
    sample: Sampling = Sampling()
    batch_size: Batch = 32
    accumulate: Count = 1
    optimizer: OptimizerChoice = Field(default="adamw", validate_default=True)
    encoder_lr: Annotated[float, Ge(0), Le(1000)] = 1.0
    bias_lr: Annotated[float, Ge(0), Le(1000)] = 1.0
    decay_norms: bool = True
    clip: Annotated[float, Gt(0), Le(1e9)] | None = None
    ema: Ema | None = Ema()
    swa: Swa | None = None
    best: Epochs = 0
    stages: dict[StageName, Stage] = Field(min_length=1)
    proposals: Proposals = Proposals()
    validate_: Validation = Field(default=Validation(), alias="validate")
    predict: Predict = Predict()
    machine: Machine = Machine()
    minutes: Annotated[float, Gt(0), Le(10_000_000)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        made = {"model"} | ({"best"} if self.best else set()) | ({"swa"} if self.swa else set())
        if any(stage.snapshots for stage in self.stages.values()):
            made.add("snapshots")
        for name in self.predict.weights:
            if re.sub(r"\d+$", "s", name) not in made:
                hint = {"best": "set best=1 or more", "swa": "set swa={}"}.get(name, "set snapshots in a stage")
                raise ValueError(f"predict.weights names {name}, which this training does not make; {hint}")
        for name, stage in self.stages.items():
            said(partial(sizing_of, self, stage))
            said(partial(part_of, self, name))
            if (stage.sample or self.sample).focus > 0 and crop_of(self, stage) is None:
                trains = (
                    "whole images; set input.crop, or sample.focus=0"
                    if stage.boxes is None
                    else f"boxes; set stages.{name}.sample.focus=0"
                )
                raise ValueError(
                    f"sample.focus is {(stage.sample or self.sample).focus:g}, but stage {name} trains on {trains}"
                )
            size = stage.batch_size or self.batch_size
            if self.accumulate > size // 2:
                raise ValueError(
                    f"accumulate {self.accumulate} splits stage {name}'s batch of {size} into parts of fewer than 2 images"
                )
        said(partial(views_of, self))
        return self

    @property
    def isolates_objects(self) -> bool:
        """Whether a stage, even one of 0 epochs, trains on objects by themselves, all else taken for background."""
        return any(stage.isolates_objects for stage in self.stages.values())

    @property
    def watches_scores(self) -> bool:
        """Whether validation scores steer the training, so that how often they are taken changes the weights."""
        return self.best > 0 or any(
            stage.early_stop is not None or needs_scores(stage.schedule.name) for stage in self.stages.values()
        )
