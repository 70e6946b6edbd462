"""What is asked of Kaggle for a competition's submissions, through its own client, and what its refusals mean.

Read in kaggle 2.2.5: ``competition_submit`` starts an upload, puts the file to the address that it gets, and only then
has a submission created, which is what counts. The three are called here one by one, so that it is known after a failure
whether the host can have taken anything.
"""

import json
import math
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from segfold.errors import SegfoldError
from segfold.importing.client import INSTALL, failure, held, open_client, said, status_of, words_of

PAGE = 100
"""Submissions that are asked for at once."""
_MOST_PAGES = 100
PUTS = 4
"""Times that a file is put, each going on where the last one stopped."""


class UnansweredError(SegfoldError):
    """The host was asked to create a submission, and may have done so or not."""


@dataclass(frozen=True)
class Listed:
    """A submission as the host lists it.

    Attributes:
        ref: its number.
        message: as it was sent, with the mark.
        date: when it was taken, UTC and ISO 8601; empty where the host does not say.
        public: None while it is not scored, or where the host hides it.
        private: as ``public``.
        problem: the host's words where it could not be scored.
    """

    ref: int
    message: str
    date: str
    state: Literal["sent", "scored", "rejected"]
    public: float | None
    private: float | None
    problem: str


@dataclass(frozen=True)
class Limits:
    """What the host says of a team's submissions.

    Attributes:
        today: taken since 00:00 UTC.
        total: ever.
        left: allowed until the next 00:00 UTC.
        by_total: whether the competition's limit on all of them, not the day's, is what ``left`` is of.
    """

    today: int
    total: int
    left: int
    by_total: bool


