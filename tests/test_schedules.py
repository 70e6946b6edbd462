"""Schedules against torch's schedulers and hand-computed values; early stopping against its definition."""

import math
import random
from collections.abc import Sequence

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from segfold.errors import SegfoldError
from segfold.optim import (
    SCHEDULES,
    build_schedule,
    cycle_count,
    needs_scores,
    stopped_early,
    with_warmup,
)
from segfold.training.plan import share_done


def torch_optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)


@pytest.mark.parametrize(("done", "factor"), [(0, 1.0), (0.25, 0.8535534), (0.5, 0.5), (1, 0.0)])
def test_cosine(done: float, factor: float) -> None:
    assert build_schedule("cosine")(done) == pytest.approx(factor, abs=1e-7)


def test_cosine_ends_where_it_is_told_to() -> None:
    assert build_schedule("cosine", end=0.1)(1.0) == pytest.approx(0.1)
    assert build_schedule("cosine", end=0.1)(0.5) == pytest.approx(0.55)


def test_one_cycle_of_cosine_and_onecycle_have_the_bits_that_they_always_had() -> None:
    # The sum of a rounded share and a rounded peak would be as good a schedule, but not resume older runs exactly.
    for step in range(97):
        done = step / 96
        assert build_schedule("cosine", end=0.1)(done) == 0.1 + (1.0 - 0.1) * (1 + math.cos(math.pi * done)) / 2
        rising = 1.0 + (0.04 - 1.0) * (1 + math.cos(math.pi * (done / 0.3))) / 2
        falling = 1e-4 + (1.0 - 1e-4) * (1 + math.cos(math.pi * ((done - 0.3) / 0.7))) / 2
        assert build_schedule("onecycle")(done) == (rising if done < 0.3 else falling)


@pytest.mark.parametrize("end", [0.0, 0.1])
def test_cosine_with_restarts_matches_torch(end: float) -> None:
    cycles, length = 3, 7
    optimizer = torch_optimizer()
    theirs = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=length, eta_min=end)
    ours = build_schedule("cosine", end=end, cycles=cycles)
    for step in range(cycles * length):
        assert ours(step / (cycles * length)) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()
    assert ours(1.0) == pytest.approx(end)


@pytest.mark.parametrize("power", [0.9, 2.0])
def test_poly_matches_torch(power: float) -> None:
    steps = 40
    optimizer = torch_optimizer()
    theirs = lr_scheduler.PolynomialLR(optimizer, total_iters=steps, power=power)
    ours = build_schedule("poly", power=power)
    for step in range(steps + 1):
        assert ours(step / steps) == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        theirs.step()


def test_poly_of_the_second_place() -> None:
    # T 1c: poly 0.9, restarted each 50 of 200 epochs with halving.
    schedule = build_schedule("poly", cycles=4, decay=0.5)
    assert [schedule(epoch / 200) for epoch in (0, 25, 50, 100, 150, 175)] == pytest.approx(
        [1, 0.5**0.9, 0.5, 0.25, 0.125, 0.125 * 0.5**0.9]
    )
    assert schedule(1.0) == 0.0
    assert build_schedule("poly", power=1.0, end=0.2)(0.5) == pytest.approx(0.6)


