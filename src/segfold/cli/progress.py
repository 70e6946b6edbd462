"""What a person sees of long work: a bar on a terminal, a line an epoch elsewhere."""

import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.status import Status

from segfold.cli.remaining import TimeLeft
from segfold.errors import one_line
from segfold.observer import FoldWork, Moment, Observer

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


class Progress(Observer):
    """Shows the work of one verb on a terminal, or its messages elsewhere; every method is safe to call either way."""

    def __init__(self, shown: bool | str = "auto", console: Console | None = None, silent: bool = False) -> None:
        """
        Args:
            shown: whether to draw a bar; ``auto`` does on a terminal.
            silent: show nothing, as in processes beside rank 0.
        """
        self.console = console or Console(stderr=False, soft_wrap=True, quiet=silent)
        self.bar_shown = not silent and (sys.stdout.isatty() if shown == "auto" else bool(shown))
        self._bar: Bar | None = None
        self._task = TaskID(0)
        self._prediction: tuple[str, Bar, TaskID] | None = None
        self._score: float | None = None
        self._status: Status | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_prediction()
        self.waiting("")
        if self._bar is not None:
            self._bar.stop()
        self._bar = None

    def training_begins(self, work: FoldWork) -> None:
        self.__exit__()  # of a first start, from which the training went back
        self._work = work
        self._began = time.monotonic()
        self._remaining = TimeLeft()
        self._warned = False
        if work.steps_done:
            self.say(f"fold {work.fold}: going on after {work.epochs_done} epochs ({work.samples_done:,} samples)")
        else:
            self.say(
                f"fold {work.fold}: {work.images:,} images, {work.epochs} epochs, "
                f"{work.steps:,} steps of {_range(work.batch_sizes)}"
            )
        if self.bar_shown:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task(f"fold {work.fold}", total=work.steps, completed=work.steps_done, text="")
            self._bar.start()

    def step(self, moment: Moment, means: Mapping[str, float]) -> None:
        taken = moment.steps_done - self._work.steps_done
        elapsed = time.monotonic() - self._began
        self._remaining.step(time.monotonic(), moment.work, moment.stage_number, moment.epochs_done)
        left = self._remaining.left(self._work.work - moment.work)
        if not self._warned and left is not None and elapsed > ESTIMATE_AFTER_SECONDS:
            self._warned = True
            if left > LONG_HOURS * 3600:
                self.say(
                    f"this recipe will take about {duration(left)} more on this machine; configs/quick.yaml is the short one"
                )
        if self._bar is None:
            return
        speed = taken * moment.batch_size / max(elapsed, 1e-9)
        score = "" if self._score is None else f"  score {self._score:.4f}"
        until = "" if left is None else f"  {duration(left)} left"
        self._bar.update(
            self._task,
            completed=moment.steps_done,
            description=f"fold {self._work.fold} {moment.stage} {moment.epoch + 1}/{moment.stage_epochs}",
            text=f"loss {means['loss']:.4f}{score}  lr {moment.rate:.1e}  {speed:.0f} img/s{until}",
        )

    def note(self, text: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, text=text)

    def epoch(self, line: Mapping[str, Any]) -> None:
        self._score = line.get("score", self._score)
        if self._bar is None:
            score = f"  score {line['score']:.4f}" if "score" in line else ""
            self.say(
                f"epoch {line['epoch']:3d}  {line['stage']:8s} lr {line['lr']:.1e}  loss {line['loss']:.4f}{score}"
                f"  {line['images_per_second']:.1f} img/s"
            )

    def predicting(self, title: str, done: int, total: int) -> None:
        if self._bar is not None:  # of the training, at whose end this is
            self.note(f"predicting {done}/{total}")
        elif self.bar_shown:
            if self._prediction is None or self._prediction[0] != title:
                self._end_prediction()
                bar = Bar(console=self.console, transient=True)
                self._prediction = title, bar, bar.add_task(title, total=total)
                bar.start()
            _, bar, task = self._prediction
            bar.update(task, completed=done)
            if done == total:
                self._end_prediction()

    def waiting(self, text: str) -> None:
        if not text:
            if self._status is not None:
                self._status.stop()
            self._status = None
        elif self._status is not None:
            self._status.update(escape(one_line(text)))
        elif self.bar_shown:
            self._status = self.console.status(escape(one_line(text)))
            self._status.start()

    def _end_prediction(self) -> None:
        if self._prediction is not None:
            self._prediction[1].stop()
            self._prediction = None

    def say(self, text: str) -> None:
        self.console.print(one_line(text), highlight=False, markup=False)
