"""Sending a submission: once, within the day's limit, and with a ledger that is true whenever the way breaks off."""

import contextlib
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from segfold.competition import Competition
from segfold.errors import SegfoldError
from segfold.leaderboard.host import Host, Listed, UnansweredError
from segfold.leaderboard.ledger import Submission, find_submission, note, note_written, read_ledger
from segfold.leaderboard.reconcile import of_submission, sending_lock, take_over, unsettled
from segfold.observer import SILENT, Observer
from segfold.submission.check import check_submission, image_shapes

LONGEST_MESSAGE = 300
_LONGEST_PAUSE = 15.0


@dataclass(frozen=True)
class UploadOptions:
    """How long to wait for what, in seconds, and what is large.

    Attributes:
        wait: for the score; 0 does not wait.
        answer: for each answer of the host.
        settle: for the host to list a submission that it may have taken.
        pause: between two looks; it grows to 15 s.
        large: bytes from which a CSV is zipped.
    """

    wait: float = 600.0
    answer: float = 60.0
    settle: float = 150.0
    pause: float = 2.0
    large: int = 5 << 20


def upload(
    csv: Path,
    competition: Competition,
    home: Path = Path(),
    message: str = "",
    observer: Observer = SILENT,
    options: UploadOptions = UploadOptions(),
) -> Submission:
    """Sends a submission to the competition's host, waits for its score, and keeps the ledger.

    A file that the host has taken once is never sent again: called again, this goes on waiting for its score. The
    message carries a mark made of the file's checksum, by which a submission is found at the host whatever became of the
    process that sent it.

    Args:
        csv: the CSV or zip; it is checked first, and stays where it is.
        message: what the host shows beside it.
        observer: told what is done, and how long the score takes.

    Returns:
        What the ledger says of it: ``scored``, or ``sent`` where no score came in time.

    Raises:
        SegfoldError: the competition is not on Kaggle, the file has problems, the day's limit is reached, there is no
            client, network or token, the host refuses it or cannot score it.
    """
    slug = competition.slug
    if slug is None:
        raise SegfoldError(
            f"{competition.title} is not on Kaggle (its competition file has no slug): send {csv} by hand"
        )
    check_message(message)
    known = note_written(home, csv, competition.name)
    if known.competition != competition.name:
        raise SegfoldError(
            f"{csv} is for {known.competition}, not for {competition.name}: say --competition {known.competition}"
        )
    if known.state == "rejected":
        raise SegfoldError(f"Kaggle took {csv} on {known.sent} and rejected it ({known.problem}): mend it first")
    if known.state == "scored":
        when = f"was sent on {known.sent}" if known.sent else "has a score that was recorded by hand"
        observer.say(f"{csv} {when}, and is not sent again: {scores_line(known)}")
        return known
    if known.state != "sent":
        _check(csv, competition, home, observer)
    host = Host(slug, options.answer, f"{csv} stays as it is")
    with sending_lock(home):
        known = find_submission(home, known.sha256) or known
        if known.state in ("written", "unknown"):
            known = _send(csv, known, competition, host, home, message, observer, options)
        else:
            observer.say(f"{csv} was sent on {known.sent}, and is not sent again")
    return _await_score(known, host, home, observer, options)


def check_message(message: str) -> None:
    """Refuses a message that the host may cut, or that is no line.

    Raises:
        SegfoldError: it is too long, or holds line breaks.
    """
    if len(message) > LONGEST_MESSAGE or not message.isprintable():
        raise SegfoldError(
            f"the message has {len(message)} characters: expected one line of at most {LONGEST_MESSAGE}, without tabs"
        )


def scores_line(submission: Submission) -> str:
    """What it scored, for people: ``public 0.871, private not shown (out of fold 0.8655 ± 0.0058)``."""
    shown = [
        f"{name} {'not shown' if score is None else f'{score:g}'}"
        for name, score in (("public", submission.public), ("private", submission.private))
    ]
    error = "" if submission.cv_error is None else f" ± {submission.cv_error:.4f}"
    own = "" if submission.cv is None else f" (out of fold {submission.cv:.4f}{error})"
    return ", ".join(shown) + own


def _check(csv: Path, competition: Competition, home: Path, observer: Observer) -> None:
    found = check_submission(csv, competition, image_shapes(competition, home, observer.say))
    for line in found.remarks:
        observer.say(f"remark: {line}")
    if found.problems:
        more = "" if len(found.problems) == 1 else f" and {len(found.problems) - 1} more problems"
        raise SegfoldError(f"{csv} was not sent, it fails the check: {found.problems[0]}{more}; write it again")