class Host:
    """Kaggle, asked about one competition."""

    def __init__(self, slug: str, seconds: float, instead: str, client: Any = None) -> None:
        """
        Args:
            slug: Kaggle's name of the competition.
            seconds: limit for each answer.
            instead: what else the user can do, at the end of messages.
            client: of ``open_client``; None to open one.

        Raises:
            SegfoldError: no client, no token, or no way to Kaggle.
        """
        self.slug, self.seconds, self.instead = slug, seconds, instead
        self._has_room = False
        self.client = client or open_client(instead, seconds)
        if not hasattr(self.client, "competition_get_submission_limits"):
            raise SegfoldError(f"Kaggle's client is too old to send submissions with: run `{INSTALL}`, {instead}")

    def limits(self) -> Limits | None:
        """What may still be sent; None where the host does not say, as before a team's first submission.

        Raises:
            SegfoldError: no answer came.
        """
        try:
            with held(self.seconds):
                found = self.client.competition_get_submission_limits(self.slug)
        except Exception as error:
            if status_of(error) is None:
                raise self._failed(error, "the limits") from error
            return None
        limits = Limits(found.num_today, found.num_total, found.num_allowed_now, found.limited_by_total)
        self._has_room = limits.left > 0
        return limits if limits.total or limits.left or limits.today else None

    def listed(self) -> list[Listed]:
        """All submissions of the team, the newest first.

        Raises:
            SegfoldError: a refusal with its likely cause, or no answer.
        """
        from kagglesdk.competitions.types.competition_api_service import ApiListSubmissionsRequest

        found: list[Listed] = []
        token = ""
        for _ in range(_MOST_PAGES):
            request = ApiListSubmissionsRequest()
            request.competition_name, request.page_size = self.slug, PAGE
            if token:
                request.page_token = token
            answer = self._asked("list_submissions", request, "the submissions")
            found += [_listed(each) for each in answer.submissions or () if each is not None]
            token = answer.next_page_token
            if not token or not answer.submissions:
                break
        return found

    def put(self, file: Path, pause: float) -> str:
        """Brings a file to where the host takes submissions from, which alone counts for nothing.

        Args:
            pause: seconds before the second try, doubled before each further one.

        Returns:
            The token by which the host knows it.

        Raises:
            SegfoldError: a refusal with its likely cause, or no answer. Nothing was sent then.
        """
        from kagglesdk.competitions.types.competition_api_service import ApiStartSubmissionUploadRequest

        request = ApiStartSubmissionUploadRequest()
        request.competition_name, request.file_name = self.slug, file.name
        request.content_length = file.stat().st_size
        request.last_modified_epoch_seconds = int(file.stat().st_mtime)
        started, printed = None, ""
        for number in range(PUTS):
            if number:
                time.sleep(pause * 2 ** (number - 1))
            resume = started is not None
            started = started or self._asked("start_submission_upload", request, "the upload")
            with held(self.seconds) as output:
                state = self.client.upload_complete(str(file), started.create_url, True, resume=resume)
            if state == _upload_state("COMPLETE"):
                return str(started.token)
            printed = output.getvalue() or printed
            if state != _upload_state("INCOMPLETE"):
                started = None
        why = " ".join(printed.split())[:200] or "its store refuses the file"
        raise SegfoldError(f"{file.name} did not reach Kaggle in {PUTS} tries ({why}): try again, {self.instead}")

    def create(self, token: str, message: str) -> int | None:
        """Has the host make a submission of a file that it holds, which counts.

        Returns:
            The submission's number; None where the host does not say.

        Raises:
            UnansweredError: it is unknown whether the host did.
            SegfoldError: it did not, with the likely cause.
        """
        from kagglesdk.competitions.types.competition_api_service import ApiCreateSubmissionRequest

        request = ApiCreateSubmissionRequest()
        request.competition_name, request.blob_file_tokens = self.slug, token
        request.submission_description = message
        try:
            return self._asked("create_submission", request, "the submission").ref or None
        except SegfoldError as error:
            status = status_of(error.__cause__) if error.__cause__ is not None else None
            if status is not None and status < 500:
                raise
            raise UnansweredError(error) from error

    def _asked(self, name: str, request: Any, what: str) -> Any:
        """The answer of the client's service of that name."""
        try:
            with held(self.seconds), self.client.build_kaggle_client() as kaggle:
                return getattr(kaggle.competitions.competition_api_client, name)(request)
        except Exception as error:  # what is no JSON, or not of the form that the client knows, raises anything
            raise self._failed(error, what) from error

    def _failed(self, error: Exception, what: str) -> SegfoldError:
        status = status_of(error)
        if status == 403 or (status == 400 and not words_of(error)):
            text = f"Kaggle refused {what} ({said(error)}), most likely because {self._causes(status)}"
        elif status == 400:
            text = f"Kaggle refused {what} ({said(error)})"
        elif isinstance(error, json.JSONDecodeError | KeyError | AttributeError | TypeError):
            text = f"Kaggle's answer about {what} cannot be read ({type(error).__name__}): try again"
        else:
            text = failure(error, what, self.slug)
        return SegfoldError(f"{text}, {self.instead}")

    def _causes(self, status: int) -> str:
        """Of refusals that name none; see the client's issues 61, 414, 530 and 621 for people who met them."""
        page = f"https://www.kaggle.com/c/{self.slug}"
        rules = f"its rules are not accepted ({page}/rules)"
        slug = f"the slug {self.slug} in the competition file is wrong"
        late = "the competition is over and takes no late submissions"
        if status == 403:
            return f"{rules}, {slug}, or {late}"
        used_up = "" if self._has_room else "the day's submissions are used up, "
        return f"{used_up}{late}, the file is not as {page}/overview/evaluation says, or {rules}"


def _upload_state(name: str) -> Any:
    from kaggle.models.kaggle_models_extended import ResumableUploadResult

    return getattr(ResumableUploadResult, name)


def _listed(each: Any) -> Listed:
    state: Literal["sent", "scored", "rejected"] = "sent"
    if each.status.name != "PENDING":
        state = "scored" if each.status.name == "COMPLETE" else "rejected"
    date = f"{each.date:%Y-%m-%dT%H:%M:%SZ}" if isinstance(each.date, datetime) else ""
    problem = " ".join(each.error_description.split())
    return Listed(
        each.ref, each.description, date, state, _number(each.public_score), _number(each.private_score), problem
    )


def _number(text: str) -> float | None:
    """A score as the host writes it; hidden ones are empty."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
