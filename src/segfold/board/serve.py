"""The board over HTTP, for a page that refreshes while training runs. It only reads, and only what the page needs.

What can be asked for is the page, the reports, the files that they load, and whether they were made anew; nothing else in
``runs/`` is reachable, and nothing outside it. No request writes, builds or starts anything. Other web sites must not read
it either, though the browser of whoever looks at one can reach this machine: the Host header has to name it (else a site
whose name is made to point here would count as ours), and files that are loaded from the pages of others are refused.
"""

import base64
import contextlib
import hashlib
import ipaddress
import json
import os
import re
import shutil
import socket
import stat
import sys
import threading
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote_to_bytes

from segfold.board.places import BoardPlaces
from segfold.errors import SegfoldError, one_line

SILENCE = 30
"""Seconds that a client may take to say something, or to take what it asked for."""

_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".jpg": "image/jpeg",
    ".png": "image/png",
}
_HTML = "text/html; charset=utf-8"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
# The charts bring styles of their own, and heat maps that are drawn into images.
_POLICY = (
    "default-src 'none'; script-src 'self'{data}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DATA = re.compile(rb"<script>(segfold\.put\(\"board\", (\{.*?\})\);)</script>", re.DOTALL)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


class BoardServer(ThreadingHTTPServer):
    """Answers in threads from ``start`` to ``stop``; what comes before waits.

    Attributes:
        made: when the board was last made anew; the page reads it anew when this changes.
    """

    daemon_threads = True  # a client that hangs keeps neither others waiting nor the process from ending
    request_queue_size = 64

    def __init__(self, home: Path, host: str = "127.0.0.1", port: int = 8000) -> None:
        """
        Args:
            home: the working folder.
            host: an address of this machine, or a name that stands for one.
            port: 0 for any that is free.

        Raises:
            SegfoldError: the port is taken, or there is no such address here.
        """
        self.places = BoardPlaces(home)
        self.made = ""
        self._name = host.strip("[]").lower()
        self._thread: threading.Thread | None = None
        if not self._name:
            raise SegfoldError(
                "--host is empty: name an address, such as 127.0.0.1, or 0.0.0.0 for all of this machine's"
            )
        try:
            found = socket.getaddrinfo(self._name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            self.address_family, *_, address = found[0]
            super().__init__(address[:2], _Handler)  # type: ignore[arg-type]
        except (OSError, UnicodeError, OverflowError) as error:
            raise SegfoldError(
                f"port {port} of {host} cannot be used ({getattr(error, 'strerror', None) or error}); stop what uses "
                "it, or give another --port or --host"
            ) from None
        self.bound = ipaddress.ip_address(str(self.server_address[0]).partition("%")[0])

    def server_bind(self) -> None:
        # That of http.server asks for the machine's full name, which may take seconds without a network.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def start(self) -> None:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()

    @property
    def address(self) -> str:
        """Where the page is."""
        host = "localhost" if self.bound.is_unspecified else str(self.bound)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_address[1]}/"

    def is_ours(self, host: str) -> bool:
        """Whether a Host header names this server.

        Any port will do, as a tunnel to here (``ssh -L``) has another one. An address cannot be made to point elsewhere,
        as a name can; names are ``localhost``, the one that was given, and the machine's own where others may connect.
        """
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].strip("[]").lower()
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            alone = self.bound.is_loopback
            return name in {"localhost", self._name} or (not alone and name == socket.gethostname().lower())
        return address.is_loopback or not self.bound.is_loopback

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client that has gone
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: BoardServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "segfold", ""
    timeout = SILENCE

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.command in ("GET", "HEAD"):
            return True
        self._say(HTTPStatus.METHOD_NOT_ALLOWED, "the board is only read: GET or HEAD", Allow="GET, HEAD")
        return False

    def _answer(self) -> None:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not self.server.is_ours(hosts[0]):
            return self._say(HTTPStatus.MISDIRECTED_REQUEST, "this server has another name")
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            return self._say(HTTPStatus.BAD_REQUEST, "a request that reads has no content")
        site, mode = (self.headers.get(f"Sec-Fetch-{name}") for name in ("Site", "Mode"))
        if site not in (None, "same-origin", "none") and mode != "navigate":
            return self._say(HTTPStatus.FORBIDDEN, "the board is not for other sites")
        parts = requested(self.path)
        if parts == ["changes.json"]:
            body = json.dumps({"made": self.server.made}).encode()
            return self._send(HTTPStatus.OK, "application/json", body)
        found = None if parts is None else self._open(parts)
        if found is None:
            return self._say(HTTPStatus.NOT_FOUND, "there is no such part of the board")
        kind, file = found
        with file:
            self._send_file(kind, file)

    def _open(self, parts: list[str]) -> tuple[str, IO[bytes]] | None:
        """The file that is asked for, with its type; None where there is none, or where it may not be read."""
        runs = self.server.places.page.parent
        if kind_of(parts) is None:
            return None
        try:
            root = runs.resolve(strict=True)
            path = root.joinpath(*(parts or ["board.html"])).resolve(strict=True)
            # A link may lead to what is no part of the board, so what it leads to is looked at as well.
            if not path.is_relative_to(root) or (kind := kind_of(list(path.relative_to(root).parts))) is None:
                return None
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError, RuntimeError):
            return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        return kind, os.fdopen(descriptor, "rb")

    def _send_file(self, kind: str, file: IO[bytes]) -> None:
        about = os.fstat(file.fileno())
        mark = f'"{about.st_mtime_ns:x}-{about.st_size:x}-{about.st_ino:x}"'
        headers = {"ETag": mark, "Last-Modified": formatdate(about.st_mtime, usegmt=True)}
        text = file.read() if kind == _HTML else None
        policy = policy_of(text or b"")
        if self.headers.get("If-None-Match") == mark:
            # A browser holds what it has kept to the policy of this answer.
            return self._send(HTTPStatus.NOT_MODIFIED, kind, None, policy=policy, **headers)
        if text is not None:
            return self._send(HTTPStatus.OK, kind, text, policy=policy, **headers)
        self._start(HTTPStatus.OK, kind, about.st_size, policy, headers)
        if self.command != "HEAD":
            shutil.copyfileobj(file, self.wfile)
        return None

    def _say(self, status: HTTPStatus, text: str, **headers: str) -> None:
        """A refusal; what else the client may have sent is not read."""
        self.close_connection = True
        self._send(status, "text/plain; charset=utf-8", f"{text}\n".encode(), **headers, Connection="close")

    def _send(
        self, status: HTTPStatus, kind: str, body: bytes | None, policy: str | None = None, **headers: str
    ) -> None:
        self._start(status, kind, None if body is None else len(body), policy or policy_of(b""), headers)
        if body is not None and self.command != "HEAD":
            self.wfile.write(body)

    def _start(self, status: HTTPStatus, kind: str, size: int | None, policy: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        if size is not None:
            headers = {"Content-Type": kind, "Content-Length": str(size), **headers}
        for name, value in {**headers, **_HEADERS, "Content-Security-Policy": policy}.items():
            self.send_header(name, value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What is no request, or too long a one."""
        with contextlib.suppress(OSError):
            self._say(HTTPStatus(code), one_line(HTTPStatus(code).phrase.lower()))

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nobody reads that."""


def requested(target: str) -> list[str] | None:
    """The parts of the path that a request names, below ``runs/``; none for the page. None where it is no plain path.

    Example:
        >>> requested("/unet%20a/report.html?v=1")
        ['unet a', 'report.html']
        >>> requested("/%2e%2e/data")
    """
    path = target.partition("?")[0].partition("#")[0]
    if not path.startswith("/"):
        return None
    if path == "/":
        return []
    parts = [os.fsdecode(unquote_to_bytes(part.encode("latin-1", "replace"))) for part in path[1:].split("/")]
    plain = all(part and not part.startswith(".") and not set(part) & set("/\\\0") for part in parts)
    return parts if plain else None


def kind_of(parts: list[str]) -> str | None:
    """The type of a file below ``runs/`` by its path; None where it is no part of the board."""
    if parts in ([], ["board.html"]):
        return _HTML
    if any(part.startswith(".") for part in parts):
        return None
    if parts[0] == "board-files":
        return _TYPES.get(Path(parts[-1]).suffix) if len(parts) > 1 else None
    return _HTML if len(parts) == 2 and parts[1] == "report.html" else None


def policy_of(page: bytes) -> str:
    """The content security policy of a page: nothing from elsewhere, and no script in it but the data that a report holds.

    Args:
        page: HTML; of anything else, nothing.
    """
    data = ""
    if (found := _DATA.search(page)) is not None:
        with contextlib.suppress(ValueError, RecursionError):
            json.loads(found[2])  # so it computes nothing
            data = f" 'sha256-{base64.b64encode(hashlib.sha256(found[1]).digest()).decode()}'"
    return _POLICY.format(data=data)
