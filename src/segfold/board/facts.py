"""What the run folders say, whatever state they are in: a folder that is unfinished or damaged has a reason, and no error.

A run is ``finished`` when all folds of its recipe are; ``partial`` when some are and nobody trains the others;
``training`` when a fold is trained at this moment; ``stopped`` when one has begun and none is finished; ``failed`` when the
last training of a fold ended in an error; ``damaged`` when something cannot be read or does not belong together; ``empty``
when no fold has begun.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from segfold.board.fold_facts import FoldFacts, number, read_fold_facts, tried
from segfold.board.run_folders import run_folders
from segfold.competition import Competition, load_competition
from segfold.config import dotted, dump
from segfold.errors import SegfoldError
from segfold.files import read_json
from segfold.runs.folder import RunFolder
from segfold.runs.identity import disagreement
from segfold.runs.record import fold_count, read_record, read_run
from segfold.settings import Experiment

__all__ = ["FoldFacts", "RunFacts", "read_facts", "read_run_facts"]

RunState = Literal["finished", "partial", "training", "stopped", "failed", "damaged", "empty"]


@dataclass(frozen=True)
class RunFacts:
    """A run.

    Attributes:
        competition: as the run recorded it, or as its file is now; None where neither can be read.
        experiment: its settings; None where they cannot be read.
        folds: those that have begun, by number.
        reason: one line; None where all is finished and whole.
        comparable: whether the finished folds belong together, so that they have a mean.
        environment: what ``environment.json`` holds, empty where it cannot be read.
        soup: of which runs the weights are means; None where they were trained.
        begun: UTC, ISO 8601; from the times of its files, None where there are none.
        ended: when something was last written.
    """

    folder: RunFolder
    competition: Competition | None
    experiment: Experiment | None
    folds: list[FoldFacts]
    state: RunState
    reason: str | None
    comparable: bool
    environment: Mapping[str, Any]
    soup: list[str] | None
    begun: str | None
    ended: str | None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def cv(self) -> dict[str, Any] | None:
        """Mean over the finished folds with its standard error over the folds; of one fold, that over its images.

        Six decimals, as the scores of folds have.
        """
        done = [fold.done for fold in self.folds if fold.done is not None]
        scores = [score for each in done if (score := number(each.get("score"))) is not None]
        if not self.comparable or not scores:
            return None
        count = len(scores)
        mean = math.fsum(scores) / count
        if count == 1:
            error = number(done[0].get("standard_error"))
        else:
            error = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / (count - 1) / count)
        return {"mean": round(mean, 6), "standard_error": None if error is None else round(error, 6), "folds": count}

    @property
    def competition_name(self) -> str | None:
        if self.competition is not None:
            return self.competition.name
        named = [fold.done["competition"] for fold in self.folds if fold.done is not None]
        return named[0] if named else None

    def record(self) -> dict[str, Any]:
        """The run as the board has it, without the leaderboard's scores and the names of scripts."""
        folds = [fold.record() for fold in self.folds]
        done = next((fold.done for fold in self.folds if fold.done is not None), {})
        paced = [(each["samples"], each["seconds"]) for each in folds if each["samples"] and each["seconds"]]
        seconds = [each["seconds"] for each in folds if each["seconds"] is not None]
        device = self.environment.get("device", done.get("device"))
        return {
            "name": self.name,
            "competition": self.competition_name,
            "state": self.state,
            "reason": self.reason,
            "folds": folds,
            "cv": self.cv,
            "seconds": math.fsum(seconds) if seconds else None,
            "images_per_second": sum(each for each, _ in paced) / math.fsum(s for _, s in paced) if paced else None,
            "parameters": next((each["parameters"] for each in folds if each["parameters"] is not None), None),
            "settings": {} if self.experiment is None else dict(dotted(dump(self.experiment))),
            "device": _text(device),
            "precision": _text(done.get("precision")),
            "commit": _commit(self.environment),
            "begun": self.begun,
            "ended": self.ended,
            "soup": self.soup,
        }


def read_facts(home: Path) -> list[RunFacts]:
    """What all runs in ``home/runs`` say, by name. Never raises for what is in them."""
    return [read_run_facts(folder, home) for folder in run_folders(home)]


