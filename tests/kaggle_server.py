"""A host on loopback that speaks the protocol of Kaggle's client, and can be told to fail at any step.

With ``KAGGLE_API_ENVIRONMENT=LOCALHOST`` the client asks http://localhost, and ``http_proxy`` leads it here; whatever else
it might ask for ends here too, and is refused.
"""

import base64
import hashlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from segfold.competition import Competition, load_competition
from segfold.files import read_records
from segfold.observer import Observer
from small_project import make_project

SERVICE = "/api/v1/competitions.CompetitionApiService/"
USER, KEY = "someone", "a-key"
TAKEN = {
    "ListSubmissions": {"competitionName", "page", "pageToken", "pageSize"},
    "StartSubmissionUpload": {"competitionName", "contentLength", "lastModifiedEpochSeconds", "fileName"},
    "CreateSubmission": {"competitionName", "blobFileTokens", "submissionDescription"},
    "GetSubmissionLimits": {"competitionName"},
}
"""What each question may hold."""

Fault = int | tuple[int, str] | str | Callable[[], None]
"""A status, or one with Kaggle's words; ``drop`` or ``hang`` before anything is done; ``drop after``, ``hang after``,
``error after`` or ``page after`` when all is done and only the answer is missing; ``cut`` in the middle of a file; or what
is called when all is done, before the answer."""


