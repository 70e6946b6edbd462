"""Kaggle's own client (an optional package): opened, held to a time limit, and its errors said in plain words.

Read in kaggle 2.2.5: importing it signs in, which may ask Kaggle; ``authenticate`` prints a page of help and calls
``exit(1)`` where there is no token; no request has a time limit; errors are those of ``requests``, with Kaggle's words in
the JSON of the response. ``KAGGLE_API_ENVIRONMENT=LOCALHOST``, read at the import, leads it to http://localhost.
"""

import contextlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from segfold.errors import SegfoldError

ANSWER_SECONDS = 60.0
INSTALL = 'pip install "kaggle>=2.2" six'
_LONGEST = 200
_BARE = {"", "badrequest", "forbidden", "notfound", "unauthorized", "internalservererror"}


@contextmanager
def held(seconds: float = ANSWER_SECONDS, quiet: bool = True) -> Iterator[io.StringIO]:
    """Holds the client to a time limit for each answer, and keeps what it prints.

    Args:
        seconds: to connect, and between any two pieces of an answer.
        quiet: keep what is printed; else it is shown as it comes.

    Yields:
        What was printed.
    """
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry

    adapters: Any = HTTPAdapter
    send = adapters.send

    def send_in_time(adapter: Any, request: Any, stream: bool = False, timeout: Any = None, **options: Any) -> Any:
        if request.method == "PUT":
            adapter.max_retries = Retry(0, read=False)  # the client's ten would take minutes; who calls it tries again
        return send(adapter, request, stream=stream, timeout=timeout or seconds, **options)

    adapters.send = send_in_time
    printed = io.StringIO()
    try:
        with contextlib.ExitStack() as stack:
            if quiet:
                stack.enter_context(contextlib.redirect_stdout(printed))
                stack.enter_context(contextlib.redirect_stderr(printed))
            yield printed
    finally:
        adapters.send = send


def open_client(instead: str, seconds: float = ANSWER_SECONDS) -> Any:
    """The client, signed in.

    Args:
        instead: what else the user can do, at the end of a message.
        seconds: as ``held``.

    Returns:
        ``kaggle.api.kaggle_api_extended.KaggleApi``.

    Raises:
        SegfoldError: the client is not installed, there is no token, or Kaggle cannot be reached.
    """
    try:
        with held(seconds):
            from kaggle.api.kaggle_api_extended import KaggleApi

            api = KaggleApi()
            api.authenticate()
    except ModuleNotFoundError as error:
        lacking = (
            "" if error.name is None or error.name.partition(".")[0] == "kaggle" else f" ({error.name} is missing)"
        )
        raise SegfoldError(f"Kaggle's client is not installed{lacking}: run `{INSTALL}`, {instead}") from error
    # Without a token the client raises OSError or exits, depending on its version; requests' errors are OSErrors too.
    except (OSError, ValueError, SystemExit) as error:
        if status_of(error) is not None or unreachable(error):
            raise SegfoldError(f"{failure(error, 'the sign-in')}, {instead}") from error
        raise SegfoldError(
            "no Kaggle token: make one on https://www.kaggle.com/settings and save it where the page says, "
            f"as ~/.kaggle/access_token for instance, {instead}"
        ) from error
    return api


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error of the client is about; older versions have it on the error itself."""
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def unreachable(error: BaseException) -> bool:
    """Whether no answer came: no network, nothing there, a connection that broke, or the time limit."""
    from requests.exceptions import ChunkedEncodingError, ConnectionError, Timeout

    return isinstance(error, ConnectionError | Timeout | ChunkedEncodingError)


def words_of(error: BaseException) -> str:
    """What Kaggle says of a refusal; empty where that is no more than the name of the status."""
    response = getattr(error, "response", None)
    try:
        words = response.json().get("message")  # type: ignore[union-attr]
    except (AttributeError, ValueError):
        return ""
    text = " ".join(str(words or "").split())[:_LONGEST]
    return "" if "".join(filter(str.isalpha, text)).lower() in _BARE else text


def said(error: BaseException) -> str:
    """The status of a refusal, with Kaggle's words where there are any: ``403: you cannot …``."""
    return ": ".join(filter(None, (str(status_of(error)), words_of(error))))


def failure(error: BaseException, what: str, slug: str | None = None) -> str:
    """What went wrong and what to do about it, of all that does not depend on what was asked for.

    Args:
        what: was asked for: ``the download``.
        slug: Kaggle's name of the competition.
    """
    status = status_of(error)
    if status == 401:
        return f"Kaggle refused the token ({said(error)}): make a new one on https://www.kaggle.com/settings"
    if status == 404 and slug is not None:
        return f"Kaggle knows no competition {slug} ({said(error)}): correct the slug in its competition file"
    if status == 429:
        return f"Kaggle is asked too often ({said(error)}): try again in some minutes"
    if status is not None and status >= 500:
        return f"Kaggle has an error of its own ({said(error)}): try again"
    if status is None and unreachable(error):
        return f"Kaggle cannot be reached for {what} ({_cause(error)}): look at the network and try again"
    detail = said(error) if status is not None else " ".join(str(error).split())[:_LONGEST]
    return f"{what} failed ({detail}): try again"


def _cause(error: BaseException) -> str:
    """Without the addresses and objects that requests quotes."""
    from requests.exceptions import ConnectTimeout, Timeout

    if isinstance(error, Timeout) and not isinstance(error, ConnectTimeout):
        return "no answer in time"
    texts = [str(error), *(str(each) for each in (error.__cause__, error.__context__) if each is not None)]
    for name, said_so in {
        "Name or service not known": "its address was not found",
        "Temporary failure in name resolution": "its address was not found",
        "NameResolutionError": "its address was not found",
        "Connection refused": "connection refused",
        "Network is unreachable": "no network",
        "Remote end closed": "the connection broke",
        "Connection reset": "the connection broke",
        "timed out": "no answer in time",
    }.items():
        if any(name in text for text in texts):
            return said_so
    return type(error).__name__
