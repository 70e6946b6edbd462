"""The board's server: what it gives, and above all what it does not; a request reads, and changes nothing."""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from board_client import ODD, SECRET, address, get, make_served, raw
from segfold.board.serve import BoardServer, kind_of, policy_of, requested
from segfold.cli import main
from segfold.errors import SegfoldError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_served(tmp_path)


@pytest.fixture
def server(home: Path) -> Iterator[BoardServer]:
    server = BoardServer(home, port=0)
    server.made = "now"
    server.start()
    yield server
    server.stop()


def test_the_board_its_files_and_the_reports_are_given(server: BoardServer, home: Path) -> None:
    runs = home / "runs"
    for target, path, kind in (
        ("/", runs / "board.html", "text/html; charset=utf-8"),
        ("/board.html#tab=runs", runs / "board.html", "text/html; charset=utf-8"),
        ("/unet/report.html", runs / "unet/report.html", "text/html; charset=utf-8"),
        (address(ODD, "report.html"), runs / ODD / "report.html", "text/html; charset=utf-8"),
        ("/board-files/board.js?v=1", runs / "board-files/board.js", "text/javascript; charset=utf-8"),
        ("/board-files/app/core.js", runs / "board-files/app/core.js", "text/javascript; charset=utf-8"),
        ("/board-files/app/board.css", runs / "board-files/app/board.css", "text/css; charset=utf-8"),
        (address("board-files", "sets", "ü", "thumbs-0.jpg"), runs / "board-files/sets/ü/thumbs-0.jpg", "image/jpeg"),
    ):
        answer, head = get(server, target), get(server, target, "HEAD")
        assert (answer.status, head.status) == (200, 200), target
        assert answer.body == path.read_bytes() and head.body == b"", target
        for each in (answer, head):
            assert each.headers["Content-Type"] == kind
            assert each.headers["Content-Length"] == str(path.stat().st_size)
            assert each.headers["X-Content-Type-Options"] == "nosniff" and each.headers["Cache-Control"] == "no-cache"
        again = get(server, target, If_None_Match=answer.headers["ETag"])
        assert (again.status, again.body) == (304, b"")
        path.write_bytes(b"x" * path.stat().st_size)
        assert get(server, target, If_None_Match=answer.headers["ETag"]).body == path.read_bytes()
    assert json.loads(get(server, "/changes.json").body) == {"made": "now"}


UNREACHABLE = [
    *("/unet", "/unet/", "/unet/config.yaml", "/unet/run.json", "/unet/environment.json", "/unet/fold0/report.html"),
    *(
        "/unet/fold0/model.safetensors",
        "/.demo/report.html",
        "/report.html",
        "/loose.html",
        "/x.js",
        "/runs/board.html",
    ),
    *(
        "/board-files",
        "/board-files/",
        "/board-files/kept.json",
        "/board-files/sums/unet-fold0.json",
        "//board-files/x.py",
    ),
    *("/board-files/report.html", "/board-files/app/.hidden.js", "/board-files/x.py", "/board-files/x.js.map"),
    *(
        "/../secret.js",
        "/board-files/../../secret.js",
        "/board-files/../unet/config.yaml",
        "/board-files/app/../../x.js",
    ),
    *("/%2e%2e/secret.js", "/board-files/%2e%2e/%2e%2e/secret.js", "/board-files/.%2e/%2E./secret.js"),
    *("/board-files/%2e%2e%2f%2e%2e%2fsecret.js", "/board-files%2fboard.js", "/board-files/..%5c..%5csecret.js"),
    *(
        "/board-files/%252e%252e/%252e%252e/secret.js",
        "/board-files/..;/../secret.js",
        "/board-files/%c0%ae%c0%ae/x.js",
    ),
    *(
        "/board-files//etc/passwd",
        "/board-files/%2fetc%2fpasswd",
        "//etc/passwd",
        "/etc/passwd",
        "/board-files/\\..\\x.js",
    ),
    *(
        "/board-files/board.js%00.jpg",
        "/board-files/%00",
        "/unet/report.html%00",
        "/unet/./report.html",
        "/unet//report.html",
    ),
    *(
        "/unet/report.html/",
        "/board.html/",
        "/changes.json/",
        "/CHANGES.JSON",
        "/board.HTML",
        "http://localhost/board.html",
    ),
    *(
        "secret.js",
        "*",
        "file:///etc/passwd",
        "/" + "a" * 5000,
        "/board-files/" + "a/" * 3000 + "x.js",
        "/board-files/link.js",
    ),
    *(
        "/board-files/inside.js",
        "/board-files/linked/x.js",
        "/linked/report.html",
        "/outside/report.html",
        "/board-files/pipe.js",
    ),
    *("/board-files/folder.js", "/board-files/circle.js", "/board-files/data.jpg"),
]


