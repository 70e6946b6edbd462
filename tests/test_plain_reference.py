"""Options of the training against a plain loop in torch's own words, and against what they promise."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from segfold.errors import SegfoldError
from segfold.inference.networks import build_network
from segfold.machine import resolve
from segfold.training.batches import Batches
from segfold.training.checks import stage_loss
from small_project import fold_job, lines, make_project, same, train, weights

PLAIN = ("ema=null", "clip=null", "stages.lovasz.epochs=0", "model.dropout=0", "stages.warm.schedule=constant")
"""No average, no clipping, one stage at a constant rate: what is left is the option under test."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


def reference(
    job,  # type: ignore[no-untyped-def]
    optimizer_of: Callable[[nn.Module], torch.optim.Optimizer],
    rate: Callable[[int], float],
    before_epoch: Callable[[int, nn.Module], None] = lambda epoch, network: None,
    after_epoch: Callable[[int, nn.Module], None] = lambda epoch, network: None,
) -> dict[str, np.ndarray]:
    """The first stage by a loop that knows nothing of the engine; ``rate`` gives the learning rate of a step."""
    torch.manual_seed(job.seed)
    network = build_network(job.experiment, job.competition, job.images).to(memory_format=torch.channels_last)
    optimizer = optimizer_of(network)
    plan = job.stages[0]
    loss = stage_loss(plan.settings)
    batches = Batches(job, plan, resolve(job.experiment.machine))
    step = 0
    for epoch in range(plan.epochs):
        network.train()
        before_epoch(epoch, network)
        for batch in batches.of(epoch, 0):
            for group in optimizer.param_groups:
                group["lr"] = rate(step) * group.get("factor", 1.0)
            output = network(batch["image"].to(memory_format=torch.channels_last))
            total, _ = loss(output.logits, output.aux, output.image, batch["mask"].float(), batch["valid"])
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            step += 1
        after_epoch(epoch, network)
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


def close(a: dict[str, np.ndarray], b: dict[str, np.ndarray], tolerance: float = 1e-4) -> bool:
    return a.keys() == b.keys() and all(np.allclose(a[k], b[k], rtol=tolerance, atol=tolerance) for k in a)


def adamw(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), weight_decay=1e-4)


def trained(project: Path, run: str, *overrides: str):  # type: ignore[no-untyped-def]
    job = fold_job(project, *PLAIN, *overrides, run=run)
    train(job)
    return job


def test_the_plain_loop_is_the_engine(project: Path) -> None:
    job = trained(project, "plain")
    assert close(weights(job), reference(job, adamw, lambda step: 2e-3))


def test_encoder_rate_and_undecayed_norms(project: Path) -> None:
    job = trained(
        project,
        "groups",
        "encoder_lr=0.1",
        "decay_norms=false",
        "optimizer.adamw.weight_decay=3",
        "stages.warm.epochs=3",
    )

    def groups(network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            [
                {
                    "params": [parameter],
                    "weight_decay": 3.0 if parameter.ndim > 1 else 0.0,
                    "factor": 0.1 if name.startswith("encoder.") else 1.0,
                }
                for name, parameter in network.named_parameters()
            ]
        )

    assert close(weights(job), reference(job, groups, lambda step: 2e-3))


def test_rmsprop_and_an_optimizer_of_timm(project: Path) -> None:
    job = trained(project, "rmsprop", "optimizer={rmsprop: {alpha: 0.8, momentum: 0.5}}")
    ours = reference(
        job, lambda n: torch.optim.RMSprop(n.parameters(), alpha=0.8, momentum=0.5, eps=1e-7), lambda step: 2e-3
    )
    assert close(weights(job), ours, 1e-4)
    job = trained(project, "timm", "optimizer={timm: {opt: nadamw, weight_decay: 0.1}}")
    from timm.optim import create_optimizer_v2

    def theirs(network: nn.Module) -> torch.optim.Optimizer:
        return create_optimizer_v2(
            [{"params": list(network.parameters()), "weight_decay": 0.1}], opt="nadamw", lr=2e-3, weight_decay=0.1
        )

    assert close(weights(job), reference(job, theirs, lambda step: 2e-3), 1e-4)


