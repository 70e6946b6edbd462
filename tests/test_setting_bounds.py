"""Each number among the settings, at and beyond its bounds: one line that names it, or settings that build and run.

The numbers are found in the settings' models, so those of a builder that is added are among them.
"""

import itertools
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from segfold.config import check_experiment, dump, merge
from segfold.data.augment import AUGMENTATIONS, Augmenter
from segfold.data.augment.mixing import MIXES, MaskedImage
from segfold.errors import SegfoldError
from segfold.losses import LOSSES, MovingLoss
from segfold.models import MODELS, build_model, margin_of, sides_of
from segfold.models.centres import CENTRES
from segfold.optim import OPTIMIZERS, SCHEDULES, build_optimizer, build_schedule
from segfold.schema import settings_model
from segfold.settings import Experiment
from segfold.yaml_file import parse_yaml
from setting_numbers import Number, numbers, of_the_experiment, variants
from small_project import fold_job, make_project, train

NUMBERS = of_the_experiment()
LOSS = {"mask": {"bce": 1, "dice": 1}, "heads": {"image": 0.1}}
BASE = {"competition": "x", "stages": {"a": {"epochs": 4, "loss": LOSS}}}
# In range by themselves, but not beside the defaults of what they go with.
TOGETHER = {
    "accumulate",
    "input.resize",
    "input.resize[]",
    "predict.tiles.overlap",
    "sample.focus",
    "stages.a.boxes.resize",
    "stages.a.boxes.resize[]",
    "stages.a.sample.focus",
    "stages.a.warmup",
}


def experiment(number: Number, value: Any) -> Experiment:
    if number.path[0] == "model":
        below = Number(
            number.path[2:], *[getattr(number, key) for key in ("whole", "count", "low", "above", "high", "below")]
        )
        size = fitting(number.path[1], below.at(value)) if value in number.inside() else 128
        given = {"input": {"size": size}, "model": {"name": number.path[1], **below.at(value)}}
        return check_experiment({**BASE, **given}, "here")
    return check_experiment(merge(BASE, number.at(value)), "here")


def fitting(name: str, settings: Mapping[str, Any]) -> int:
    """A side of about 256 pixels that a model takes."""
    smallest, step = sides_of(name, settings)
    return max(smallest, 256 - (256 - smallest) % step)


def dotted(number: Number) -> str:
    return ".".join(number.path if number.path[0] != "model" else ("model", *number.path[2:]))


def test_every_builder_is_among_them() -> None:
    """The search misses no family: each builder that has a number by its signature is found."""
    families: dict[str, Mapping[str, Callable[..., Any]]] = {
        "augment.{}": {**AUGMENTATIONS, **MIXES},
        "optimizer.{}": OPTIMIZERS,
        "stages.a.augment.{}": {**AUGMENTATIONS, **MIXES},
        "stages.a.optimizer.{}": OPTIMIZERS,
        "stages.a.schedule.{}": SCHEDULES,
        "stages.a.loss.mask.{}": LOSSES,
        "model.unet.centre.{}": CENTRES,
        "model.{}": MODELS,
    }
    found = {str(number) for number in NUMBERS}
    for place, family in families.items():
        for name, builder in family.items():
            own = [str(n) for n in numbers(settings_model(name, builder, ("in_channels", "classes")))]
            assert {f"{place.format(name)}.{key}" for key in own} <= found
    assert set(variants(Experiment.model_fields["model"].annotation)) == set(MODELS)
    assert len(found) == len(NUMBERS) > 200


def groups() -> dict[str, list[Number]]:
    """The numbers by the part of the settings that they are in."""
    found: dict[str, list[Number]] = {}
    for number in NUMBERS:
        found.setdefault(".".join(number.path[: 3 if number.path[0] == "stages" else 2]), []).append(number)
    return found


@pytest.mark.parametrize("group", groups().values(), ids=groups())
def test_nothing_beyond_its_range_is_taken(group: list[Number]) -> None:
    for number in group:
        assert math.isfinite(number.low) and math.isfinite(number.high), f"{number}: Annotated[…, Ge(…), Le(…)] says it"
        for value in number.beyond():
            with pytest.raises(SegfoldError) as error:
                experiment(number, value)
            assert dotted(number) in str(error.value) and str(error.value).isprintable(), (str(number), value)


@pytest.mark.parametrize("group", groups().values(), ids=groups())
def test_its_bounds_are_taken_and_written_out(group: list[Number]) -> None:
    for number, value in [(each, value) for each in group for value in each.inside()]:
        try:
            found = experiment(number, value)
        except SegfoldError as error:
            assert str(number) in TOGETHER and number.path[-1] in str(error).replace("-", "")
            continue
        assert check_experiment(dump(found), "here") == found, (str(number), value)


def test_bounds_survive_as_text() -> None:
    values = {f"{number}{at}": value for number in NUMBERS for at, value in enumerate(number.inside())}
    assert parse_yaml(OmegaConf.to_yaml(OmegaConf.create(values)), "here") == values


