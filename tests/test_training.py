"""Training of a fold: a run that was stopped ends where an undisturbed one does, and what is broken is named."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from segfold.errors import SegfoldError
from segfold.losses import HeadTerm, StageLoss
from segfold.stopping import Stopping
from segfold.training import checkpoint
from small_project import fold_job, lines, make_project, same, train, weights


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def plain(project: Path) -> dict[str, np.ndarray]:
    """Weights of the undisturbed run."""
    job = fold_job(project, run="plain")
    train(job)
    return weights(job)


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


@pytest.mark.parametrize("steps", [1, 3])
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


def test_deep_supervision_needs_and_teaches_its_heads(project: Path) -> None:
    """Without a weight in the loss a head gets no gradient and keeps the weights that it began with."""
    heads = ("model.heads.levels=true", "model.heads.image=true", "ema=null", "stages.lovasz.epochs=0")
    terms = ("stages.warm.loss.heads.levels=0.1", "stages.warm.loss.heads.image=0.05")

    def taught(job) -> set[str]:  # type: ignore[no-untyped-def]
        torch.manual_seed(job.seed)
        first = {name: value.detach().numpy() for name, value in job.network().named_parameters()}
        train(job)
        found = weights(job)
        return {name.split(".")[0] for name in first if not np.array_equal(found[name], first[name])}

    plain = taught(fold_job(project, *heads, run="heads"))
    job = fold_job(project, *heads, *terms, run="supervised")
    assert plain == {"encoder", "decoder", "pixels"} and taught(job) == plain | {"levels", "image"}
    assert {"levels", "image"} <= lines(job)[0].keys()
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
    assert [stage.images for stage in job.stages] == [10, 10]
    assert [stage.images for stage in fold_job(project, "fast=true", "sample.images=500").stages] == [64, 64]
    train(job)
    assert len(lines(job)) == 2


def test_not_a_number_stops_and_keeps_the_last_good_state(project: Path) -> None:
    far = "stages.lovasz={epochs: 9, lr: 1000, schedule: constant}"
    # Each step multiplies the weights by 1 - 1000·1, whatever the gradient.
    decay = "optimizer={sgd: {momentum: 0, weight_decay: 1}}"
    job = fold_job(project, far, decay, "clip=null", run="nan")
    with pytest.raises(SegfoldError, match=r"stage lovasz, epoch \d.*stages\.lovasz\.lr") as error:
        train(job)
    epoch = int(re.findall(r"epoch (\d)", str(error.value))[0])
    saved = checkpoint.load(job.folder.last)
    assert saved is not None and saved.position.epochs == job.stages[0].epochs + epoch - 1
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

    fresh = dict(job.network().named_parameters())
    moved = torch.cat([(start.network[name] - value.detach()).flatten() for name, value in fresh.items()]).norm()
    assert moved.item() == pytest.approx(0.001, rel=1e-3)


def test_loss_settings_reach_the_loss(project: Path) -> None:
    job = fold_job(
        project,
        "stages.warm.loss.mask={bce: 0.5, dice: {weight: 2, mode: batch, smooth: 0}, lovasz: {activation: elu, symmetric: true}}",
        "stages.warm.loss.heads={levels: {weight: 0.3, over: zeroed}, nonempty: 0.7, image: 0.05}",
    )
    mask = {
        "bce": (0.5, {}),
        "dice": (2.0, {"mode": "batch", "smooth": 0.0}),
        "lovasz": (1.0, {"activation": "elu", "symmetric": True}),
    }
    heads = {"levels": HeadTerm(0.3, "zeroed"), "nonempty": HeadTerm(0.7, "nonempty"), "image": HeadTerm(0.05)}
    expected = StageLoss(mask, heads)
    draw = torch.Generator().manual_seed(0)
    logits, levels, nonempty = (4 * torch.randn(*shape, 1, 8, 8, generator=draw) for shape in ((3,), (3, 2), (3,)))
    image = torch.randn(3, 1, generator=draw)
    target = (torch.rand(3, 1, 8, 8, generator=draw) > 0.5).float()
    target[0] = 0
    arguments = logits, {"levels": levels, "nonempty": nonempty, "image": image}, target
    assert torch.equal(job.experiment.stages["warm"].loss.build()(*arguments)[0], expected(*arguments)[0])