class KaggleServer(ThreadingHTTPServer):
    """The host of one competition."""

    daemon_threads = True

    def __init__(self, slug: str = "small-slug") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.slug = slug
        self.faults: dict[str, list[Fault]] = {}
        """By the name of a question, or ``PUT``: what happens at the next ones, one each."""
        self.asked: list[str] = []
        self.submissions: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.expected: dict[str, int] = {}
        self.score: dict[str, str] | None = {"status": "COMPLETE", "publicScore": "0.871"}
        """What becomes of a submission when it is listed for the second time."""
        self.limits: dict[str, Any] | None = {"numToday": 1, "numTotal": 7, "numAllowedNow": 4}
        self.received = 0
        """Bytes of files, over all tries."""
        self.released = threading.Event()

    def add(self, message: str, age: timedelta = timedelta(), **fields: Any) -> dict[str, Any]:
        """A submission that the host has."""
        made = {
            "ref": 1000 + len(self.submissions),
            "description": message,
            "date": f"{datetime.now(UTC) - age:%Y-%m-%dT%H:%M:%S.123Z}",
            "fileName": "x.csv",
            "status": "PENDING",
            **fields,
        }
        self.submissions.insert(0, made)
        return made

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: KaggleServer

    def log_message(self, *_: Any) -> None:
        """In silence."""

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = url.path.removeprefix(SERVICE)
        self.server.asked.append(name)
        token = base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        if url.hostname != "localhost" or name not in TAKEN:
            return self._refuse(404, "")
        if self.headers.get("Authorization") != f"Basic {token}":
            return self._refuse(401, "Unauthenticated")
        given = json.loads(body)
        if given.get("competitionName") != self.server.slug or not given.keys() <= TAKEN[name]:
            return self._refuse(404, "NotFound")
        self._with_faults(name, lambda: getattr(self, f"_{name}")(given))

    def do_PUT(self) -> None:
        self.server.asked.append("PUT")
        key = urlsplit(self.path).path.removeprefix("/store/")
        self._with_faults("PUT", lambda: self._take(key))

    def do_CONNECT(self) -> None:
        self.server.asked.append(f"CONNECT {self.path}")
        self._refuse(403, "no test reaches the network")

    def _with_faults(self, name: str, work: Callable[[], tuple[int, Mapping[str, Any]] | None]) -> None:
        waiting = self.server.faults.get(name, [])
        fault = waiting.pop(0) if waiting else None
        if isinstance(fault, int):
            return self._refuse(fault, "")
        if isinstance(fault, tuple):
            return self._refuse(*fault)
        if fault in ("drop", "hang"):
            return self._never(fault)
        if fault == "cut":
            self._take_half(urlsplit(self.path).path.removeprefix("/store/"))
            return self._never("drop")
        answer = work()
        if answer is None:
            return None
        if callable(fault):
            fault()
        if fault in ("drop after", "hang after"):
            return self._never(fault.split()[0])
        if fault == "error after":
            return self._refuse(502, "")
        if fault == "page after":
            return self._send(200, b"<html>sign in to the wireless network</html>", "text/html")
        status, content = answer
        return self._send(status, json.dumps(content).encode(), "application/json")

    def _never(self, how: str) -> None:
        if how == "hang":
            self.server.released.wait(30)
        self.close_connection = True
        self.connection.close()

    def _refuse(self, status: int, words: str) -> None:
        text = {"code": status, "message": words} if words else {}
        self._send(status, json.dumps(text).encode(), "application/json")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _ListSubmissions(self, given: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:  # noqa: N802
        for each in self.server.submissions:
            each["looks"] = each.get("looks", 0) + 1
            if each["status"] == "PENDING" and each["looks"] > 1 and self.server.score is not None:
                each.update(self.server.score)
        start, size = int(given.get("pageToken") or 0), int(given["pageSize"])
        page = self.server.submissions[start : start + size]
        more = str(start + size) if start + size < len(self.server.submissions) else ""
        return 200, {"submissions": page, "nextPageToken": more}

    def _StartSubmissionUpload(self, given: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:  # noqa: N802
        token = f"token-{len(self.server.expected)}-{given['fileName']}"
        self.server.expected[token] = given["contentLength"]
        self.server.files[token] = b""
        return 200, {"token": token, "createUrl": f"http://localhost/store/{token}"}

    def _take(self, key: str) -> tuple[int, Mapping[str, Any]] | None:
        """As Google's store takes resumable uploads: whole, in pieces, or asked how much it has."""
        span, length = self.headers.get("Content-Range"), int(self.headers.get("Content-Length", 0))
        files, expected = self.server.files, self.server.expected[key]
        if span is not None and span.startswith("bytes */"):
            if len(files[key]) == expected:
                return 200, {}
            self.send_response(308)
            if files[key]:
                self.send_header("Range", f"bytes=0-{len(files[key]) - 1}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        start = 0 if span is None else int(span.removeprefix("bytes ").partition("-")[0])
        assert start == len(files[key]) or start == 0
        files[key] = files[key][:start] + self._read(length)
        return (200, {}) if len(files[key]) == expected else (400, {})

    def _take_half(self, key: str) -> None:
        self.server.files[key] = self._read(int(self.headers["Content-Length"]) // 2)

    def _read(self, length: int) -> bytes:
        content = self.rfile.read(length)
        self.server.received += len(content)
        return content

    def _CreateSubmission(self, given: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:  # noqa: N802
        token = given["blobFileTokens"]
        content = self.server.files[token]
        if len(content) != self.server.expected[token]:
            return 400, {"code": 400, "message": "the file is not whole"}
        digest = hashlib.sha256(content).hexdigest()
        made = self.server.add(given.get("submissionDescription", ""), fileName=token.split("-", 2)[2], digest=digest)
        return 200, {"message": "Successfully submitted", "ref": made["ref"]}

    def _GetSubmissionLimits(self, given: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:  # noqa: N802
        if self.server.limits is None:
            return 404, {"code": 404, "message": "NotFound"}
        return 200, self.server.limits


def environment(server: KaggleServer, home: Path) -> dict[str, str]:
    """Variables that lead the client, with a token, to the server and nowhere else."""
    address = f"http://127.0.0.1:{server.server_port}"
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    return {
        **dict.fromkeys(names, address),
        "no_proxy": "",
        "NO_PROXY": "",
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "KAGGLE_USERNAME": USER,
        "KAGGLE_KEY": KEY,
        "KAGGLE_CONFIG_DIR": str(home / "kaggle-settings"),
        "HOME": str(home),
    }


@contextmanager
def kaggle_server(slug: str = "small-slug") -> Iterator[KaggleServer]:
    """A server on a free port, for as long as the block lasts."""
    server = KaggleServer(slug)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def interrupt() -> None:
    """Ctrl-C, as the terminal sends it."""
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]


def lead_client(patch: Any, server: KaggleServer, home: Path) -> None:
    """Leads the client of this process to the server; it reads its variables when it is imported."""
    for name in [name for name in os.environ if name.startswith("KAGGLE_")]:
        patch.delenv(name)
    for name, value in environment(server, home).items():
        patch.setenv(name, value)
    for name in [name for name in sys.modules if name.partition(".")[0] == "kaggle"]:
        patch.delitem(sys.modules, name)


def upload_project(home: Path) -> Path:
    """A small project in ``home`` with a good submission; returns its CSV, relative to ``home``."""
    make_project(home)
    csv = Path("submissions/a.csv")
    (home / "submissions").mkdir()
    (home / csv).write_bytes((home / "data/small/solution.csv").read_bytes())
    return csv


def another(csv: Path) -> Path:
    """A good submission beside ``csv`` that differs in its last mask."""
    *lines, last = csv.read_text().splitlines()
    made = csv.with_name("another.csv")
    made.write_text("\n".join([*lines, f"{last.partition(',')[0]},1 7"]) + "\n")
    return made


class Heard(Observer):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.waited: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def waiting(self, text: str) -> None:
        self.waited.append(text)


def small(**changes: Any) -> Competition:
    """The competition of the project in the present folder."""
    return load_competition("small").model_copy(update=changes)


def events() -> list[str]:
    """What the ledger of the present folder has noted, line by line."""
    return [line["event"] for line in read_records("submissions/ledger.jsonl")]
