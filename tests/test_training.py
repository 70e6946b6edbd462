"""Training of a fold: every option matters, and a run that was stopped ends where an undisturbed one does."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from segfold.errors import SegfoldError
from segfold.losses import StageLoss, Term
from segfold.stopping import Stopping
from segfold.training import checkpoint
from segfold.training.averaging import ExponentialAverage
from segfold.training.engine import Totals
from segfold.training.objective import stage_loss
from small_project import fold_job, make_project, same, train, weights


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def plain(project: Path) -> dict[str, np.ndarray]:
    """Weights of the undisturbed run."""
    job = fold_job(project, run="plain")
    train(job)
    return weights(job)


def lines(job) -> list[dict[str, object]]:  # type: ignore[no-untyped-def]
    return [json.loads(line) for line in job.folder.metrics.read_text().splitlines()]


def untimed(job) -> list[dict[str, object]]:  # type: ignore[no-untyped-def]
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in lines(job)]


def test_the_same_run_twice_is_the_same(project: Path, plain: dict[str, np.ndarray]) -> None:
    job = fold_job(project, run="again")
    train(job)
    assert same(weights(job), plain)


class StopAfter(Stopping):
    """Time is up after a number of steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    @property
    def asked(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_resumed_equals_uninterrupted(project: Path, plain: dict[str, np.ndarray], steps: int) -> None:
    job = fold_job(project, run=f"stop{steps}")
    assert train(job, StopAfter(steps)) is None
    assert not job.folder.done.exists()
    while train(job, StopAfter(steps)) is None:
        pass
    assert same(weights(job), plain)
    assert untimed(job) == untimed(fold_job(project, run="plain"))


def test_lines_beyond_the_checkpoint_are_cut(project: Path) -> None:
    job = fold_job(project, run="torn")
    train(job, StopAfter(3))
    with job.folder.metrics.open("a") as file:
        file.write('{"epoch": 99}\n{"epo')
    while train(job, StopAfter(3)) is None:
        pass
    assert untimed(job) == untimed(fold_job(project, run="plain"))


def test_workers_do_not_change_the_weights(project: Path, plain: dict[str, np.ndarray]) -> None:
    job = fold_job(project, "machine.workers=2", run="workers")
    train(job)
    assert same(weights(job), plain)


def test_no_fold_begins_where_another_ended(project: Path, plain: dict[str, np.ndarray]) -> None:
    train(fold_job(project, fold=1, run="other"))
    job = fold_job(project, fold=0, run="after")
    train(job)
    assert same(weights(job), plain)


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "ema=null",
        "ema.decay=0.2",
        "clip=0.01",
        "batch_size=5",
        "augment.hflip=null",
        "augment.affine=true",
        "input.random_offset=false",
        "input.border=edge",
        "input.fit=resize",
        "model.dropout=0",
        "model.attention=scse",
        "optimizer={sgd: {}}",
        "optimizer.adamw.weight_decay=0.5",
        "stages.warm.lr=1e-4",
        "stages.warm.schedule=cosine",
        "stages.warm.schedule.onecycle.warmup=0.6",
        "stages.warm.loss.mask.dice=0.5",
        "stages.warm.loss.mask.dice.mode=batch",
        "stages.warm.loss.unpadded=false",
        "stages.lovasz.loss.mask.lovasz.symmetric=true",
        "stages.lovasz.epochs=0",
        "stages.warm.size=64",
        "stages.warm.schedule=constant",
        "stages.warm.schedule=poly",
        "stages.warm.schedule=noam",
        "stages.warm.schedule={cosine: {cycles: 2}}",
        "stages.warm.schedule={plateau: {patience: 0, threshold: 2}}",
        "stages.warm.warmup=0.5",
        "stages.warm.freeze_encoder=1",
        "stages.warm.batch_size=5",
        "stages.warm.augment={vflip: {p: 1}}",
        "stages.warm.sample={nonempty: 0.2}",
        "stages.warm.optimizer={sgd: {}}",
        "stages.warm.loss.mask.dice={weight: 1, end: 0}",
        "stages.warm.loss.mask={focal: 1}",
        "stages.warm.loss.mask={jaccard: 1}",
        "stages.warm.loss.mask={tversky: 1}",
        "stages.warm.loss.mask={boundary: 1}",
        "stages.warm.loss.mask={bce: {smoothing: 0.2}}",
        "optimizer={rmsprop: {}}",
        "optimizer={timm: {opt: lamb}}",
        "encoder_lr=0.1",
        "[decay_norms=false, optimizer.adamw.weight_decay=5]",
        "accumulate=2",
        "sample.area=1",
        "sample.nonempty=0.9",
        "sample.images=24",
        "input.resize=24",
        "input.channels=[image, y]",
        "input.channels=[image, y, image_y]",
        "augment.mixup={p: 1}",
        "augment.cutmix={p: 1}",
        "augment.shear={p: 1}",
        "augment.elastic={p: 1}",
        "augment.grid_distortion={p: 1}",
        "augment.cutout={p: 1}",
        "augment.noise={p: 1}",
        "augment.blur={p: 1}",
        "augment.crop={p: 1}",
        "augment.invert={p: 1}",
    ],
)
def test_every_option_matters(project: Path, plain: dict[str, np.ndarray], override: str) -> None:
    overrides = override.strip("[]").split(", ") if override.startswith("[") else [override]
    job = fold_job(project, *overrides, run="option-" + re.sub(r"[^a-z0-9_.]+", "-", override).strip("-"))
    train(job)
    assert not same(weights(job), plain)


