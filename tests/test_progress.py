"""What a training shows: time left, the bar, curves, and means of losses."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segfold.stopping import Stopping
from segfold.training.learner import Totals
from small_project import fold_job, lines, make_project, train, weights


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def plain(project: Path) -> dict[str, np.ndarray]:
    """Weights of the undisturbed run."""
    job = fold_job(project, run="plain")
    train(job)
    return weights(job)


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

    from segfold.cli.progress import Progress
    from segfold.observer import Moment
    from segfold.training import loop, train_fold

    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    job = fold_job(project, run="bar")
    with pytest.MonkeyPatch.context() as patch, Progress(True, console) as progress:
        patch.setattr(loop, "REFRESH_SECONDS", 0.0)
        train_fold(job, progress, Stopping())
        bar = progress._bar
        assert bar is not None
        for step in range(8):
            work = job.work_done(1, 0, step)
            progress.step(Moment("lovasz", 1, 0, 1, 2, 4 + step, 4, work, 3e-4), {"loss": 0.5})
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


def test_a_terminal_shows_what_is_waited_for() -> None:
    import io

    from rich.console import Console

    from segfold.cli.progress import Progress

    for shown in (True, False):
        console = Console(file=io.StringIO(), force_terminal=True, width=200)
        with Progress(shown, console) as progress:
            for text in ("waiting, 1 s", "waiting, 2 s [bold]", "", ""):
                progress.waiting(text)
            progress.waiting("to the end")
        written = console.file.getvalue()  # type: ignore[attr-defined]
        assert ("waiting, 2 s [bold]" in written and "to the end" in written) is shown and (written == "") is not shown
        assert written.count("\x1b[?25l") == written.count("\x1b[?25h")  # the cursor is back
