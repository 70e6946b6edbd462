"""Runs that are left out of an ensemble, each with its reason."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from segfold.errors import SegfoldError
from segfold.observer import Observer


class LeftOut:
    """Tells an observer of each run that is left out, and remembers why."""

    def __init__(self, paths: Sequence[Path], observer: Observer) -> None:
        """
        Args:
            paths: that the runs are looked for among.
        """
        self.paths, self.observer = paths, observer
        self.reasons: list[str] = []

    def add(self, *reasons: str) -> None:
        """A line for each run."""
        for reason in reasons:
            self.reasons.append(reason)
            self.observer.say(reason)

    def nothing_left(self) -> SegfoldError:
        """What to say when no run is usable."""
        return no_usable_run(self.paths, self.reasons)


def no_usable_run(paths: Sequence[Path], reasons: Iterable[str]) -> SegfoldError:
    """What to say when no run among some paths is usable, with the first reasons."""
    given = ", ".join(map(str, paths[:3])) + (" …" if len(paths) > 3 else "")
    first = "; ".join(list(reasons)[:3])
    return SegfoldError(
        f"no usable run among {given}{f' ({first})' if first else ''}; train a fold with `make fold=0 train` first"
    )