def test_nothing_else_is_reachable(server: BoardServer, home: Path) -> None:
    files = home / "runs/board-files"
    (files / "link.js").symlink_to(home / "secret.js")
    (files / "inside.js").symlink_to("../unet/config.yaml")  # in runs/, and yet no part of the board
    (files / "linked").symlink_to("../..")
    (files / "circle.js").symlink_to("circle.js")
    (files / "data.jpg").symlink_to(home / "data/x.jpg")
    (files / "folder.js").mkdir()
    os.mkfifo(files / "pipe.js")
    (home / "runs/linked").mkdir()
    (home / "runs/linked/report.html").symlink_to("../unet/config.yaml")
    (home / "elsewhere").mkdir()
    (home / "elsewhere/report.html").write_text(SECRET)
    (home / "runs/outside").symlink_to("../elsewhere")
    for target in UNREACHABLE:
        for method in ("GET", "HEAD"):
            answer = get(server, target, method)
            assert answer.status == 404 and SECRET.encode() not in answer.body, target
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_every_file_of_the_folder_is_a_part_of_the_board_or_hidden(server: BoardServer, home: Path) -> None:
    given = set()
    for path in home.rglob("*"):
        parts = (
            path.relative_to(home / "runs").parts
            if path.is_relative_to(home / "runs")
            else ("..", *path.relative_to(home).parts)
        )
        answer = get(server, address(*parts))
        if path.is_file() and answer.status == 200:
            given.add("/".join(parts))
    assert given == {
        *("board.html", "unet/report.html", f"{ODD}/report.html", "board-files/board.js", "board-files/app/core.js"),
        *("board-files/app/board.css", "board-files/sets/ü/thumbs-0.jpg"),
    }


def test_a_link_to_the_runs_folder_is_followed(home: Path) -> None:
    (home / "runs").rename(home / "big-disk")
    (home / "runs").symlink_to("big-disk")
    server = BoardServer(home, port=0)
    server.start()
    assert get(server, "/").status == 200 == get(server, "/unet/report.html").status
    server.stop()


HOSTS = {
    200: [
        "localhost",
        "localhost:1",
        "LOCALHOST:8000",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.1.2.3:65535",
        "[::1]",
        "[::1]:8000",
    ],
    421: [
        *(
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.168.1.7",
            "10.0.0.1:80",
        ),
        *(
            "",
            ":",
            ":80",
            "localhost:",
            "localhost:x",
            "localhost:123456",
            "localhost:80:80",
            "[::1",
            "::1",
            "[::2]",
            "0.0.0.0",
        ),
        *(
            "localhost/",
            "user@localhost",
            "localhost evil.example",
            "localhost,evil.example",
            "127.1",
            "2130706433",
            "[evil]",
        ),
    ],
}


@pytest.mark.parametrize("status", HOSTS)
def test_the_host_header_names_this_server(server: BoardServer, status: int) -> None:
    for host in HOSTS[status]:
        for target in ("/", "/changes.json", "/nowhere"):
            expected = 404 if target == "/nowhere" and status == 200 else status
            assert get(server, target, host=host).status == expected, (host, target)


def test_a_missing_or_doubled_host_is_refused(server: BoardServer) -> None:
    for request in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    ):
        assert raw(server, request).startswith(b"HTTP/1.1 421 ")
    assert b"segfold" not in raw(server, b"GET /\r\n")  # HTTP/0.9 has no headers at all


def test_names_of_a_server_for_the_network(home: Path) -> None:
    server = BoardServer(home, "0.0.0.0", 0)
    with contextlib.closing(server.socket):
        assert server.address.startswith("http://localhost:")
        ours = ("localhost", "192.168.1.7:8000", "[fe80::1]:80", socket.gethostname())
        assert all(map(server.is_ours, ours)) and not server.is_ours("evil.example")


