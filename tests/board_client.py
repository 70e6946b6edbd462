"""A working folder with a board to serve, and a client that sends a request as it stands."""

import http.client
import io
import socket
from pathlib import Path
from urllib.parse import quote

from segfold.board.page import write_page
from segfold.board.script import write_script
from segfold.board.serve import BoardServer

SECRET = "nobody is to read this"
ODD = "<b> 100% ü&?#"


def make_served(tmp_path: Path) -> Path:
    """A working folder with a board of two runs, and secrets wherever none may be read."""
    home = tmp_path / "home"
    for name in ("unet", ODD, ".demo"):
        run = home / "runs" / name
        (run / "fold0").mkdir(parents=True)
        for file in ("config.yaml", "run.json", "environment.json", "fold0/model.safetensors", "fold0/report.html"):
            (run / file).write_text(SECRET)
        write_page(run / "report.html", name, "../board-files/", name, {"report": name, "text": "</script>"})
    files = home / "runs/board-files"
    for name in ("kept.json", "sums/unet-fold0.json", "report.html", "app/.hidden.js", "x.py", "x.js.map"):
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_text(SECRET)
    for name, data in (("app/core.js", b"var a;"), ("app/board.css", b"p {}"), ("sets/ü/thumbs-0.jpg", b"\xff\xd8")):
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_bytes(data)
    write_page(home / "runs/board.html", "home", "board-files/")
    write_script(files / "board.js", "board", {"made": "2026-12-01T10:00:00Z"})
    for path in ("secret.js", "data/x.jpg", "submissions/x.csv", "runs/loose.html", "runs/report.html", "runs/x.js"):
        (home / path).parent.mkdir(exist_ok=True)
        (home / path).write_text(SECRET)
    (tmp_path / "board.html").write_text(SECRET)
    return home


def raw(server: BoardServer, request: bytes) -> bytes:
    """All that comes back for what is sent, to the end of the connection."""
    with socket.create_connection(server.server_address[:2], timeout=60) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)  # nothing more will come
        return b"".join(iter(lambda: client.recv(65536), b""))


def get(
    server: BoardServer, target: str, method: str = "GET", host: str | None = "localhost", **headers: str
) -> http.client.HTTPResponse:
    """An answer with its ``body``; the target is sent as it stands."""
    named = {} if host is None else {"Host": host}
    lines = [
        f"{name.replace('_', '-')}: {value}" for name, value in {**named, "Connection": "close", **headers}.items()
    ]
    request = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("utf-8")
    answer = raw(server, request)

    class Held:
        def makefile(self, *_: object) -> object:
            return io.BytesIO(answer)

    response = http.client.HTTPResponse(Held(), method=method)  # type: ignore[arg-type]
    response.begin()
    response.body = response.read()  # type: ignore[attr-defined]
    return response


def address(*parts: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in parts)