@pytest.mark.parametrize("drops", [None, 1, 13])
def test_exponential_matches_torch(drops: int | None) -> None:
    """×0.995 an epoch as FC-DenseNet, and ÷1.25 at intervals."""
    steps = 280
    gamma = 0.995 if drops is None else 1 / 1.25
    optimizer = torch_optimizer()
    theirs = (
        lr_scheduler.ExponentialLR(optimizer, gamma)
        if drops is None
        else lr_scheduler.StepLR(optimizer, steps // (drops + 1), gamma)
    )
    ours = build_schedule("exponential", end=gamma ** (drops or steps), drops=drops)
    for step in range(steps):
        assert ours(step / steps) == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        theirs.step()
    assert ours(1.0) == pytest.approx(gamma ** (drops or steps))


@pytest.mark.parametrize(("every", "steps"), [(9_000, 20_000), (10_000, 40_000), (600, 3_000)])
def test_step_falls_after_so_many_steps_each(every: int, steps: int) -> None:
    """The first two are DeconvNet's; the first one's last fall comes 2,000 steps before the end."""
    ours = build_schedule("step", every=every / steps, factor=0.1)
    rates = [ours(share_done(step // 1_000, steps // 1_000, 1_000, step % 1_000)) for step in range(steps)]
    assert rates == pytest.approx([0.1 ** (step // every) for step in range(steps)])


@pytest.mark.parametrize("name", ["cosine", "poly"])
def test_a_cycle_begins_at_its_boundary(name: str) -> None:
    # 49 · (1 / 49) is below 1 in floating point.
    for cycles in range(1, 60):
        schedule = build_schedule(name, cycles=cycles, decay=0.9)
        for cycle in range(cycles):
            assert schedule(cycle / cycles) == pytest.approx(0.9**cycle)
        assert schedule(1.0) == pytest.approx(0.0, abs=1e-12)


def test_cosine_cycles_decay_from_peak_to_end() -> None:
    schedule = build_schedule("cosine", end=0.1, cycles=2, decay=0.5)
    assert [schedule(done) for done in (0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx([1, 0.55, 0.5, 0.3, 0.1])


def test_onecycle_goes_up_to_the_last_step_or_down_from_the_first() -> None:
    only_up, only_down = build_schedule("onecycle", warmup=1, start=0.2), build_schedule("onecycle", warmup=0, end=0.2)
    for share, height in ((0, 0.0), (0.25, 0.5 - 0.5**1.5), (0.5, 0.5), (0.75, 0.5 + 0.5**1.5), (1, 1.0)):
        assert only_up(share) == pytest.approx(0.2 + 0.8 * height)
        assert only_down(share) == pytest.approx(1 - 0.8 * height)
    # A resumed run may ask for the last step again, and one of a single step begins at its first.
    rates = [0.1 * only_up(share_done(0, 1, steps, steps - 1)) for steps in (1, 2)]
    assert only_up(1.0) == 1 and rates == pytest.approx([0.02, 0.1])


@pytest.mark.parametrize("epochs", [4, 8])
def test_the_steps_of_an_epoch_restart_with_it(epochs: int) -> None:
    # 4 cycles in epochs of 10 steps: the rate is highest at the first step of a cycle's first epoch.
    schedule = build_schedule("cosine", cycles=4)
    rates = [schedule(share_done(epoch, epochs, 10, step)) for epoch in range(epochs) for step in range(10)]
    peaks = [step for step in range(1, len(rates)) if rates[step] > rates[step - 1]]
    assert peaks == [cycle * epochs // 4 * 10 for cycle in (1, 2, 3)]


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("cosine", {"cycles": 0}, r"^schedule\.cosine\.cycles: Input should be .*, found "),
        ("poly", {"decay": 0.0}, r"^schedule\.poly\.decay: Input should be .*, found "),
        ("poly", {"power": -1.0}, r"^schedule\.poly\.power: Input should be .*, found "),
        ("cosine", {"end": 0.3, "cycles": 3, "decay": 0.5}, "would rise"),
        ("plateau", {"factor": 1.0}, r"^schedule\.plateau\.factor: Input should be .*, found "),
        ("plateau", {"patience": -1}, r"^schedule\.plateau\.patience: Input should be .*, found "),
        ("exponential", {"end": 0.0}, r"^schedule\.exponential\.end: Input should be .*, found "),
        ("exponential", {"end": 2.0}, r"^schedule\.exponential\.end: Input should be .*, found "),
        ("exponential", {"drops": 0}, r"^schedule\.exponential\.drops: Input should be .*, found "),
        ("step", {"every": 0.0}, r"^schedule\.step\.every: Input should be .*, found "),
        ("step", {"factor": 1.0}, r"^schedule\.step\.factor: Input should be .*, found "),
        ("noam", {"warmup": 0.0}, r"^schedule\.noam\.warmup: Input should be .*, found "),
        ("onecycle", {"warmup": 1.5}, r"^schedule\.onecycle\.warmup: Input should be .*, found "),
    ],
)
def test_bad_settings_are_refused(name: str, settings: dict[str, float], words: str) -> None:
    with pytest.raises(SegfoldError, match=words):
        build_schedule(name, **settings)


def test_onecycle_rises_then_falls() -> None:
    schedule = build_schedule("onecycle", warmup=0.25, start=0.2, end=0.0)
    assert [schedule(done) for done in (0, 0.125, 0.25, 0.625, 1.0)] == pytest.approx([0.2, 0.6, 1.0, 0.5, 0.0])


def test_onecycle_matches_torch() -> None:
    optimizer = torch_optimizer()
    steps, lr = 50, 0.3
    theirs = lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=lr,
        total_steps=steps,
        pct_start=0.3,
        div_factor=25,
        final_div_factor=1e4 / 25,
        cycle_momentum=False,
    )
    # torch's peak lies at step 0.3·50 - 1 of 49; the share of steps that is done is ours over the same steps.
    ours = build_schedule("onecycle", warmup=(0.3 * steps - 1) / (steps - 1))
    for step in range(steps):
        assert lr * ours(share_done(0, 1, steps, step)) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        if step < steps - 1:
            theirs.step()


def score_series(seed: int) -> list[float]:
    """Scores that rise, stall, jitter by less than a threshold, repeat and fall."""
    draw = random.Random(seed)
    scores = [0.5]
    for _ in range(60):
        scores.append(scores[-1] + draw.choice([0.02, 0.005, 0.0, 0.0, -0.01, -0.03, draw.uniform(-2e-3, 2e-3)]))
    return scores


@pytest.mark.parametrize("seed", range(20))
def test_plateau_matches_torch(seed: int) -> None:
    draw = random.Random(1000 + seed)
    settings = {
        "factor": draw.choice([0.25, 0.5, 0.9]),
        "patience": draw.randrange(5),
        "minimum": draw.choice([0.0, 0.3]),
        "threshold": draw.choice([0.0, 1e-4, 1e-2]),
    }
    optimizer = torch_optimizer()
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode="max",
        threshold_mode="abs",
        factor=settings["factor"],
        patience=settings["patience"],
        min_lr=settings["minimum"],
        threshold=settings["threshold"],
        eps=0.0,
    )
    ours = build_schedule("plateau", **settings)
    scores = score_series(seed)
    rates = [ours(0.0)]
    for count, score in enumerate(scores, start=1):
        theirs.step(score)
        rates.append(ours(count / len(scores), scores[:count]))
        assert rates[-1] == optimizer.param_groups[0]["lr"]
    assert rates[0] == 1.0 and rates[-1] < 1.0


def test_plateau_by_hand() -> None:
    schedule = build_schedule("plateau", factor=0.5, patience=2, minimum=0.2)
    flat = [0.8] * 20
    assert [schedule(0.5, flat[:count]) for count in (0, 1, 3, 4, 6, 7, 10, 13)] == [1, 1, 1, 0.5, 0.5, 0.25, 0.2, 0.2]


def test_noam_of_the_ninth_place() -> None:
    # T 1c: up for 10 of 250 epochs, then with the inverse square root.
    schedule = build_schedule("noam")
    assert [schedule(epoch / 250) for epoch in (0, 5, 10, 40, 250)] == pytest.approx([0, 0.5, 1, 0.5, 0.2])
    assert build_schedule("noam", warmup=0.25)(1.0) == pytest.approx(0.5)


def test_constant() -> None:
    assert [build_schedule("constant")(done) for done in (0.0, 0.3, 1.0)] == [1.0, 1.0, 1.0]


def test_only_plateau_reads_scores() -> None:
    worse = [1.0 - 0.01 * count for count in range(40)]
    assert {name for name in SCHEDULES if build_schedule(name)(0.4) != build_schedule(name)(0.4, worse)} == {"plateau"}
    assert [name for name in SCHEDULES if needs_scores(name)] == ["plateau"]


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_warmup_goes_before_any_schedule(name: str) -> None:
    schedule, scores = build_schedule(name), [0.5] * 30
    warm = with_warmup(schedule, 0.2, start=0.1)
    assert [warm(done, scores) for done in (0, 0.1, 0.15)] == pytest.approx([0.1, 0.55, 0.775])
    for done in (0.2, 0.4, 1.0):
        assert warm(done, scores) == schedule((done - 0.2) / 0.8, scores)
    assert with_warmup(schedule, 0.0) is schedule


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5])
def test_warmup_leaves_something_to_the_schedule(share: float) -> None:
    with pytest.raises(SegfoldError, match="warm-up"):
        with_warmup(build_schedule("cosine"), share)


def test_cycles_are_counted() -> None:
    assert cycle_count("cosine", {"cycles": 4}) == 4
    assert cycle_count("poly", {"cycles": 3, "power": 1.0}) == 3
    assert cycle_count("cosine", {}) == cycle_count("onecycle", {}) == cycle_count("plateau", {"patience": 3}) == 1


def test_rates_run_through_the_epochs_of_a_stage() -> None:
    cosine = build_schedule("cosine")
    whole = [cosine(share_done(0, 1, 12, step)) for step in range(12)]
    parts = [cosine(share_done(epoch, 3, 4, step)) for epoch in range(3) for step in range(4)]
    assert parts == pytest.approx(whole)
    assert parts[0] == 1 and parts[-1] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("scores", "stops"),
    [
        ([], False),
        ([0.5], False),
        ([0.5, 0.4], False),
        ([0.5, 0.4, 0.5], True),
        ([0.5, 0.4, 0.6], False),
        ([0.5, 0.4, 0.6, 0.6, 0.1], True),
        ([math.nan, math.nan], True),
    ],
)
def test_early_stopping(scores: Sequence[float], stops: bool) -> None:
    assert stopped_early(scores, patience=2) is stops


def test_early_stopping_waits_for_its_patience() -> None:
    scores = score_series(3)
    best = scores.index(max(scores))
    assert [stopped_early(scores, patience) for patience in (len(scores) - 1 - best, len(scores) - best)] == [
        True,
        False,
    ]
