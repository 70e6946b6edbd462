"""What the host says of earlier submissions comes into the ledger; scores come by hand too."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kaggle_server import (
    Heard,
    KaggleServer,
    another,
    events,
    kaggle_server,
    lead_client,
    small,
    upload_project,
)
from segfold.cli import main
from segfold.errors import SegfoldError
from segfold.files import append_line, write_json
from segfold.leaderboard import UploadOptions, note_written, read_ledger, record_by_hand, sync, upload
from segfold.leaderboard.ledger import checksum, note

AT_ONCE = UploadOptions(wait=0, answer=10, settle=0, pause=0.02)


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


def test_scores_come_later_the_private_ones_last(csv: Path, server: KaggleServer) -> None:
    upload(csv, small(), options=AT_ONCE)
    server.score = None
    heard = Heard()
    sync(observer=heard, options=AT_ONCE)
    assert read_ledger()[0].state == "sent" and heard.lines == ["small-slug: nothing new among 1 submissions"]
    server.score = {"status": "COMPLETE", "publicScore": "0.87163"}
    (known,) = sync(options=AT_ONCE)
    assert (known.state, known.public, known.private) == ("scored", 0.87163, None)
    server.submissions[0]["privateScore"] = "0.85918"
    heard = Heard()
    (known,) = sync(observer=heard, options=AT_ONCE)
    assert (known.public, known.private) == (0.87163, 0.85918)
    assert heard.lines == ["submissions/a.csv: public 0.87163, private 0.85918"]
    before = events()
    assert sync(options=AT_ONCE) == [known] and events() == before == ["written", "sending", "sent", "scored", "scored"]


def test_what_was_never_taken_may_be_sent_again(csv: Path, server: KaggleServer) -> None:
    known = note_written(Path(), csv, "small")
    note(Path(), known.sha256, "sending", slug="small-slug", message="")
    heard = Heard()
    (known,) = sync(observer=heard, options=UploadOptions(settle=3600))
    assert known.state == "unknown" and "asked for only just now" in heard.lines[0]
    assert "nothing new" in heard.lines[1]
    (known,) = sync(observer=heard, options=AT_ONCE)
    assert known.state == "written" and "never took it, it may be sent again" in heard.lines[-1]
    upload(csv, small(), options=AT_ONCE)
    assert len(server.submissions) == 1


def test_a_rejected_file_and_those_of_others(csv: Path, server: KaggleServer) -> None:
    server.score = {"status": "ERROR", "errorDescription": "too few rows"}
    server.add("by hand", status="COMPLETE", publicScore="0.5")
    server.add(f"of another competitor [segfold {'f' * 16}]", status="COMPLETE", publicScore="0.6")
    upload(csv, small(), options=AT_ONCE)
    heard = Heard()
    sync(options=AT_ONCE)
    (known,) = sync(observer=heard, options=AT_ONCE)
    assert known.state == "rejected" and known.problem == "too few rows"


def test_on_a_late_page(csv: Path, server: KaggleServer) -> None:
    upload(csv, small(), options=AT_ONCE)
    for _ in range(230):
        server.add("by hand", status="COMPLETE", publicScore="0.5")
    server.asked.clear()
    sync(options=AT_ONCE)
    (known,) = sync(options=AT_ONCE)
    assert known.public == 0.871 and server.asked == ["ListSubmissions"] * 6


def test_a_ledger_that_was_lost(csv: Path, server: KaggleServer, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = {"sha256": checksum(csv), "competition": "small", "cv": {"tuned": {"mean": 0.8, "standard_error": 0.01}}}
    write_json(csv.with_suffix(".json"), manifest)
    upload(csv, small(), message="the first", options=AT_ONCE)
    server.submissions[0].update(date="2018-10-19T08:30:00.51Z", status="COMPLETE", publicScore="0.871")
    Path("submissions/ledger.jsonl").unlink()
    assert main(["sync"]) == 0
    assert "nothing was sent from here yet" in capsys.readouterr().out and server.asked.count("ListSubmissions") == 1
    assert main(["sync", "--competition", "small"]) == 0
    (known,) = read_ledger()
    assert (known.message, known.cv, known.sent, known.public) == ("the first", 0.8, "2018-10-19T08:30:00Z", 0.871)
    out = capsys.readouterr().out
    assert "submissions/a.csv" in out and "0.871" in out and "2018-10-19 08:30" in out and "0.8000" in out


def test_the_host_refuses(csv: Path, server: KaggleServer, capsys: pytest.CaptureFixture[str]) -> None:
    upload(csv, small(), options=AT_ONCE)
    server.faults["ListSubmissions"] = [403]
    assert main(["sync"]) == 2
    assert "rules are not accepted" in (error := capsys.readouterr().err) and "the ledger stays as it is" in error


def test_recorded_by_hand(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["record", str(csv), "--competition", "small", "--public", "0.871"]) == 0
    assert "0.871" in capsys.readouterr().out
    assert main(["record", str(csv), "--competition", "small", "--private", "0.86"]) == 0
    (known,) = read_ledger()
    assert (known.state, known.public, known.private, known.competition) == ("scored", 0.871, 0.86, "small")
    csv.unlink()
    record_by_hand(Path(), Path(csv), "small", 0.872, None)  # the ledger knows its name
    assert [each.public for each in read_ledger()] == [0.872]
    assert main(["record", "submissions/b.csv", "--competition", "small", "--public", "1"]) == 2
    assert main(["record", str(csv), "--competition", "small"]) == 2
    error = capsys.readouterr().err
    assert "the ledger knows no submission of that name" in error and "give public=…, private=… or both" in error
    assert len(read_ledger()) == 1


def test_by_hand_and_by_the_host(csv: Path, server: KaggleServer) -> None:
    upload(csv, small(), options=AT_ONCE)
    record_by_hand(Path(), csv, "small", 0.5, None)
    sync(options=AT_ONCE)
    assert [each.public for each in sync(options=AT_ONCE)] == [0.871]


def test_events_fold_by_checksum(csv: Path) -> None:
    first = note_written(Path(), csv, "small")
    assert note_written(Path(), csv, "small") == first and events() == ["written"]
    other = note_written(Path(), another(csv), "small")
    assert [each.file for each in read_ledger()] == ["submissions/a.csv", "submissions/another.csv"]
    copy = Path("submissions/copy.csv")
    copy.write_bytes(csv.read_bytes())
    assert note_written(Path(), copy, "small") == first and events() == ["written", "written"]
    renamed = csv.rename("submissions/c.csv")
    assert note_written(Path(), renamed, "small").file == "submissions/c.csv"
    assert [each.sha256 for each in read_ledger()] == [first.sha256, other.sha256]
    append_line(
        "submissions/ledger.jsonl", {"event": "praised", "sha256": first.sha256, "time": "x", "by": "a newer one"}
    )
    note(Path(), other.sha256, "refused", problem="never asked for")  # out of turn
    assert [each.state for each in read_ledger()] == ["written", "written"] and read_ledger()[1].problem == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("5", "line 2: it is 5, expected an event"),
        ('{"event": "sent", "time": "x"}', "line 2: sha256 is None, expected text"),
        (
            '{"event": "scored", "sha256": "a", "time": "x", "public": "0.8"}',
            "line 2: public is '0.8', expected a number",
        ),
        ('{"event": "scored", "sha256": "a", "time": "x", "public": NaN}', "line 2: public is nan, expected a number"),
        ("no JSON", "line 2 is not JSON"),
    ],
)
def test_a_ledger_that_was_broken_by_hand(csv: Path, line: str, said: str) -> None:
    note_written(Path(), csv, "small")
    append_line("submissions/ledger.jsonl", line)
    with pytest.raises(SegfoldError, match=said):
        read_ledger()


def test_sent_from_two_machines(server: KaggleServer, csv: Path) -> None:
    """Of several with the mark, as after a second machine's upload, the first counts."""
    mark = checksum(csv)[:16]
    server.add(f"[segfold {mark}]", timedelta(hours=2), status="COMPLETE", publicScore="0.7")
    server.add(f"[segfold {mark}]", timedelta(hours=1), status="COMPLETE", publicScore="0.7")
    assert upload(csv, small(), options=AT_ONCE).ref == 1000
    assert "CreateSubmission" not in server.asked
