"""An upload that fails at any step: nothing is lost, nothing is sent twice, and the ledger is true."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kaggle_server import (
    Fault,
    Heard,
    KaggleServer,
    events,
    interrupt,
    kaggle_server,
    lead_client,
    small,
    upload_project,
)
from segfold.cli import main
from segfold.errors import SegfoldError
from segfold.leaderboard import UploadOptions, read_ledger, sync, upload
from segfold.leaderboard.ledger import checksum
from segfold.leaderboard.reconcile import sending_lock
from small_project import ROOT

QUICK = UploadOptions(wait=20, answer=10, settle=0.2, pause=0.02)


def quick(fault: Fault | list[Fault]) -> UploadOptions:
    """What is answered at all is answered within a second, however busy the machine."""
    return replace(QUICK, answer=1.0) if "hang" in str(fault) else QUICK


@pytest.fixture
def csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = upload_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return found


@pytest.fixture
def server(csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KaggleServer]:
    with kaggle_server() as made:
        lead_client(monkeypatch, made, tmp_path)
        yield made


def state() -> str:
    (each,) = read_ledger()
    return each.state


def goes_on(csv: Path, server: KaggleServer) -> None:
    """The same again ends well: the host has the file once, and the ledger its score."""
    before = csv.read_bytes()
    assert upload(csv, small(), options=QUICK).public == 0.871
    assert len(server.submissions) == 1 and state() == "scored" and csv.read_bytes() == before


@pytest.mark.parametrize(
    ("step", "fault", "said"),
    [
        (
            "CreateSubmission",
            400,
            r"refused the submission \(400\), most likely because the competition is over and takes no late",
        ),
        (
            "CreateSubmission",
            (400, "Submission limit reached"),
            r"\(400: Submission limit reached\), submissions/a\.csv stays",
        ),
        (
            "CreateSubmission",
            403,
            r"\(403\), most likely because its rules are not accepted \(https://www.kaggle.com/c/small",
        ),
        ("CreateSubmission", (403, "Permission was denied"), "403: Permission was denied.*takes no late submissions"),
        ("CreateSubmission", 404, "knows no competition small-slug .404.: correct the slug"),
        ("CreateSubmission", 429, "asked too often"),
        ("StartSubmissionUpload", 403, "refused the upload .403., most likely because its rules are not accepted"),
        ("StartSubmissionUpload", 500, "an error of its own .500.: try again, submissions/a.csv stays as it is"),
        ("StartSubmissionUpload", "drop", "cannot be reached for the upload .the connection broke."),
        ("ListSubmissions", 403, "refused the submissions .403., most likely because its rules are not accepted"),
        ("ListSubmissions", 503, "an error of its own .503."),
        ("ListSubmissions", "hang", "cannot be reached for the submissions .no answer in time."),
        ("GetSubmissionLimits", "hang", "cannot be reached for the limits .no answer in time."),
    ],
)
def test_what_the_host_did_not_take(csv: Path, server: KaggleServer, step: str, fault: Fault, said: str) -> None:
    server.faults[step] = [fault]
    with pytest.raises(SegfoldError, match=said) as caught:
        upload(csv, small(), options=quick(fault))
    assert "\n" not in str(caught.value) and "csv stays" in str(caught.value)
    assert server.submissions == [] and state() == "written"
    assert events() == ["written", *(["sending", "refused"] if step == "CreateSubmission" else [])]
    goes_on(csv, server)


def test_a_bare_400_where_the_limit_is_not_known(csv: Path, server: KaggleServer) -> None:
    server.limits, server.faults["CreateSubmission"] = None, [400]
    with pytest.raises(SegfoldError, match=r"\(400\), most likely because the day's submissions are used up, "):
        upload(csv, small(), options=QUICK)


@pytest.mark.parametrize("fault", ["drop after", "hang after", "error after", "page after"])
def test_a_lost_answer(csv: Path, server: KaggleServer, fault: Fault) -> None:
    server.faults["CreateSubmission"] = [fault]
    heard = Heard()
    assert upload(csv, small(), observer=heard, options=quick(fault)).public == 0.871
    assert any("the answer was lost, and Kaggle lists it" in line for line in heard.lines)
    assert server.asked.count("CreateSubmission") == 1 and events() == ["written", "sending", "sent", "scored"]


@pytest.mark.parametrize("fault", ["drop", "hang", 500])
def test_no_answer_and_not_taken(csv: Path, server: KaggleServer, fault: Fault) -> None:
    server.faults["CreateSubmission"] = [fault]
    with pytest.raises(SegfoldError, match="it is not known whether Kaggle took it: `make sync` finds out"):
        upload(csv, small(), options=quick(fault))
    assert state() == "unknown" and server.submissions == []
    goes_on(csv, server)
    assert server.asked.count("CreateSubmission") == 2


def test_taken_and_listed_late(csv: Path, server: KaggleServer) -> None:
    """The host takes it, the answer is lost, and its list does not have it before the time to settle is nearly up."""
    late: list[dict[str, Any]] = []

    def show() -> None:
        server.submissions[:] = late

    def hide() -> None:
        late.extend(server.submissions)
        server.submissions.clear()
        threading.Timer(1.5, show).start()
        server.released.wait(5)  # and no answer before the client gives up

    server.faults["CreateSubmission"] = [hide]
    upload(csv, small(), options=UploadOptions(wait=10, answer=1, settle=8, pause=0.02))
    assert server.asked.count("CreateSubmission") == 1 and state() == "scored"


@pytest.mark.parametrize("faults", [["cut"], ["drop"], [503], [500], ["hang"], ["drop after"], ["cut", "drop", 500]])
def test_a_file_that_arrives_in_pieces(csv: Path, server: KaggleServer, faults: list[Fault]) -> None:
    server.faults["PUT"] = list(faults)
    upload(csv, small(), options=replace(quick(faults), wait=0))
    (sent,) = server.submissions
    assert sent["digest"] == checksum(csv)
    if faults == ["cut"]:  # the second half alone is sent again
        assert server.received == csv.stat().st_size
        assert server.asked.count("PUT") == 3 and server.asked.count("StartSubmissionUpload") == 1


@pytest.mark.parametrize("fault", ["drop", 500, 403])
def test_a_file_that_never_arrives(csv: Path, server: KaggleServer, fault: Fault) -> None:
    server.faults["PUT"] = [fault] * 8
    with pytest.raises(SegfoldError, match=r"a\.csv did not reach Kaggle in 4 tries .*: try again, .*stays as it is"):
        upload(csv, small(), options=QUICK)
    assert "CreateSubmission" not in server.asked and events() == ["written"]
    server.faults.clear()
    goes_on(csv, server)


def test_a_file_that_the_host_cannot_score(csv: Path, server: KaggleServer) -> None:
    server.score = {"status": "ERROR", "errorDescription": "ERROR: Unable to\nfind 6 required key values"}
    with pytest.raises(
        SegfoldError, match=r"could not score it .ERROR: Unable to find 6 required key values.: mend it"
    ):
        upload(csv, small(), options=QUICK)
    assert state() == "rejected"
    with pytest.raises(SegfoldError, match=r"and rejected it .*Unable to find"):
        upload(csv, small(), options=QUICK)
    assert len(server.submissions) == 1


@pytest.mark.parametrize("step", ["ListSubmissions", "StartSubmissionUpload", "PUT", "CreateSubmission", "score"])
def test_ctrl_c(csv: Path, server: KaggleServer, step: str, capsys: pytest.CaptureFixture[str]) -> None:
    if step == "score":
        server.faults["CreateSubmission"] = [lambda: server.faults.update(ListSubmissions=[interrupt])]
    else:
        server.faults[step] = [interrupt]
    assert main(["upload", str(csv), "--competition", "small"]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    expected = {"CreateSubmission": ("unknown", 1), "score": ("sent", 1)}
    assert (state(), len(server.submissions)) == expected.get(step, ("written", 0))
    goes_on(csv, server)
    assert server.asked.count("CreateSubmission") == 1


def test_killed_after_the_host_took_it(csv: Path, server: KaggleServer) -> None:
    processes: list[subprocess.Popen[bytes]] = []
    server.faults["CreateSubmission"] = [lambda: os.kill(processes[0].pid, signal.SIGKILL)]
    command = [sys.executable, "-m", "segfold", "upload", str(csv), "--competition", "small"]
    processes.append(subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}))
    assert processes[0].wait(120) == -signal.SIGKILL
    assert state() == "unknown" and events() == ["written", "sending"] and len(server.submissions) == 1
    heard = Heard()
    sync(observer=heard, options=QUICK)
    (known,) = read_ledger()
    assert (known.state, known.ref) == ("sent", 1000) and "taken, not scored yet" in heard.lines[0]
    goes_on(csv, server)


def test_two_at_once(csv: Path, server: KaggleServer) -> None:
    with sending_lock(Path()), pytest.raises(SegfoldError, match="another process is sending a submission"):
        upload(csv, small(), options=QUICK)
    assert server.submissions == []
    goes_on(csv, server)


@pytest.mark.parametrize("torn", [b'{"event": "sen', b'{"event": "sent", "sha256": "0", "time": "x"}'])
def test_a_torn_line_is_dropped(csv: Path, server: KaggleServer, torn: bytes) -> None:
    server.faults["CreateSubmission"] = [403]
    with pytest.raises(SegfoldError):
        upload(csv, small(), options=QUICK)
    with Path("submissions/ledger.jsonl").open("ab") as file:
        file.write(torn)
    assert state() == "written"
    goes_on(csv, server)
    assert events() == ["written", "sending", "refused", "sending", "sent", "scored"]


def test_no_client_no_token_no_network(csv: Path, server: KaggleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "kaggle", None)
        with pytest.raises(
            SegfoldError, match=r"not installed: run `pip install .kaggle>=2\.2. six`, submissions/a\.csv stays"
        ):
            upload(csv, small(), options=QUICK)
    with monkeypatch.context() as patch:
        lead_client(patch, server, Path.cwd())
        patch.delenv("KAGGLE_KEY")
        with pytest.raises(SegfoldError, match=r"no Kaggle token: make one on .*, submissions/a\.csv stays as it is"):
            upload(csv, small(), options=QUICK)
    with monkeypatch.context() as patch:
        lead_client(patch, server, Path.cwd())
        patch.setenv("KAGGLE_KEY", "old")
        with pytest.raises(SegfoldError, match=r"refused the token \(401: Unauthenticated\): make a new one"):
            upload(csv, small(), options=QUICK)
    with monkeypatch.context() as patch, kaggle_server() as gone:
        lead_client(patch, gone, Path.cwd())
        gone.shutdown()
        gone.server_close()
        for token in ("", "a-token"):  # the client asks about tokens of the new kind when it signs in
            patch.setenv("KAGGLE_API_TOKEN", token)
            with pytest.raises(
                SegfoldError, match=r"cannot be reached for .* .connection refused.: look at the network"
            ):
                upload(csv, small(), options=QUICK)
    assert state() == "written" and server.submissions == []
    lead_client(monkeypatch, server, Path.cwd())
    goes_on(csv, server)


def test_nothing_goes_past_the_server(csv: Path, server: KaggleServer) -> None:
    import requests

    with pytest.raises(requests.exceptions.ProxyError):
        requests.get("https://www.kaggle.com", timeout=5)
    assert server.asked == ["CONNECT www.kaggle.com:443"]
