"""The history of submissions: what the ledger and the manifests say of each, and CV against the leaderboard."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segfold.competition import Competition, load_competition
from segfold.errors import SegfoldError
from segfold.files import read_json
from segfold.leaderboard import Submission, read_ledger
from segfold.statistics.line import fit_line

Record = dict[str, Any]

_POINTS = 41  # of a line that is drawn
_MARGIN = 0.05  # of the scores' range, by which the line goes on beyond them


@dataclass(frozen=True)
class Known:
    """A submission, and what its manifest says.

    Attributes:
        manifest: empty where there is none.
        problem: why the ledger says nothing of it.
    """

    submission: Submission
    manifest: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None

    @property
    def runs(self) -> list[str]:
        """Names of the runs it was made of, each once."""
        return list(dict.fromkeys(Path(member).name for member in self.submission.members))


def known_submissions(home: Path) -> list[Known]:
    """All that the ledger lists, in its order, and what has a manifest alone.

    Nothing in ``submissions/`` makes it raise: a manifest that cannot be read is as none; of a ledger that cannot be read
    the manifests remain.
    """
    problem = None
    try:
        listed = read_ledger(home)
    except (SegfoldError, OSError) as error:
        listed, problem = [], str(error)
    manifests = _manifests(home)
    found = [Known(each, manifests.pop(each.sha256, (None, {}))[1]) for each in listed]
    others = [Known(_from_manifest(home, path, values), values, problem) for path, values in manifests.values()]
    return found + sorted(others, key=lambda each: (each.submission.written or "", each.submission.file))


def submission_records(home: Path) -> list[Record]:
    """A submission of the board's format for each that is known, the oldest first; one without ``written`` is old."""
    found = sorted(known_submissions(home), key=lambda each: each.submission.written or "")
    lines = {name: _lines(name, home) for name in {each.submission.competition for each in found}}
    return [_record(each, lines[each.submission.competition]) for each in found]


def _lines(competition: str, home: Path) -> Mapping[str, float]:
    """A leaderboard's lines; none of a competition whose file is not there."""
    try:
        return load_competition(competition, home).leaderboard.lines
    except SegfoldError:
        return {}


def medal(score: float | None, lines: Mapping[str, float]) -> str | None:
    """Name of the highest line that a score reaches; None where it reaches none, or is not known."""
    if score is None:
        return None
    return next((name for name, line in sorted(lines.items(), key=lambda each: -each[1]) if score >= line), None)


def medal_of(public: float | None, private: float | None, lines: Mapping[str, float]) -> Record:
    """``medal``, and ``medal_by`` which score: lines are of private scores, so that of a public one is a guess."""
    score = public if private is None else private
    by: Literal["public", "private"] = "public" if private is None else "private"
    found = medal(score, lines)
    return {"medal": found, "medal_by": None if found is None else by}


def leaderboard_of(run: str, competition: Competition, records: Iterable[Record]) -> Record:
    """``public``, ``private``, ``medal`` and ``medal_by`` of a run: those of the best submission of this run alone.

    The best is that with the best public score, which is what a competitor sees; of none with one, the best private one.
    """
    scores = [
        (record["public"], record["private"])
        for record in records
        if record["members"] == [run] and record["competition"] == competition.name
    ]
    public, private = max(scores, key=_worth, default=(None, None))
    return {"public": public, "private": private, **medal_of(public, private, competition.leaderboard.lines)}


def _worth(scores: tuple[float | None, float | None]) -> tuple[float, float]:
    public, private = (-math.inf if score is None else score for score in scores)
    return public, private


def fits_of(records: Sequence[Record], competition: str) -> dict[str, Record | None]:
    """The line of the leaderboard over CV, of public and of private scores, with its prediction interval to draw."""
    ours = [record for record in records if record["competition"] == competition and record["cv"] is not None]
    return {part: _fit([record for record in ours if record[part] is not None], part) for part in ("public", "private")}


def _fit(records: Sequence[Record], part: str) -> Record | None:
    cv = np.array([record["cv"] for record in records], np.float64)
    line = fit_line(cv, np.array([record[part] for record in records], np.float64))
    if line is None:
        return None
    margin = _MARGIN * (cv.max() - cv.min())
    drawn = np.linspace(cv.min() - margin, cv.max() + margin, _POINTS)
    low, high = line.interval(drawn)
    return {
        "slope": line.slope,
        "intercept": line.intercept,
        "submissions": line.submissions,
        "level": line.level,
        "line": {
            "cv": drawn.tolist(),
            "middle": line.middle(drawn).tolist(),
            "low": low.tolist(),
            "high": high.tolist(),
        },
        "outliers": [records[place]["file"] for place in line.outliers],
    }


def _record(known: Known, lines: Mapping[str, float]) -> Record:
    submission = known.submission
    scores = _dict(known.manifest.get("cv"))
    return {
        "file": submission.file,
        "competition": submission.competition,
        "cv": submission.cv,
        "cv_error": submission.cv_error,
        "nested": bool(scores.get("nested")) if scores else None,
        "members": known.runs,
        "written": submission.written,
        "sent": submission.sent,
        "state": submission.state,
        "public": submission.public,
        "private": submission.private,
        **medal_of(submission.public, submission.private, lines),
        "message": submission.message,
        "problem": submission.problem or known.problem,
        "contributions": _contributions(known.manifest.get("contributions")),
    }


def _manifests(home: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Manifests with their paths, by the checksum of what they are about."""
    found = {}
    for path in sorted((home / "submissions").rglob("*.json")):
        try:
            values = read_json(path)
        except SegfoldError:
            continue
        if isinstance(values, dict) and all(isinstance(values.get(key), str) for key in ("sha256", "competition")):
            found[values["sha256"]] = path, values
    return found


def _from_manifest(home: Path, path: Path, values: Mapping[str, Any]) -> Submission:
    """A submission that the ledger does not list."""
    named = next((values[form] for form in ("csv", "zip") if isinstance(values.get(form), str)), path.stem)
    scores = _dict(values.get("cv"))
    cv = _dict(scores.get("nested")) or _dict(scores.get("tuned"))
    members = [each.get("run") for each in _list(values.get("members")) if isinstance(each, dict)]
    return Submission(
        sha256=values["sha256"],
        file=str((path.parent / named).relative_to(home)),
        competition=values["competition"],
        cv=_number(cv.get("mean")),
        cv_error=_number(cv.get("standard_error")),
        members=tuple(run for run in members if isinstance(run, str)),
        written=_utc(values.get("created")),
    )


def _contributions(found: Any) -> Record | None:
    """What a manifest says of its members, or nothing where it is not whole."""
    values = _dict(found)
    names, weights, adds = (_list(values.get(key)) for key in ("names", "weights", "adds"))
    if not names or not len(names) == len(weights) == len(adds):
        return None
    if not all(isinstance(name, str) for name in names) or None in map(_number, weights):
        return None
    gains = [None if _number(_dict(each).get("difference")) is None else each for each in adds]
    matrices = {key: _matrix(values.get(key), len(names)) for key in ("correlation", "disagreement")}
    return {"names": names, "weights": weights, "adds": gains, **matrices}


def _matrix(found: Any, size: int) -> list[list[float]] | None:
    rows = [_list(row) for row in _list(found)]
    whole = len(rows) == size and all(len(row) == size and None not in map(_number, row) for row in rows)
    return rows if whole else None


def _utc(text: Any) -> str | None:
    """As the ledger writes times."""
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (TypeError, ValueError, OverflowError):
        return None


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if usable else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
