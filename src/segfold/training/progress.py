"""What a person sees of a fold's training: a bar on a terminal, a line an epoch elsewhere, and TensorBoard."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from segfold.config import Stage
    from segfold.training.checkpoint import Position
    from segfold.training.job import FoldJob

LONG_HOURS = 6
ESTIMATE_AFTER_SECONDS = 20


def duration(seconds: float) -> str:
    """Seconds as people say them: ``45 s``, ``12 min``, ``3 h 05``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d}"


class Progress:
    """Shows one fold's training; every method is safe to call whether or not anything is shown."""

    def __init__(self, shown: bool | str = "auto", console: Console | None = None) -> None:
        self.console = console or Console(stderr=False, soft_wrap=True)
        self.bar_shown = sys.stdout.isatty() if shown == "auto" else bool(shown)
        self._bar: Bar | None = None
        self._task = TaskID(0)
        self._board: Any = None
        self._score: float | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._board is not None:
            self._board.close()

    def start(self, job: "FoldJob", position: "Position") -> None:
        """Training begins or goes on at ``position``."""
        self._job = job
        self._began, self._steps_before = time.monotonic(), position.steps
        self._work_before = job.work_done(position.stage, position.epoch, position.step)
        self._warned = False
        if position.steps:
            self.say(f"fold {job.fold}: going on after {position.epochs} epochs ({position.samples:,} samples)")
        else:
            self.say(
                f"fold {job.fold}: {len(job.training_rows):,} images, {sum(s.epochs for _, s in job.stages)} epochs "
                f"of {job.steps_per_epoch} steps of {job.batch_size}"
            )
        self._board = _tensorboard(job.folder.path / "tensorboard", position.epochs)
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

    def step(self, stage: str, settings: "Stage", position: "Position", rate: float, means: dict[str, float]) -> None:
        """Refresh the bar within an epoch, about twice a second."""
        taken = position.steps - self._steps_before
        elapsed = time.monotonic() - self._began
        work = self._job.work_done(position.stage, position.epoch, position.step)
        left = (sum(self._job.work) - work) * elapsed / max(work - self._work_before, 1e-9)
        if not self._warned and elapsed > ESTIMATE_AFTER_SECONDS:
            self._warned = True
            if left > LONG_HOURS * 3600:
                self.say(
                    f"this recipe will take about {duration(left)} more on this machine; configs/quick.yaml is the short one"
                )
        if self._bar is None:
            return
        speed = taken * self._job.batch_size / max(elapsed, 1e-9)
        score = "" if self._score is None else f"  score {self._score:.4f}"
        self._bar.update(
            self._task,
            completed=position.steps,
            description=f"fold {self._job.fold} {stage} {position.epoch + 1}/{settings.epochs}",
            text=f"loss {means['loss']:.4f}{score}  lr {rate:.1e}  {speed:.0f} img/s  {duration(left)} left",
        )

    def note(self, text: str) -> None:
        """Say on the bar what is being done between epochs."""
        if self._bar is not None:
            self._bar.update(self._task, text=text)

    def epoch(self, line: dict[str, Any]) -> None:
        """An epoch is done; ``line`` is its line of ``metrics.jsonl``."""
        self._score = line.get("score", self._score)
        if self._board is not None:
            for name, value in line.items():
                if isinstance(value, float):
                    self._board.add_scalar(name, value, line["epoch"])
            self._board.flush()
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


def _tensorboard(folder: Path, epochs: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=epochs + 1 if epochs else None)
