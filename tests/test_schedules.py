"""Schedules against hand-computed values, and optimisers against plain references."""

import math

import pytest
import torch
from torch import nn

from segfold.optim import OPTIMIZERS, build_optimizer, build_schedule
from segfold.training.engine import stage_rates


@pytest.mark.parametrize(("done", "factor"), [(0, 1.0), (0.25, 0.8535534), (0.5, 0.5), (1, 0.0)])
def test_cosine(done: float, factor: float) -> None:
    assert build_schedule("cosine")(done) == pytest.approx(factor, abs=1e-7)


def test_cosine_ends_where_it_is_told_to() -> None:
    assert build_schedule("cosine", end=0.1)(1.0) == pytest.approx(0.1)
    assert build_schedule("cosine", end=0.1)(0.5) == pytest.approx(0.55)


def test_onecycle_rises_then_falls() -> None:
    schedule = build_schedule("onecycle", warmup=0.25, start=0.2, end=0.0)
    assert [schedule(done) for done in (0, 0.125, 0.25, 0.625, 1.0)] == pytest.approx([0.2, 0.6, 1.0, 0.5, 0.0])


def test_onecycle_matches_torch() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    steps, lr = 50, 0.3
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=lr,
        total_steps=steps,
        pct_start=0.3,
        div_factor=25,
        final_div_factor=1e4 / 25,
        cycle_momentum=False,
    )
    # torch's peak lies at step 0.3·50 - 1 of 49; the share of steps that is done is ours over the same steps.
    ours = stage_rates(build_schedule("onecycle", warmup=(0.3 * steps - 1) / (steps - 1)), lr, 0, 1, steps)
    for step in range(steps):
        assert ours(step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        if step < steps - 1:
            theirs.step()


def test_rates_run_through_the_epochs_of_a_stage() -> None:
    whole = stage_rates(build_schedule("cosine"), 0.5, 0, 1, 12)
    parts = [stage_rates(build_schedule("cosine"), 0.5, epoch, 3, 4)(step) for epoch in range(3) for step in range(4)]
    assert parts == pytest.approx([whole(step) for step in range(12)])
    assert parts[0] == 0.5 and parts[-1] == pytest.approx(0.0)


def train(name: str, rate: float, **settings: float) -> torch.Tensor:
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = build_optimizer(name, [weight], **settings)
    for step in range(3):
        for group in optimizer.param_groups:
            group["lr"] = rate
        (weight**2 * torch.tensor([1.0, 3.0]) * (step + 1)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return weight.detach()


def gradient(weight: list[float], step: int) -> list[float]:
    return [2 * w * scale * (step + 1) for w, scale in zip(weight, (1.0, 3.0))]


@pytest.mark.parametrize(("decay", "momentum", "nesterov"), [(0.0, 0.0, False), (0.1, 0.9, False), (0.0, 0.9, True)])
def test_sgd(decay: float, momentum: float, nesterov: bool) -> None:
    weight, speed = [1.0, -2.0], [0.0, 0.0]
    for step in range(3):
        slope = [g + decay * w for g, w in zip(gradient(weight, step), weight)]
        speed = [momentum * v + g if step else g for v, g in zip(speed, slope)]
        move = [g + momentum * v for g, v in zip(slope, speed)] if nesterov else speed
        weight = [w - 0.01 * m for w, m in zip(weight, move)]
    ours = train("sgd", 0.01, weight_decay=decay, momentum=momentum, nesterov=nesterov)
    assert ours.tolist() == pytest.approx(weight, rel=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw(decay: float) -> None:
    weight, mean, square = [1.0, -2.0], [0.0, 0.0], [0.0, 0.0]
    for step in range(3):
        slope = gradient(weight, step)
        mean = [0.8 * m + 0.2 * g for m, g in zip(mean, slope)]
        square = [0.95 * v + 0.05 * g * g for v, g in zip(square, slope)]
        weight = [
            w * (1 - 0.01 * decay)
            - 0.01 * (m / (1 - 0.8 ** (step + 1))) / (math.sqrt(v / (1 - 0.95 ** (step + 1))) + 1e-8)
            for w, m, v in zip(weight, mean, square)
        ]
    assert train("adamw", 0.01, weight_decay=decay, beta1=0.8, beta2=0.95).tolist() == pytest.approx(weight, rel=1e-5)


def test_every_optimiser_takes_its_rate_from_outside() -> None:
    for name in OPTIMIZERS:
        assert torch.equal(train(name, 0.0, weight_decay=0.0), torch.tensor([1.0, -2.0]))