def test_deep_supervision_needs_and_uses_its_heads(project: Path) -> None:
    heads = ("model.heads.levels=true", "model.heads.image=true")
    terms = ("stages.warm.loss.levels=0.1", "stages.warm.loss.image=0.05")
    without = fold_job(project, *heads, run="heads")
    train(without)
    supervised = fold_job(project, *heads, *terms, run="supervised")
    train(supervised)
    assert not same(weights(without), weights(supervised))
    assert {"levels", "image"} <= lines(supervised)[0].keys()
    with pytest.raises(SegfoldError, match=r"model\.heads\.levels=true"):
        train(fold_job(project, terms[0], run="headless"))


def test_stages_follow_each_other(project: Path, plain: dict[str, np.ndarray]) -> None:
    found = lines(fold_job(project, run="plain"))
    assert [(line["epoch"], line["stage"]) for line in found] == [(1, "warm"), (2, "warm"), (3, "lovasz")]
    assert "bce" in found[0] and "dice" in found[0] and "lovasz" in found[2]
    assert [line["samples"] for line in found] == [8, 16, 24]


def test_validation_interval(project: Path) -> None:
    job = fold_job(project, "validate.every=2", "stages.warm.epochs=4", "stages.lovasz.epochs=0", run="every")
    done = train(job)
    # The last epoch is scored by the out-of-fold prediction.
    assert ["score" in line for line in lines(job)] == [False, True, False, False]
    assert 0 <= done["score"] <= 1


def test_fast_takes_64_images_and_one_epoch_a_stage(project: Path) -> None:
    job = fold_job(project, "fast=true", "stages.warm.epochs=9", run="fast")
    assert [stage.epochs for stage in job.stages] == [1, 1]
    assert len(job.training_rows) == 10
    train(job)
    assert len(lines(job)) == 2


def test_not_a_number_stops_and_keeps_the_last_good_state(project: Path) -> None:
    job = fold_job(project, "stages.lovasz.lr=1e30", "clip=null", run="nan")
    with pytest.raises(SegfoldError, match=r"stage lovasz, epoch 1.*stages\.lovasz\.lr"):
        train(job)
    saved = checkpoint.load(job.folder.last)
    assert saved is not None and saved.position.epochs == 2
    assert all(torch.isfinite(value).all() for value in saved.network.values())
    assert not job.folder.done.exists() and not job.folder.weights().exists()


def test_checkpoint_of_other_data_is_refused(project: Path) -> None:
    job = fold_job(project, run="bound")
    train(job, StopAfter(2))
    job.folds[:] = 1 - job.folds
    del job.__dict__["bound"]
    with pytest.raises(SegfoldError, match="other folds"):
        train(job)


def test_broken_checkpoint_is_named(project: Path) -> None:
    job = fold_job(project, run="broken")
    job.folder.last.parent.mkdir(parents=True)
    job.folder.last.write_bytes(b"not a checkpoint")
    with pytest.raises(SegfoldError, match=r"last\.pt"):
        train(job)


def test_clipping_bounds_the_step(project: Path) -> None:
    settings = (
        "optimizer={sgd: {momentum: 0, weight_decay: 0}}",
        "ema=null",
        "clip=0.001",
        "stages.warm.epochs=1",
        "stages.warm.lr=1.0",
        "stages.warm.schedule=cosine",
        "stages.lovasz.epochs=0",
        "batch_size=10",
    )
    job = fold_job(project, *settings, run="clip")
    train(job, StopAfter(0))
    start = checkpoint.load(job.folder.last)
    assert start is not None and start.position.steps == 1
    torch.manual_seed(job.seed)
    from segfold.inference.networks import build_network

    fresh = dict(build_network(job.experiment, job.competition, job.images).named_parameters())
    moved = torch.cat([(start.network[name] - value.detach()).flatten() for name, value in fresh.items()]).norm()
    assert moved.item() == pytest.approx(0.001, rel=1e-3)


