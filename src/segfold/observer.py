"""What happens is told to an observer: messages, and how far long work has come.

The command line shows it; where nobody looks, :data:``SILENT`` takes no notice. All methods are called from the process
and the thread that does the work, and none may change it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FoldWork:
    """What a fold's training takes, and how much of it is done when it begins or goes on."""

    fold: int
    images: int
    epochs: int
    steps: int
    batch_sizes: tuple[int, ...]
    """Images a step, of each stage."""
    work: float
    """Of the whole training, in pixels through the network."""
    epochs_done: int
    steps_done: int
    samples_done: int


@dataclass(frozen=True)
class Moment:
    """Where a training is, right after a step."""

    stage: str
    stage_number: int
    epoch: int
    """Epochs done within the stage."""
    stage_epochs: int
    epochs_done: int
    """Over all stages."""
    steps_done: int
    batch_size: int
    work: float
    """Done, in the unit of ``FoldWork.work``."""
    rate: float
    """The learning rate."""


class Observer:
    """Takes no notice; what shows something overrides what it shows."""

    def say(self, text: str) -> None:
        """A message of one line."""

    def note(self, text: str) -> None:
        """What is being done at the moment."""

    def training_begins(self, work: FoldWork) -> None:
        """A fold's training begins, or goes on."""

    def step(self, moment: Moment, means: Mapping[str, float]) -> None:
        """Steps are taken; called about twice a second with the means of the loss and its terms in this epoch."""

    def epoch(self, line: Mapping[str, Any]) -> None:
        """An epoch is done; ``line`` is its line of ``metrics.jsonl``."""

    def predicting(self, title: str, done: int, total: int) -> None:
        """Some of the images, or of the tiles, of a prediction are done."""

    def waiting(self, text: str) -> None:
        """What is waited for at the moment; nothing any more where the text is empty."""


SILENT = Observer()