def _send(
    csv: Path,
    known: Submission,
    competition: Competition,
    host: Host,
    home: Path,
    message: str,
    observer: Observer,
    options: UploadOptions,
) -> Submission:
    """Sends what the host does not list yet."""
    listed = host.listed()
    taken = of_submission(known, listed)
    if taken is None and known.state == "unknown":
        text = "an earlier try had no answer: waiting for Kaggle to list it"
        _watch(known, host, observer, options, unsettled(known, options.settle), text)
        listed = host.listed()
        taken = of_submission(known, listed)
    if taken is not None:
        observer.say(f"Kaggle has {csv} already, sent on {taken.date or 'an earlier day'}: it is not sent again")
        return take_over(home, known, taken, host.slug)
    if known.state == "unknown":
        note(home, known.sha256, "refused", problem="Kaggle does not list it")
    _refuse_over_limit(csv, competition, host, home, listed, observer)
    with _packed(csv, options.large) as file:
        observer.say(f"sending {file.name} ({file.stat().st_size / 1e6:.1f} MB) to {host.slug}")
        token = host.put(file, options.pause)
    note(home, known.sha256, "sending", slug=host.slug, message=message)
    try:
        ref = host.create(token, f"{message} [segfold {known.mark}]".strip())
    except UnansweredError as error:
        return _after_no_answer(known, error, host, home, observer, options)
    except SegfoldError as error:
        note(home, known.sha256, "refused", problem=str(error))
        raise
    return note(home, known.sha256, "sent", slug=host.slug, message=message, ref=ref)


def _after_no_answer(
    known: Submission, error: UnansweredError, host: Host, home: Path, observer: Observer, options: UploadOptions
) -> Submission:
    """Whether the host took it, as far as its list says so in time."""
    asked = find_submission(home, known.sha256)
    assert asked is not None
    text = "the answer was lost: waiting for Kaggle to list it"
    taken, _ = _watch(asked, host, observer, options, unsettled(asked, options.settle), text)
    if taken is None:
        raise SegfoldError(
            f"{error}; it is not known whether Kaggle took it: `make sync` finds out, and so does the same command again"
        ) from error
    observer.say("the answer was lost, and Kaggle lists it: it was taken")
    return take_over(home, asked, taken, host.slug)


def _refuse_over_limit(
    csv: Path, competition: Competition, host: Host, home: Path, listed: Sequence[Listed], observer: Observer
) -> None:
    limits = host.limits()
    now = datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    hours, minutes = divmod(int((midnight - now).total_seconds()) // 60, 60)
    then = f"send it after 00:00 UTC, in {hours} h {minutes:02d}: {csv} stays as it is"
    if limits is not None:
        if limits.left < 1 and limits.by_total:
            raise SegfoldError(f"not sent: all {limits.total} submissions of the competition are used up, {csv} stays")
        if limits.left < 1:
            raise SegfoldError(f"not sent: {limits.today} submissions today, and Kaggle takes no more; {then}")
        observer.say(f"Kaggle takes {limits.left} more today, this one included")
    elif (daily := competition.leaderboard.daily) is not None:
        today = f"{now:%Y-%m-%d}"
        sent = sum(
            (each.sent or "").startswith(today) and each.state != "rejected" for each in _of_slug(home, host.slug)
        )
        seen = sum(each.date.startswith(today) and each.state != "rejected" for each in listed)
        if max(sent, seen) >= daily:
            raise SegfoldError(f"not sent: {max(sent, seen)} submissions today, of {daily} a day; {then}")


def _of_slug(home: Path, slug: str) -> Iterator[Submission]:
    return (each for each in read_ledger(home) if each.slug == slug)


@contextlib.contextmanager
def _packed(csv: Path, large: int) -> Iterator[Path]:
    """The file to send: a large CSV is zipped, in a folder that goes away."""
    if csv.suffix == ".zip" or csv.stat().st_size < large:
        yield csv
        return
    with tempfile.TemporaryDirectory(prefix="segfold-") as folder:
        packed = Path(folder) / f"{csv.name}.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(csv, csv.name)
        yield packed


def _await_score(known: Submission, host: Host, home: Path, observer: Observer, options: UploadOptions) -> Submission:
    """Looks until the host has scored it, or the time is up."""
    trouble = ""
    if known.state == "sent" and options.wait > 0:
        observer.say(f"sent; waiting up to {_span(options.wait)} for the score")
        found, trouble = _watch(known, host, observer, options, options.wait, "waiting for the score", scored=True)
        if found is not None:
            known = take_over(home, known, found, host.slug)
    if known.state == "rejected":
        raise SegfoldError(f"Kaggle took {known.file} and could not score it ({known.problem}): mend it and send that")
    observer.say(f"no score yet{trouble}: `make sync` fetches it" if known.state == "sent" else scores_line(known))
    return known


def _watch(
    known: Submission,
    host: Host,
    observer: Observer,
    options: UploadOptions,
    seconds: float,
    text: str,
    scored: bool = False,
) -> tuple[Listed | None, str]:
    """Looks into the host's list until the submission is there, or scored, or the time is up.

    It looks once at least; a look that fails is made again.

    Returns:
        What was found, and what was wrong with the last look.
    """
    began, pause, trouble = time.monotonic(), options.pause, ""
    found: Listed | None = None
    try:
        left = seconds
        while found is None or (scored and found.state == "sent"):
            observer.waiting(f"{text}, {_span(seconds - left)} of {_span(seconds)}{trouble}")
            time.sleep(min(pause, max(left, 0.0)))
            pause = min(1.5 * pause, max(_LONGEST_PAUSE, options.pause))
            try:
                found, trouble = of_submission(known, host.listed()), ""
            except SegfoldError as error:
                trouble = f" ({error})"
            left = began + seconds - time.monotonic()
            if left <= 0:
                break
    finally:
        observer.waiting("")
    return found, trouble


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
