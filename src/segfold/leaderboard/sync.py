"""Scores of earlier submissions, and what became of uploads that broke off."""

from pathlib import Path

from segfold.errors import SegfoldError
from segfold.files import read_json
from segfold.importing.client import open_client
from segfold.leaderboard.host import Host, Listed
from segfold.leaderboard.ledger import Submission, note, note_written, read_ledger
from segfold.leaderboard.reconcile import of_submission, sending_lock, take_over, unsettled
from segfold.leaderboard.upload import UploadOptions, scores_line
from segfold.observer import SILENT, Observer

_INSTEAD = "the ledger stays as it is"


def sync(
    home: Path = Path(),
    slug: str | None = None,
    observer: Observer = SILENT,
    options: UploadOptions = UploadOptions(),  # noqa: B008 (frozen)
) -> list[Submission]:
    """Brings the ledger up to what the host says of everything that was sent.

    Args:
        slug: Kaggle's name of a competition that is asked too, for submissions that are no longer in the ledger.
        observer: told of all that is new.

    Returns:
        All submissions, as ``read_ledger``.

    Raises:
        SegfoldError: no client, no token, no way to Kaggle, or a refusal of it.
    """
    slugs = sorted({each.slug for each in read_ledger(home) if each.slug} | ({slug} if slug else set()))
    if not slugs:
        observer.say("nothing was sent from here yet")
        return read_ledger(home)
    client = open_client(_INSTEAD, options.answer)
    with sending_lock(home):
        for name in slugs:
            _bring_up(Host(name, options.answer, _INSTEAD, client), home, observer, options)
    return read_ledger(home)


def _bring_up(host: Host, home: Path, observer: Observer, options: UploadOptions) -> None:
    listed = host.listed()
    _find_lost(home, listed)
    new = 0
    for known in read_ledger(home):
        if known.slug not in (None, host.slug):
            continue
        found = of_submission(known, listed)
        if found is not None:
            now = take_over(home, known, found, host.slug)
            if now != known:
                new += 1
                what = {"rejected": f"rejected ({now.problem})", "sent": "taken, not scored yet"}
                observer.say(f"{now.file}: {what.get(now.state) or scores_line(now)}")
        elif known.state == "unknown" and unsettled(known, options.settle) > 0:
            observer.say(
                f"{known.file}: not in Kaggle's list yet, and asked for only just now: try again in some minutes"
            )
        elif known.state == "unknown":
            new += 1
            note(home, known.sha256, "refused", problem="Kaggle does not list it")
            observer.say(f"{known.file}: Kaggle never took it, it may be sent again")
    if not new:
        observer.say(f"{host.slug}: nothing new among {len(listed)} submissions")


def _find_lost(home: Path, listed: list[Listed]) -> None:
    """Notes files that the host has and the ledger does not, as after its loss; their manifests name the checksum."""
    known = {each.mark for each in read_ledger(home)}
    for path in sorted((home / "submissions").rglob("*.json")):
        try:
            manifest = read_json(path)
        except SegfoldError:
            continue
        digest = manifest.get("sha256") if isinstance(manifest, dict) else None
        if not isinstance(digest, str) or digest[:16] in known:
            continue
        file = next((path.with_suffix(end) for end in (".csv", ".zip") if path.with_suffix(end).exists()), None)
        if file is not None and of_submission(Submission(digest), listed) is not None:
            note_written(home, file, str(manifest.get("competition", "")))