def test_other_sites_may_not_load_the_data(server: BoardServer) -> None:
    for site, mode, status in (
        *(("cross-site", "no-cors", 403), ("same-site", "cors", 403), ("cross-site", "websocket", 403)),
        *(("cross-site", "navigate", 200), ("same-origin", "no-cors", 200), ("none", "navigate", 200)),
    ):
        headers = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": mode}
        answer = get(server, "/board-files/board.js", **headers)
        assert answer.status == status and (b"put" in answer.body) == (status == 200)
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_no_request_changes_anything(server: BoardServer, home: Path) -> None:
    def everything() -> dict[str, tuple[int, int, bytes]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
            for path in [home, *home.rglob("*")]
        }

    before = everything()
    for method in (
        "POST",
        "PUT",
        "DELETE",
        "PATCH",
        "OPTIONS",
        "TRACE",
        "CONNECT",
        "MOVE",
        "MKCOL",
        "PROPFIND",
        "get",
        "BREW",
    ):
        for target in ("/", "/unet/report.html", "/board-files/board.js", "/new.html", "/changes.json"):
            answer = get(server, target, method, Content_Length="0")
            assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD", (method, target)
    for request in (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nGET /",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"\x16\x03\x01\x00\xff\x00\r\n\r\n",
    ):
        assert re.match(rb"HTTP/1.1 (400|414|431|505) |[a-z ]+\n$", raw(server, request)), request[:40]
    for target in UNREACHABLE:
        get(server, target)
    assert everything() == before


def test_a_page_may_load_nothing_from_elsewhere_and_run_its_data_alone(server: BoardServer, home: Path) -> None:
    policy = get(server, "/").headers["Content-Security-Policy"]
    assert (
        "default-src 'none'; script-src 'self';" in policy
        and "frame-ancestors 'none'" in policy
        and "http" not in policy
    )
    answer = get(server, "/unet/report.html")
    inline = re.findall(rb"<script>(.*?)</script>", answer.body, re.DOTALL)
    assert len(inline) == 1
    expected = base64.b64encode(hashlib.sha256(inline[0]).digest()).decode()
    assert f"script-src 'self' 'sha256-{expected}';" in answer.headers["Content-Security-Policy"]
    again = get(server, "/unet/report.html", If_None_Match=answer.headers["ETag"])
    assert again.status == 304  # a browser holds the page that it kept to this answer's policy
    assert again.headers["Content-Security-Policy"] == answer.headers["Content-Security-Policy"]
    for script in ('segfold.put("board", {"a": alert(1)});', 'segfold.put("board", {});alert(1);', "alert(1)"):
        assert "sha256" not in policy_of(f"<script>{script}</script>".encode())


def test_clients_that_hang_keep_nobody_waiting(server: BoardServer) -> None:
    with contextlib.ExitStack() as stack:
        for sent in (b"", b"GET / HT", b"GET /board-files/board.js HTTP/1.1\r\nHost: localhost\r\n") * 10:
            client = stack.enter_context(socket.create_connection(server.server_address[:2]))
            client.sendall(sent)
        assert get(server, "/").status == 200
    connection = http.client.HTTPConnection(*server.server_address[:2])
    for target in ("/", "/changes.json", "/board-files/board.js"):  # one connection serves several requests
        connection.request("GET", target, headers={"Host": "localhost"})
        assert len(connection.getresponse().read()) > 0
    connection.close()


def test_paths_and_kinds() -> None:
    assert requested("/") == requested("/?x=1") == [] and requested("/a%20b/%C3%BC") == ["a b", "ü"]
    assert requested("/%ff") == [os.fsdecode(b"\xff")]
    assert kind_of(["board-files"]) is kind_of(["a", "b", "report.html"]) is kind_of([".a", "report.html"]) is None


def test_a_port_that_is_taken_is_one_line(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SegfoldError, match=f"port {port} of 127.0.0.1 cannot be used .*another --port"):
            BoardServer(home, port=port)
    for host in ("", "nowhere.invalid", "203.0.113.7", "a" * 300, "\0"):
        with pytest.raises(SegfoldError):
            BoardServer(home, host, 0)
    assert main(["watch", "--port", "70000"]) == main(["watch", "--every", "0"]) == 2