def test_exponential_average_is_the_plain_recursion() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = ExponentialAverage(network, decay=0.3)
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    for step in range(1, 6):
        with torch.no_grad():
            for value in network.parameters():
                value.add_(torch.randn_like(value))
        network(torch.randn(4, 3))
        average.update()
        decay = min(0.3, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            floats = value.is_floating_point()
            expected[name] = decay * expected[name] + (1 - decay) * value if floats else value.clone()
    for name, value in average.network.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert not average.network.training


def test_average_is_a_copy_not_an_alias() -> None:
    network = nn.Linear(2, 2)
    average = ExponentialAverage(network, decay=0.9)
    before = average.network.weight.clone()
    with torch.no_grad():
        network.weight.add_(1)
    assert torch.equal(average.network.weight, before)


def test_loss_settings_reach_the_loss(project: Path) -> None:
    job = fold_job(
        project,
        "stages.warm.loss.mask={bce: 0.5, dice: {weight: 2, mode: batch, smooth: 0}, lovasz: {activation: elu, symmetric: true}}",
        "stages.warm.loss.levels={weight: 0.3, over: zeroed}",
        "stages.warm.loss.nonempty=0.7",
        "stages.warm.loss.image=0.05",
    )
    mask = {
        "bce": (0.5, {}),
        "dice": (2.0, {"mode": "batch", "smooth": 0.0}),
        "lovasz": (1.0, {"activation": "elu", "symmetric": True}),
    }
    expected = StageLoss(mask, levels=Term(0.3, "zeroed"), nonempty=Term(0.7, "nonempty"), image=0.05)
    draw = torch.Generator().manual_seed(0)
    logits, levels, nonempty = (4 * torch.randn(*shape, 1, 8, 8, generator=draw) for shape in ((3,), (3, 2), (3,)))
    image = torch.randn(3, 1, generator=draw)
    target = (torch.rand(3, 1, 8, 8, generator=draw) > 0.5).float()
    target[0] = 0
    arguments = logits, {"levels": levels, "nonempty": nonempty}, image, target
    assert torch.equal(stage_loss(job.experiment.stages["warm"])(*arguments)[0], expected(*arguments)[0])


def test_time_left_counts_pixels(project: Path) -> None:
    """Two epochs at 32² and one at 64² are 2 + 4 units of work."""
    job = fold_job(project, "stages.lovasz.size=64")
    unit = job.stages[0].work_of_an_epoch
    assert job.work == 6 * unit
    assert job.work_done(0, 1, 1) == 1.5 * unit
    assert job.work_done(1, 0, 1) == 4 * unit
    assert job.work_done(1, 1, 0) == job.work


def test_bar_shows_loss_score_rate_speed_and_time_left(project: Path) -> None:
    import io

    from rich.console import Console

    from segfold.training import Progress, engine, train_fold

    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    job = fold_job(project, run="bar")
    with pytest.MonkeyPatch.context() as patch, Progress(True, console) as progress:
        patch.setattr(engine, "REFRESH_SECONDS", 0.0)
        train_fold(job, progress, Stopping())
        bar = progress._bar
        assert bar is not None
        progress.step(job.stages[1], checkpoint.Position(1, 0, 1, 2, 5, 20), 3e-4, {"loss": 0.5})
        shown = bar.tasks[0].description + " " + bar.tasks[0].fields["text"]
    assert shown.startswith("fold 0 lovasz 1/1 loss 0.5000  score 0.")
    assert "lr 3.0e-04" in shown and "img/s" in shown and shown.endswith("left")


def test_tensorboard_has_every_epoch(project: Path, plain: dict[str, np.ndarray]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    job = fold_job(project, run="plain")
    events = EventAccumulator(str(job.folder.path / "tensorboard"))
    events.Reload()
    values = [(event.step, event.value) for event in events.Scalars("loss")]
    assert values == [(line["epoch"], pytest.approx(line["loss"])) for line in lines(job)]


def test_a_loss_that_ramps_in_is_averaged_over_its_own_samples() -> None:
    totals = Totals()
    for batch, samples in (({"bce": 1.0}, 4), ({"bce": 2.0, "lovasz": 5.0}, 4), ({"bce": 4.0, "lovasz": 8.0}, 2)):
        totals.add({name: torch.tensor(value) for name, value in batch.items()}, samples)
        totals = Totals.from_state(totals.state(), torch.device("cpu"))  # as a stop after each step leaves it
    assert totals.means() == {"bce": 2.0, "lovasz": 6.0}
