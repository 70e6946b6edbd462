"""Time left: known paces, pauses between epochs, and compiling, which must not count as work."""

import pytest

from segfold.cli.remaining import LEAST, TimeLeft


class Clock:
    """A training whose every second is known."""

    def __init__(self) -> None:
        self.remaining = TimeLeft()
        self.now = self.work = 0.0
        self.stage = self.epoch = 0

    def steps(self, count: int, seconds: float, work: float = 1.0) -> None:
        for _ in range(count):
            self.now += seconds
            self.work += work
            self.remaining.step(self.now, self.work, self.stage, self.epoch)

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.epoch += 1


def test_even_steps() -> None:
    clock = Clock()
    clock.steps(LEAST, 2.0)
    assert clock.remaining.left(10) is None  # one interval less than moments
    clock.steps(1, 2.0)
    assert clock.remaining.left(10) == pytest.approx(20)


def test_pauses_between_epochs_count() -> None:
    """Ten steps of a second and a pause of five: 1.5 s a step."""
    clock = Clock()
    for _ in range(20):
        clock.steps(10, 1.0)
        clock.pause(5.0)
    assert clock.remaining.left(100) == pytest.approx(150, rel=0.02)


def test_epochs_of_a_single_step() -> None:
    clock = Clock()
    for _ in range(20):
        clock.steps(1, 1.0)
        clock.pause(0.5)
    assert clock.remaining.left(100) == pytest.approx(150)


def test_compiling_is_no_work() -> None:
    """Minutes before the first step, and in the middle: a run of 25 minutes was said to take 121 hours."""
    clock = Clock()
    clock.steps(1, 290.0)
    clock.steps(10, 1.0)
    assert clock.remaining.left(1500) == pytest.approx(1500)
    clock.pause(3.0)
    clock.steps(1, 240.0)  # the encoder thaws
    clock.steps(10, 1.0)
    assert clock.remaining.left(1500) < 2000
    for _ in range(3):
        clock.pause(3.0)
        clock.steps(10, 1.0)
    assert clock.remaining.left(1500) == pytest.approx(1500 * 1.3, rel=0.1)


def test_a_new_stage_compiles_and_has_work_of_its_own() -> None:
    clock = Clock()
    clock.steps(20, 1.0)
    clock.pause(2.0)
    clock.stage += 1
    clock.steps(1, 300.0, work=4.0)
    clock.steps(20, 4.0, work=4.0)
    assert clock.remaining.left(100) == pytest.approx(100)