def settings_of(family: Mapping[str, Callable[..., Any]], skip: tuple[str, ...] = ()) -> list[Any]:
    """Each builder's name with each of its numbers at each of its bounds."""
    return [
        pytest.param(name, number.at(value), id=f"{name}-{number}-{value:g}")
        for name, builder in family.items()
        for number in numbers(settings_model(name, builder, skip))
        for value in number.inside()
    ]


DONE = [0.0, 1e-12, *(k / 60 for k in range(1, 60)), 1 - 1e-12, 1.0]


@pytest.mark.parametrize(("name", "settings"), settings_of(SCHEDULES))
def test_schedules_at_their_bounds(name: str, settings: dict[str, Any]) -> None:
    schedule = build_schedule(name, **settings)
    for done in DONE:
        assert 0 <= schedule(done, [0.5, 0.6, 0.6, 0.5] * 3) <= 1


@pytest.mark.parametrize(("name", "settings"), settings_of(LOSSES))
def test_losses_at_their_bounds(name: str, settings: dict[str, Any]) -> None:
    random_ = torch.Generator().manual_seed(0)
    target = (torch.rand(3, 1, 8, 9, generator=random_) > 0.6).float()
    target[1], target[2] = 0, 1
    valid = torch.rand(3, 1, 8, 9, generator=random_) > 0.1
    loss = LOSSES[name](**settings)
    for scale, done in itertools.product((1.0, 50.0), (0.0, 1.0)):
        logits = (scale * torch.randn(3, 1, 8, 9, generator=random_)).requires_grad_()
        moment = loss.at(done) if isinstance(loss, MovingLoss) else loss
        value = moment.value(moment.sums(logits, target, valid))
        value.backward()
        assert torch.isfinite(value) and logits.grad is not None and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(("name", "settings"), settings_of(OPTIMIZERS))
def test_optimizers_at_their_bounds(name: str, settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer = build_optimizer(name, network, **settings)
    for _ in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3
        network(torch.randn(2, 1, 5, 5)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    after = [parameter.detach() for parameter in network.parameters()]
    assert all(torch.isfinite(parameter).all() for parameter in after)
    assert not all(torch.equal(old, new) for old, new in zip(before, after))


@pytest.mark.parametrize(("name", "settings"), settings_of(AUGMENTATIONS))
def test_augmentations_at_their_bounds(name: str, settings: dict[str, Any]) -> None:
    random_ = np.random.default_rng(0)
    step = Augmenter({name: {"p": 1.0, **settings}}, 0)
    for shape, dtype in (((11, 9, 3), np.uint8), ((7, 12, 1), np.uint16), ((1, 1, 3), np.uint8)):
        image = random_.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
        mask = random_.integers(0, 2, shape[:2], np.uint8)
        for index in range(3):
            changed, moved = step(image, mask, 0, index)
            assert (changed.shape, changed.dtype) == (image.shape, image.dtype)
            assert moved.shape == mask.shape and moved.dtype == np.uint8 and moved.max() <= 1


@pytest.mark.parametrize(("name", "settings"), settings_of(MIXES))
def test_mixes_at_their_bounds(name: str, settings: dict[str, Any]) -> None:
    random_ = np.random.default_rng(0)
    mix, stream = MIXES[name](**settings), random.Random(0)
    for size in ((8, 9), (1, 1)):
        first, second = (
            MaskedImage(
                random_.random((*size, 2), np.float32),
                random_.integers(0, 2, size).astype(np.float32),
                random_.random(size) > 0.2,
            )
            for _ in range(2)
        )
        for _ in range(50):
            assert mix.applies(stream) in (False, True)
            mixed = mix(first, second, stream)
            assert mixed.image.shape == first.image.shape and mixed.mask.shape == size
            assert mixed.image.min() >= 0 and mixed.image.max() <= 1 and 0 <= mixed.mask.min() <= mixed.mask.max() <= 1


NEEDS = {
    "encoder_attention_stages": {"encoder_attention": "scse"},
    "attention_stages": {"attention": "scse"},
    "reduction": {"attention": "scse", "encoder_attention": "cse"},
}
"""What makes use of a number."""
SMALL: dict[str, Any] = {
    "encoder": "test_resnet",
    "weights": "none",
    "decoder_channels": 4,
    "head_channels": 4,
    "layers": (2, 2),
    "bottleneck": 2,
    "channels": 4,
    "residual_channels": 4,
}
SMALL_OF: dict[str, dict[str, Any]] = {
    name: {"encoder": "vgg16_bn", "width": 2, "fc_width": 8} for name in ("deconvnet", "fcn")
}
"""Of a model for which that is not enough, or does not do."""


def small(name: str, settings: Mapping[str, Any]) -> nn.Module:
    """A small model with an image head, but for the given settings."""
    known = settings_model(name, MODELS[name], ("in_channels", "classes")).model_fields
    heads = {"heads": {"image": True}} if "heads" in known and settings.get("head_channels", 1) else {}
    own = {key: value for key, value in SMALL.items() if key in known} | SMALL_OF.get(name, {})
    return build_model(name, 3, 1, **{**own, **heads, **settings})


def own_numbers(name: str) -> list[Number]:
    return list(numbers(settings_model(name, MODELS[name], ("in_channels", "classes"))))


def least(name: str, centre: str | None) -> dict[str, Any]:
    """All numbers of a model at their lower bounds, or all of a U-Net's centre."""
    settings: dict[str, Any] = {} if centre is None else {"centre": centre}
    for number in own_numbers(name):
        of = {"centre": number.path[1:2] == (centre,), "centre_channels[]": centre == "plain"}
        # How many channels a list has to give is the encoder's affair.
        if str(number) != "decoder_channels[]" and of.get(str(number).partition(".")[0], centre is None):
            settings = merge(settings, number.at(number.inside()[0])) | NEEDS.get(number.path[0], {})
    return settings


@pytest.mark.parametrize(
    ("name", "centre"), [*((name, None) for name in MODELS), *(("unet", centre) for centre in CENTRES)]
)
def test_models_at_their_lower_bounds(name: str, centre: str | None) -> None:
    settings = least(name, centre)
    torch.manual_seed(0)
    network = small(name, settings).train()
    seen = max(64, sides_of(name, settings)[0])
    out = network(torch.randint(0, 256, (2, 3, seen, seen), dtype=torch.uint8))
    side = seen - 2 * margin_of(name, settings)
    assert out.logits.shape == (2, 1, side, side)
    (out.logits.mean() + (0 if out.image is None else out.image.mean())).backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "number", "value"),
    [
        pytest.param(name, number, value, id=f"{name}-{number}-{value:g}")
        for name in MODELS
        for number in own_numbers(name)
        for value in number.inside()
    ],
)
def test_each_number_of_a_model(name: str, number: Number, value: Any) -> None:
    """Without data, as the largest would fill any memory; a block that is not there is refused by name."""
    with torch.device("meta"):
        needs = {**NEEDS, **({"centre_channels": {"centre": "plain"}} if name == "unet" else {})}
        try:
            network = small(name, number.at(value) | needs.get(number.path[0], {})).train()
        except SegfoldError as error:
            assert f"model.{number.path[0]}" in str(error) and str(error).isprintable()
            assert number.count and number.path[0] in (*NEEDS, "decoder_context", "decoder_channels")
            return
        seen = fitting(name, number.at(value))
        out = network(torch.empty(2, 3, seen, seen, dtype=torch.uint8))
        side = seen - 2 * margin_of(name, number.at(value))
        assert out.logits.shape == (2, 1, side, side)
        out.logits.mean().backward()


