"""What a person sees of a fold's training: a bar on a terminal, a line an epoch elsewhere, and TensorBoard."""

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from segfold.training.curves import Curves
from segfold.training.remaining import TimeLeft

if TYPE_CHECKING:
    from segfold.training.checkpoint import Position
    from segfold.training.plan import FoldJob, StagePlan

LONG_HOURS = 6
ESTIMATE_AFTER_SECONDS = 20


def duration(seconds: float) -> str:
    """Seconds as people say them: ``45 s``, ``12 min``, ``3 h 05``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d}"


def _range(sizes: Iterable[int]) -> str:
    found = sorted(set(sizes))
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


class Progress:
    """Shows one fold's training; every method is safe to call whether or not anything is shown."""

    def __init__(self, shown: bool | str = "auto", console: Console | None = None, silent: bool = False) -> None:
        """
        Args:
            shown: whether to draw a bar; ``auto`` does on a terminal.
            silent: show and record nothing, as in the helpers of a process that speaks for all.
        """
        self.console = console or Console(stderr=False, soft_wrap=True, quiet=silent)
        self.bar_shown = not silent and (sys.stdout.isatty() if shown == "auto" else bool(shown))
        self._silent = silent
        self._bar: Bar | None = None
        self._task = TaskID(0)
        self._board: Curves | None = None
        self._score: float | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._board is not None:
            self._board.close()
        self._bar = self._board = None

    def start(self, job: "FoldJob", position: "Position") -> None:
        """Training begins, or goes on, at ``position``."""
        self.__exit__()  # of a first start, from which the training went back
        self._job = job
        self._began, self._steps_before = time.monotonic(), position.steps
        self._remaining = TimeLeft()
        self._warned = False
        if position.steps:
            self.say(f"fold {job.fold}: going on after {position.epochs} epochs ({position.samples:,} samples)")
        else:
            self.say(
                f"fold {job.fold}: {len(job.training_rows):,} images, {job.epochs} epochs, "
                f"{job.total_steps:,} steps of {_range(plan.batch_size for plan in job.stages)}"
            )
        self._board = None if self._silent else Curves(job.folder.path / "tensorboard", position.epochs)
        if self.bar_shown:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task(
                f"fold {job.fold}", total=job.total_steps, completed=position.steps, text=""
            )
            self._bar.start()

    def step(self, stage: "StagePlan", position: "Position", rate: float, means: dict[str, float]) -> None:
        """Refresh the bar within an epoch, about twice a second."""
        taken = position.steps - self._steps_before
        elapsed = time.monotonic() - self._began
        work = self._job.work_done(position.stage, position.epoch, position.step)
        self._remaining.step(time.monotonic(), work, position.stage, position.epochs)
        left = self._remaining.left(self._job.work - work)
        if not self._warned and left is not None and elapsed > ESTIMATE_AFTER_SECONDS:
            self._warned = True
            if left > LONG_HOURS * 3600:
                self.say(
                    f"this recipe will take about {duration(left)} more on this machine; configs/quick.yaml is the short one"
                )
        if self._bar is None:
            return
        speed = taken * stage.batch_size / max(elapsed, 1e-9)
        score = "" if self._score is None else f"  score {self._score:.4f}"
        until = "" if left is None else f"  {duration(left)} left"
        self._bar.update(
            self._task,
            completed=position.steps,
            description=f"fold {self._job.fold} {stage.name} {position.epoch + 1}/{stage.epochs}",
            text=f"loss {means['loss']:.4f}{score}  lr {rate:.1e}  {speed:.0f} img/s{until}",
        )

    def note(self, text: str) -> None:
        """Say on the bar what is being done between epochs."""
        if self._bar is not None:
            self._bar.update(self._task, text=text)

    def epoch(self, line: dict[str, Any]) -> None:
        """An epoch is done; ``line`` is its line of ``metrics.jsonl``."""
        self._score = line.get("score", self._score)
        if self._board is not None:
            points = {name: value for name, value in line.items() if isinstance(value, float)}
            self._board.add(line["epoch"], points)
        if self._bar is None:
            score = f"  score {line['score']:.4f}" if "score" in line else ""
            self.say(
                f"epoch {line['epoch']:3d}  {line['stage']:8s} lr {line['lr']:.1e}  loss {line['loss']:.4f}{score}"
                f"  {line['images_per_second']:.1f} img/s"
            )

    def predicting(self, done: int, total: int) -> None:
        self.note(f"predicting {done}/{total}")

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)
