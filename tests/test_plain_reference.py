"""Options of the training against a plain loop of torch, see ``plain_training``."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from plain_training import (
    HEIGHT,
    LEFT,
    PLAIN,
    TOP,
    WIDTH,
    PlainUNet,
    close,
    named,
    read,
    reference,
    sgd,
    trained,
    whole_bce_and_dice,
)
from segfold.errors import SegfoldError
from segfold.machine import resolve
from segfold.training.batches import Batches
from small_project import fold_job, lines, make_project, same, train, weights


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


def test_the_plain_loop_is_the_loop(project: Path) -> None:
    job = trained(project, "plain")
    assert close(weights(job), reference(job, sgd, lambda step: 2e-3))


def test_clipping_shortens_the_gradient(project: Path) -> None:
    job = trained(project, "clip", "clip=0.05")

    def shorten(network: nn.Module) -> None:
        length = torch.cat([parameter.grad.flatten() for parameter in network.parameters()]).norm()
        assert length > 0.05
        for parameter in network.parameters():
            parameter.grad *= 0.05 / length

    assert close(weights(job), reference(job, sgd, lambda step: 2e-3, before_step=shorten))


def test_the_average_follows_the_steps(project: Path) -> None:
    """By ``a += (1 - d) (w - a)``, d at most (1 + t) / (10 + t); statistics of batch norms too."""
    job = trained(project, "average", "ema={decay: 0.2}")
    average: dict[str, Tensor] = {}

    def follow(step: int, network: nn.Module) -> None:
        decay = min(0.2, (1 + step) / (10 + step))
        for name, value in named(network).items():
            if value.is_floating_point():
                average[name] += (1 - decay) * (value - average[name])
            else:
                average[name] = value.clone()

    def begin(epoch: int, network: nn.Module) -> None:
        if epoch == 0:
            average.update({name: value.clone() for name, value in named(network).items()})

    last = reference(job, sgd, lambda step: 2e-3, before_epoch=begin, after_step=follow)
    assert close(weights(job), {name: value.numpy() for name, value in average.items()})
    assert not close(weights(job), last)


def test_the_border_counts_where_it_is_to(project: Path) -> None:
    """What the mask is in the border is then what it is in the image, reflected."""
    job = trained(project, "border", "stages.warm.loss.unpadded=false")

    def reflected(logits: Tensor, target: Tensor) -> Tensor:
        inside = target[:, :, TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH]
        return whole_bce_and_dice(logits, F.pad(inside, (LEFT, LEFT, TOP, TOP), mode="reflect"))

    assert close(weights(job), reference(job, sgd, lambda step: 2e-3, loss=reflected))


def test_rates_of_the_encoder_and_of_biases_and_undecayed_norms(project: Path) -> None:
    job = trained(
        project,
        "groups",
        "encoder_lr=0.1",
        "bias_lr=3",
        "decay_norms=false",
        "optimizer.sgd.weight_decay=0.5",
        "stages.warm.epochs=3",
    )

    def groups(network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            [
                {
                    "params": [parameter],
                    "weight_decay": 0.5 if parameter.ndim > 1 else 0.0,
                    "factor": 0.1 if name.startswith("encoder.") else 3.0 if name == "pixels.levels.0.bias" else 1.0,
                }
                for name, parameter in network.named_parameters()
            ],
            momentum=0.9,
        )

    assert close(weights(job), reference(job, groups, lambda step: 2e-3))


def test_rmsprop_and_an_optimizer_of_timm(project: Path) -> None:
    job = trained(project, "rmsprop", "optimizer={rmsprop: {alpha: 0.8, momentum: 0.5, eps: 0.1}}")
    ours = reference(
        job, lambda n: torch.optim.RMSprop(n.parameters(), alpha=0.8, momentum=0.5, eps=0.1), lambda step: 2e-3
    )
    assert close(weights(job), ours, 1e-4)
    job = trained(project, "timm", "optimizer={timm: {opt: nadamw, weight_decay: 0.1, options: {eps: 0.1}}}")
    from timm.optim import create_optimizer_v2

    def theirs(network: nn.Module) -> torch.optim.Optimizer:
        return create_optimizer_v2(
            [{"params": list(network.parameters()), "weight_decay": 0.1}],
            opt="nadamw",
            lr=2e-3,
            weight_decay=0.1,
            eps=0.1,
        )

    assert close(weights(job), reference(job, theirs, lambda step: 2e-3), 1e-4)


def test_frozen_encoder(project: Path) -> None:
    job = trained(project, "frozen", "stages.warm.freeze_encoder=1", "stages.warm.epochs=2")

    def freeze(epoch: int, network: nn.Module) -> None:
        encoder = network.encoder
        encoder.requires_grad_(epoch >= 1)
        if epoch < 1:
            encoder.eval()

    assert close(weights(job), reference(job, sgd, lambda step: 2e-3, before_epoch=freeze))
    ours, start = weights(job), trained(project, "unfrozen", "stages.warm.epochs=2")
    assert not close(weights(start), {name: ours[name] for name in ours if "input" not in name})


def test_warm_up_and_restarts_are_the_rates_that_are_used(project: Path) -> None:
    job = trained(
        project, "rates", "stages.warm.epochs=5", "stages.warm.warmup=1", "stages.warm.schedule={poly: {cycles: 2}}"
    )
    total = 5 * job.stages[0].steps - 1

    def rate(step: int) -> float:
        done = step / total
        if done < 1 / 5:
            return 2e-3 * done * 5
        position = (done - 1 / 5) / (4 / 5) * 2
        cycle = min(int(position + 1e-9), 1)
        return 2e-3 * max(1 - (position - cycle), 0.0) ** 0.9

    assert close(weights(job), reference(job, sgd, rate))


def test_plateau_lowers_the_rate_by_the_scores(project: Path) -> None:
    job = trained(
        project,
        "plateau",
        "stages.warm.epochs=6",
        "stages.warm.schedule={plateau: {factor: 0.5, patience: 1, threshold: 1}}",
    )
    weight = nn.Parameter(torch.zeros(1))
    torch_rate = torch.optim.SGD([weight], lr=2e-3)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        torch_rate, "max", factor=0.5, patience=1, threshold=1, threshold_mode="abs"
    )
    expected = []
    for line in lines(job):
        expected.append(torch_rate.param_groups[0]["lr"])
        if "score" in line:
            plateau.step(line["score"])
    assert [line["lr"] for line in lines(job)] == pytest.approx(expected)
    assert expected[-1] < 2e-3


def test_snapshots_are_the_weights_at_the_ends_of_cycles(project: Path) -> None:
    cycles = ("stages.warm.epochs=4", "stages.warm.schedule={cosine: {cycles: 2}}", "stages.warm.snapshots=true")
    job = trained(project, "snapshots", *cycles)
    seen: list[dict[str, np.ndarray]] = []

    def keep(epoch: int, network: nn.Module) -> None:
        seen.append({name: tensor.numpy().copy() for name, tensor in named(network).items()})

    def rate(step: int) -> float:
        position = step / (4 * job.stages[0].steps - 1) * 2
        cycle = min(int(position + 1e-9), 1)
        return 2e-3 * (1 + np.cos(np.pi * (position - cycle))) / 2

    reference(job, sgd, rate, after_epoch=keep)
    for number, epoch in ((1, 1), (2, 3)):
        found = {k: v.numpy() for k, v in load_file(job.folder.weights(f"snapshot{number}")).items()}
        assert close(found, seen[epoch])
    assert not job.folder.weights("snapshot3").exists()


def test_swa_is_the_mean_of_its_epochs_with_its_own_statistics(project: Path) -> None:
    job = trained(project, "swa", "stages.warm.epochs=4", "swa={start: 0.5}")
    seen: list[dict[str, torch.Tensor]] = []
    reference(
        job,
        sgd,
        lambda step: 2e-3,
        after_epoch=lambda epoch, network: seen.append({k: v.clone() for k, v in network.state_dict().items()}),
    )
    network = PlainUNet()
    mean = {name: torch.stack([state[name].double() for state in seen[2:]]).mean(0) for name in seen[0]}
    network.load_state_dict({name: value.to(seen[0][name].dtype) for name, value in mean.items()})
    # The statistics are of an epoch that no step was taken on: its batches are the training's next ones.
    batches = Batches(job, job.stages[0], resolve(job.experiment.machine)).of(job.epochs, 0)
    names = [[str(name) for name in job.images.ids[batch["row"]]] for batch in batches]
    torch.optim.swa_utils.update_bn([torch.stack([read(project, name)[0] for name in each]) for each in names], network)
    found = {k: v.numpy() for k, v in load_file(job.folder.weights("swa")).items()}
    counts = {k for k in found if "num_batches" in k}
    expected = {k: v.numpy() for k, v in named(network).items()}
    assert close(*({k: v for k, v in values.items() if k not in counts} for values in (found, expected)))


def test_best_keeps_the_best_epochs(project: Path) -> None:
    job = trained(project, "best", "stages.warm.epochs=4", "best=1", "predict.weights=[best]")
    scores = [line["score"] for line in lines(job)]
    assert len(scores) == 4
    best = int(np.argmax(scores))
    seen: list[dict[str, np.ndarray]] = []
    reference(
        job,
        sgd,
        lambda step: 2e-3,
        after_epoch=lambda epoch, network: seen.append({k: v.numpy().copy() for k, v in named(network).items()}),
    )
    assert close({k: v.numpy() for k, v in load_file(job.folder.weights("best")).items()}, seen[best])
    assert list(job.folder.path.glob("epoch*.safetensors")) == []


def test_early_stopping_counts_validations_without_a_new_best(project: Path) -> None:
    job = trained(project, "early", "stages.warm.epochs=30", "stages.warm.early_stop=2", "stages.warm.lr=1e-9")
    scores = [line["score"] for line in lines(job)]
    assert len(scores) < 30
    assert max(scores[-2:]) <= max(scores[:-2])


def test_init_starts_from_the_same_fold_of_the_same_folds_only(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    source = trained(project, "source")
    job = trained(project, "from", "init=runs/source", "stages.warm.lr=1e-12")
    ours, theirs = weights(job), weights(source)
    assert all(np.allclose(ours[k], theirs[k], atol=1e-6) for k in ours if "running" not in k and "num_" not in k)
    assert not same(ours, weights(trained(project, "scratch", "stages.warm.lr=1e-12")))
    with pytest.raises(SegfoldError, match="not a finished fold"):
        train(fold_job(project, "init=runs/source", fold=1, run="other-fold"))
    other = make_project(project / "elsewhere", seed=1)
    job = fold_job(other, *PLAIN, f"init={project}/runs/source", run="leak")
    with pytest.raises(SegfoldError, match="other data"):
        train(job)


def test_named_weights_predict_together(project: Path) -> None:
    from segfold.inference.stored import StoredImages

    cycles = ("stages.warm.epochs=4", "stages.warm.schedule={cosine: {cycles: 2}}", "stages.warm.snapshots=true")
    job = trained(project, "together", *cycles, "predict.weights=[snapshots]")
    import json

    done = json.loads(job.folder.done.read_text())
    wanted = StoredImages(job.folder, job.experiment, job.images, job.validation_rows, "oof", 1)
    stores = [wanted.find(done["weights"][name], name) for name in ("snapshot1", "snapshot2")]
    assert all(store is not None for store in stores)
    assert job.folder.predictions("model", "identity+hflip").exists() is False
    with pytest.raises(SegfoldError, match=r"predict\.weights names swa"):
        fold_job(project, "predict.weights=[swa]")
