"""What the host lists, brought into the ledger: a submission is found there by its number, or by the mark in its message."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from segfold.leaderboard.host import Listed
from segfold.leaderboard.ledger import Submission, note
from segfold.locks import Lock


def sending_lock(home: Path) -> Lock:
    """Held while a submission is sent or the ledger is brought up to date, so that nothing is sent twice."""
    return Lock(home / "submissions" / ".sending.lock", "sending a submission or fetching scores")


def of_submission(submission: Submission, listed: Iterable[Listed]) -> Listed | None:
    """The host's entry of a submission; of several with its mark, the first that was taken."""
    found = [
        each
        for each in listed
        if (submission.ref is not None and each.ref == submission.ref) or _marked(submission, each)
    ]
    return min(found, key=lambda each: (each.ref != submission.ref, each.date, each.ref), default=None)


def _marked(submission: Submission, listed: Listed) -> bool:
    return f"[segfold {submission.mark}]" in listed.message


def take_over(home: Path, known: Submission, found: Listed, slug: str) -> Submission:
    """Notes what the host says and the ledger does not."""
    if known.state in ("written", "unknown") or known.ref is None:
        message = found.message.replace(f"[segfold {known.mark}]", "").strip()
        date = {"date": found.date} if found.date else {}
        known = note(home, known.sha256, "sent", slug=slug, message=message, ref=found.ref, **date)
    scores = {"public": found.public, "private": found.private}
    new = {name: score for name, score in scores.items() if score is not None and score != getattr(known, name)}
    if found.state == "scored" and (new or known.state != "scored"):
        known = note(home, known.sha256, "scored", **new)
    elif found.state == "rejected" and known.state == "sent":
        known = note(home, known.sha256, "rejected", problem=found.problem or "Kaggle does not say why")
    return known


def unsettled(known: Submission, settle: float) -> float:
    """Seconds until the host's list is to be believed about a submission that it was asked to take.

    Args:
        settle: seconds after the question.
    """
    if known.asked is None:
        return 0.0
    asked = datetime.strptime(known.asked, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    # Times are of whole seconds; a clock that was set back must not make anyone wait longer than that.
    return min(settle, settle + 1 - (datetime.now(UTC) - asked).total_seconds())