def read_run_facts(folder: RunFolder, home: Path | None = None) -> RunFacts:
    """What a run's folder says. Never raises.

    Args:
        home: the working folder, where the competition's file is looked for if the run has not recorded it; None for the
            one that the run lies in.
    """
    problems: list[str] = []
    home = folder.path.parent.parent if home is None else home
    experiment = tried(problems, lambda: read_run(folder)) if _is_file(folder.config_path, problems) else None
    competition = tried(problems, lambda: _competition(folder, experiment, home))
    environment = tried(problems, lambda: _mapping(folder.environment_path)) or {}
    soup = tried(problems, lambda: _soup(folder))
    ends = None if experiment is None else _epochs_of(experiment)
    found = [read_fold_facts(fold, ends) for fold in tried(problems, folder.folds) or []]
    folds = [fold for fold in found if fold is not None]
    done = {fold.number: fold.done for fold in folds if fold.done is not None}
    alike = tried(problems, lambda: _alike(done, problems)) or False
    count = None
    if experiment is not None and competition is not None:
        count = tried(problems, lambda: fold_count(experiment, competition))
    state, reasons = _state(folds, count)
    for fold in folds:
        if fold.state == "damaged" and fold.reason is not None:
            problems.append(fold.reason)
    if problems:
        state, reasons = "damaged", [*problems, *(reasons if state == "training" else [])]
    reason = _short("; ".join(dict.fromkeys(reasons)), folder) or None
    shorter = [fold if fold.reason is None else replace(fold, reason=_short(fold.reason, folder)) for fold in folds]
    begun, ended = _times(folder, shorter)
    comparable = alike and not any(fold.done is None and _may_be_finished(fold) for fold in folds)
    return RunFacts(
        folder, competition, experiment, shorter, state, reason, comparable, environment, soup, begun, ended
    )


def _state(folds: Sequence[FoldFacts], count: int | None) -> tuple[RunState, list[str]]:
    """The state of a run that nothing is wrong with, and what there is to say of it."""
    states = {fold.state for fold in folds}
    lines = [f"fold {fold.number} {fold.reason}" for fold in folds if fold.state not in ("finished", "damaged")]
    lacking = [] if count is None else sorted(set(range(count)) - {fold.number for fold in folds})
    if not folds:
        return "empty", ["no fold has begun"]
    if lacking:
        lines.append(f"fold{'s' * (len(lacking) > 1)} {', '.join(map(str, lacking))} not begun")
    if "training" in states:
        return "training", lines
    if "failed" in states:
        return "failed", lines
    if "finished" not in states:
        return "stopped", lines
    return ("partial" if lines else "finished"), lines


def _alike(done: Mapping[int, Mapping[str, Any]], problems: list[str]) -> bool:
    """Whether the finished folds belong together."""
    if not done:
        return False
    differing = disagreement(done)
    if differing is not None:
        problems.append(f"{differing}; move that fold's folder away and train it again")
    return differing is None


def _may_be_finished(fold: FoldFacts) -> bool:
    try:
        return fold.folder.done.exists()
    except OSError:
        return True  # a folder that cannot be looked into


def _is_file(path: Path, problems: list[str]) -> bool:
    """Whether a run's settings can be read at all; a pipe would be waited for."""
    try:
        if path.is_file():
            return True
        found = "is no file" if path.exists() else "does not exist"
        problems.append(f"{path} {found}; restore it, or move {path.parent} away")
    except OSError as error:
        problems.append(f"{path} cannot be read ({error.strerror or error}); make it readable, or move it away")
    return False


def _mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    values = read_json(path)
    if not isinstance(values, dict):
        raise SegfoldError(f"{path} holds no mapping; restore or remove it")
    return values


def _competition(folder: RunFolder, experiment: Experiment | None, home: Path) -> Competition | None:
    if folder.record_path.is_file():
        record = read_record(folder)
        return None if record is None else record.competition
    try:
        return None if experiment is None else load_competition(experiment.competition, home)
    except SegfoldError:
        return None  # a run without it is still a run


def _soup(folder: RunFolder) -> list[str] | None:
    if not folder.soup_path.exists():
        return None
    of = _mapping(folder.soup_path).get("of")
    return [Path(str(each)).name for each in of] if isinstance(of, list) else []


def _epochs_of(experiment: Experiment) -> int:
    return sum(min(stage.epochs, 1) if experiment.fast else stage.epochs for stage in experiment.stages.values())


def _short(text: str, folder: RunFolder) -> str:
    """A reason in which paths begin in the run's folder."""
    return text.replace(f"{folder.path}/", "").replace(str(folder.path), folder.name)


def _times(folder: RunFolder, folds: Sequence[FoldFacts]) -> tuple[str | None, str | None]:
    """When the first and the last file was written that training writes once, or as it goes on."""
    if not folds:
        return None, None
    paths = [folder.environment_path, folder.record_path]
    for fold in folds:
        paths += [fold.folder.done, fold.folder.metrics, fold.folder.last, fold.folder.failed]
    times = list(_modified(paths))
    return (_iso(min(times)), _iso(max(times))) if times else (None, None)


def _modified(paths: Sequence[Path]) -> Iterator[float]:
    for path in paths:
        try:
            yield path.stat().st_mtime
        except OSError:
            continue


def _iso(seconds: float) -> str | None:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return None  # a clock that was wrong by more than a calendar holds


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _commit(environment: Mapping[str, Any]) -> str | None:
    """The commit's first ten digits, with a + where files differed from it."""
    git = environment.get("git")
    commit = git.get("commit") if isinstance(git, Mapping) else None
    return commit[:10] + ("+" if git.get("diff") else "") if isinstance(commit, str) and git else None