def test_frozen_encoder(project: Path) -> None:
    job = trained(project, "frozen", "stages.warm.freeze_encoder=1", "stages.warm.epochs=2")

    def freeze(epoch: int, network: nn.Module) -> None:
        encoder = network.encoder
        encoder.requires_grad_(epoch >= 1)
        if epoch < 1:
            encoder.eval()

    assert close(weights(job), reference(job, adamw, lambda step: 2e-3, before_epoch=freeze))


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

    assert close(weights(job), reference(job, adamw, rate))


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
        seen.append({name: tensor.numpy().copy() for name, tensor in network.state_dict().items()})

    def rate(step: int) -> float:
        position = step / (4 * job.stages[0].steps - 1) * 2
        cycle = min(int(position + 1e-9), 1)
        return 2e-3 * (1 + np.cos(np.pi * (position - cycle))) / 2

    reference(job, adamw, rate, after_epoch=keep)
    for number, epoch in ((1, 1), (2, 3)):
        found = {k: v.numpy() for k, v in load_file(job.folder.weights(f"snapshot{number}")).items()}
        assert close(found, seen[epoch])
    assert not job.folder.weights("snapshot3").exists()


def test_swa_is_the_mean_of_its_epochs_with_its_own_statistics(project: Path) -> None:
    job = trained(project, "swa", "stages.warm.epochs=4", "swa={start: 0.5}")
    seen: list[dict[str, torch.Tensor]] = []
    reference(
        job,
        adamw,
        lambda step: 2e-3,
        after_epoch=lambda epoch, network: seen.append({k: v.clone() for k, v in network.state_dict().items()}),
    )
    network = build_network(job.experiment, job.competition, job.images)
    mean = {name: torch.stack([state[name].double() for state in seen[2:]]).mean(0) for name in seen[0]}
    network.load_state_dict({name: value.to(seen[0][name].dtype) for name, value in mean.items()})
    plan = job.stages[0]
    batches = Batches(job, plan, resolve(job.experiment.machine)).of(job.epochs, 0)
    torch.optim.swa_utils.update_bn([batch["image"] for batch in batches], network)
    found = {k: v.numpy() for k, v in load_file(job.folder.weights("swa")).items()}
    expected = {k: v.numpy() for k, v in network.state_dict().items() if "num_batches" not in k}
    assert close({k: found[k] for k in expected}, expected, 1e-4)


def test_best_keeps_the_best_epochs(project: Path) -> None:
    job = trained(project, "best", "stages.warm.epochs=4", "best=1", "predict.weights=[best]")
    scores = [line["score"] for line in lines(job)]
    assert len(scores) == 4
    best = int(np.argmax(scores))
    seen: list[dict[str, np.ndarray]] = []
    reference(
        job,
        adamw,
        lambda step: 2e-3,
        after_epoch=lambda epoch, network: seen.append({k: v.numpy().copy() for k, v in network.state_dict().items()}),
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
    from segfold.inference.stored import find_predictions

    cycles = ("stages.warm.epochs=4", "stages.warm.schedule={cosine: {cycles: 2}}", "stages.warm.snapshots=true")
    job = trained(project, "together", *cycles, "predict.weights=[snapshots]")
    import json

    done = json.loads(job.folder.done.read_text())
    stores = [
        find_predictions(done["weights"][name], job.folder, job.experiment, job.images, "oof", name)
        for name in ("snapshot1", "snapshot2")
    ]
    assert all(store is not None for store in stores)
    assert job.folder.predictions("model", "identity+hflip").exists() is False
    with pytest.raises(SegfoldError, match=r"predict\.weights names swa"):
        fold_job(project, "predict.weights=[swa]")
