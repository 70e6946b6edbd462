"""The ledger: a line for all that happens to a submission, and what the lines come to.

A submission is known by the checksum of its file. ``submissions/ledger.jsonl`` is only ever added to; each line names an
event, the checksum, the time and what is new:

==========  ======================================================================================================
written     the file was made here, or is about to be sent: competition, members, recipe, CV
sending     the host is about to be asked to take it; without one of the next two it is unknown whether it did
refused     the host did not take it, and says so, or does not list it
sent        the host took it
scored      the host's scores
rejected    the host took it and could not score it
recorded    scores that a person has read off the leaderboard
==========  ======================================================================================================
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from segfold.errors import SegfoldError, shown
from segfold.files import append_line, read_json, read_records
from segfold.submission.names import manifest_path, recipe_path

State = Literal["written", "unknown", "sent", "scored", "rejected"]


@dataclass(frozen=True)
class Submission:
    """What is known of a submission.

    Attributes:
        sha256: of its file, unzipped; 64 hexadecimal digits.
        file: the CSV or zip, below the working folder where it lies there.
        competition: its name here.
        cv: the score out of fold to believe, nested where there is one.
        cv_error: its standard error.
        members: run folders.
        recipe: the recipe's file.
        written: when the file was first noted, as all times in UTC and ISO 8601.
        slug: Kaggle's name of the competition, once it was sent.
        message: of whoever sent it, without the mark that segfold adds.
        asked: when the host was last asked to take it.
        sent: when the host took it.
        ref: the host's number of it.
        public: score on the public part of the test set.
        private: score on the rest, which hosts show at the end.
        problem: why it was refused or rejected.
    """

    sha256: str
    file: str = ""
    competition: str = ""
    cv: float | None = None
    cv_error: float | None = None
    members: tuple[str, ...] = ()
    recipe: str | None = None
    written: str | None = None
    slug: str | None = None
    message: str = ""
    asked: str | None = None
    sent: str | None = None
    ref: int | None = None
    state: State = "written"
    public: float | None = None
    private: float | None = None
    problem: str = ""

    @property
    def mark(self) -> str:
        """What the message carries to the host, by which the submission is found there."""
        return self.sha256[:16]


_TEXT, _NUMBER = (str, type(None)), (int, float, type(None))
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("file", "competition", "recipe", "slug", "message", "problem"), _TEXT),
    **dict.fromkeys(("cv", "cv_error", "public", "private"), _NUMBER),
    "members": (list,),
    "ref": (int, type(None)),
}
_FIELDS = {
    "written": ("file", "competition", "cv", "cv_error", "members", "recipe"),
    "sending": ("slug", "message"),
    "refused": ("problem",),
    "sent": ("slug", "message", "ref"),
    "scored": ("public", "private"),
    "rejected": ("problem",),
    "recorded": ("public", "private"),
}
"""What an event may bring with it; what it leaves out, or is null, stays as it was."""


def ledger_path(home: Path) -> Path:
    """``home/submissions/ledger.jsonl``."""
    return home / "submissions" / "ledger.jsonl"


def read_ledger(home: Path = Path()) -> list[Submission]:
    """All submissions in the order in which they were first noted; a line that a kill tore off is not there.

    Raises:
        SegfoldError: a line that is no event.
    """
    path = ledger_path(home)
    found: dict[str, Submission] = {}
    for number, event in enumerate(read_records(path), 1):
        if problem := _problem(event):
            raise SegfoldError(f"{path} line {number}: {problem}; delete that line")
        digest = event["sha256"]
        found[digest] = _after(found.get(digest, Submission(digest)), event)
    return list(found.values())


def find_submission(home: Path, sha256: str) -> Submission | None:
    """The submission of that checksum. Errors as ``read_ledger``."""
    return next((each for each in read_ledger(home) if each.sha256 == sha256), None)


def note(home: Path, sha256: str, event: str, **fields: Any) -> Submission:
    """Adds an event of now to the ledger, under its lock, and returns what the submission has become.

    Raises:
        SegfoldError: the disk is full; the ledger is as it was before.
    """
    line = {"event": event, "sha256": sha256, "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", **fields}
    assert not _problem(line), line
    append_line(ledger_path(home), line)
    found = find_submission(home, sha256)
    assert found is not None
    return found


def note_written(home: Path, csv: Path, competition: str) -> Submission:
    """Notes a submission that was written, with what its manifest says; once, however often it is called.

    Args:
        csv: the CSV or zip.
        competition: name of the competition, of a file without a manifest.

    Raises:
        SegfoldError: the file cannot be read, the disk is full.
    """
    digest = checksum(csv)
    manifest = _manifest(csv, digest)
    scores = manifest.get("cv") or {}
    cv = scores.get("nested") or scores.get("tuned") or {}
    recipe = recipe_path(csv)
    fields = {
        "file": _below(home, csv),
        "competition": manifest.get("competition", competition),
        "cv": cv.get("mean"),
        "cv_error": cv.get("standard_error"),
        "members": [str(member["run"]) for member in manifest.get("members", [])],
        "recipe": _below(home, recipe) if manifest and recipe.exists() else None,
    }
    known = find_submission(home, digest)
    if known is not None:
        same = _after(known, {"event": "written", "time": known.written, **fields}) == known
        # Of two files with the same content the first is the submission, for as long as it is there.
        if same or (known.file != fields["file"] and _is_there(home, known)):
            return known
    return note(home, digest, "written", **fields)


def record_by_hand(home: Path, csv: Path, competition: str, public: float | None, private: float | None) -> Submission:
    """Records scores that the leaderboard shows of a submission; those of an earlier record are replaced.

    Args:
        csv: its file, or, where that is no longer there, the name under which the ledger knows it.
        competition: name of the competition, of a file that the ledger does not know and that has no manifest.

    Raises:
        SegfoldError: no score, neither file nor name is known, the disk is full.
    """
    if public is None and private is None:
        raise SegfoldError(f"no score for {csv}: give public=…, private=… or both")
    if csv.is_file():
        known = find_submission(home, checksum(csv)) or note_written(home, csv, competition)
    else:
        same = [each for each in read_ledger(home) if each.file == _below(home, csv)]
        if not same:
            raise SegfoldError(f"{csv} is not there, and the ledger knows no submission of that name: give the file")
        known = same[-1]
    return note(home, known.sha256, "recorded", public=public, private=private)


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    Raises:
        SegfoldError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SegfoldError(f"{path} cannot be read ({error.strerror or error}): give a CSV that is there") from None


def _below(home: Path, path: Path) -> str:
    """As the ledger names files: relative to the working folder where they lie in it."""
    full, root = path.resolve(), home.resolve()
    return str(full.relative_to(root) if full.is_relative_to(root) else full)


def _is_there(home: Path, known: Submission) -> bool:
    path = home / known.file
    return path.is_file() and checksum(path) == known.sha256


def _manifest(csv: Path, digest: str) -> dict[str, Any]:
    """What lies beside the file and is about this very file; nothing otherwise."""
    path = manifest_path(csv)
    found = read_json(path) if path.exists() else None
    return found if isinstance(found, dict) and found.get("sha256") == digest else {}


def _after(known: Submission, event: Mapping[str, Any]) -> Submission:
    """The submission after one more event; an event that a newer segfold may write changes nothing."""
    name, time = event["event"], event["time"]
    given = {field: event[field] for field in _FIELDS.get(name, ()) if event.get(field) is not None}
    if "members" in given:
        given["members"] = tuple(given["members"])
    new: dict[str, Any] = {}
    if name == "written" and known.written is None:
        new["written"] = time
    if name == "sending":
        new |= {"asked": time, "state": "unknown", "problem": ""}
    elif name == "refused":
        if known.state != "unknown":  # it was found at the host in the meantime
            return known
        new["state"] = "written"
    elif name == "sent":
        new["sent"] = known.sent or event.get("date") or time
        if known.state in ("written", "unknown"):
            new |= {"state": "sent", "problem": ""}
    elif name in ("scored", "recorded"):
        new |= {"state": "scored", "problem": ""}
    elif name == "rejected":
        new["state"] = "rejected"
    return replace(known, **given, **new)


def _problem(event: Any) -> str | None:
    """What is wrong with a line of the ledger."""
    if not isinstance(event, dict):
        return f"it is {shown(event)}, expected an event"
    for name in ("event", "sha256", "time"):
        if not isinstance(event.get(name), str):
            return f"{name} is {shown(event.get(name))}, expected text"
    for name in _FIELDS.get(event["event"], ()):
        value = event.get(name, [] if name == "members" else None)
        number = isinstance(value, float) and not math.isfinite(value)
        if not isinstance(value, _KINDS[name]) or isinstance(value, bool) or number:
            return f"{name} is {shown(value)}, expected {'a number' if _KINDS[name] is _NUMBER else 'another kind'}"
    return None