RUNS = {
    "low": [
        "batch_size=2",
        "sample={nonempty: 1, area: -10, images: 2}",
        "encoder_lr=0",
        "bias_lr=0",
        "clip=1e-30",
        "ema.decay=0",
        "swa={start: 0, every: 1}",
        "best=1",
        "predict={batch_size: 1}",
        "augment={hflip: {p: 0}, mixup: {alpha: 0.001, p: 1}}",
        "optimizer={sgd: {momentum: 0, weight_decay: 0}}",
        "stages.warm={epochs: 1, lr: 1e-300, schedule: {onecycle: {warmup: 0, start: 0, end: 0}}}",
        "stages.lovasz.epochs=0",
        "seed=-2147483648",
    ],
    "high": [
        "batch_size=1000000",
        "accumulate=4",
        "sample={nonempty: 0, area: 10, images: 8}",
        "encoder_lr=1000",
        "bias_lr=1000",
        "clip=1",
        "ema.decay=0.9999999999999999",
        "swa={start: 0.9999999999999999, every: 1000000}",
        "best=1000000",
        "model.heads.image=true",
        "predict={batch_size: 1000000}",
        "optimizer={sgd: {momentum: 0.99999, weight_decay: 100}}",
        "stages.warm={epochs: 2, freeze_encoder: 1000000, early_stop: 1000000, schedule: {onecycle: {warmup: 1}}}",
        "stages.warm.loss={mask: {focal: {weight: 1000000, gamma: 100, alpha: 1}}, heads: {image: 1000000}}",
        "stages.lovasz={epochs: 1, freeze_encoder: 1000000}",
        "seed=4294967295",
    ],
}


@pytest.mark.parametrize("bounds", RUNS)
def test_a_run_at_its_bounds_trains_and_predicts(bounds: str, tmp_path: Path) -> None:
    job = fold_job(make_project(tmp_path), "machine.precision=fp32", *RUNS[bounds])
    done = train(job)
    assert done is not None and math.isfinite(done["score"]) and job.folder.finished
