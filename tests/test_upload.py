"""Sending a submission with Kaggle's own client, to a host on loopback that speaks its protocol."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kaggle_server import Heard, KaggleServer, another, events, kaggle_server, lead_client, small, upload_project
from segfold.competition import Leaderboard
from segfold.errors import SegfoldError
from segfold.files import write_json
from segfold.leaderboard import UploadOptions, read_ledger, record_by_hand, upload
from segfold.leaderboard.ledger import checksum

QUICK = UploadOptions(wait=20, answer=5, settle=0.3, pause=0.02)


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


def test_sent_scored_and_recorded(csv: Path, server: KaggleServer) -> None:
    heard = Heard()
    made = upload(csv, small(), message="a first try", observer=heard, options=QUICK)
    assert server.asked[:5] == [
        "ListSubmissions",
        "GetSubmissionLimits",
        "StartSubmissionUpload",
        "PUT",
        "CreateSubmission",
    ]
    digest = hashlib.sha256(csv.read_bytes()).hexdigest()
    (sent,) = server.submissions
    assert sent["digest"] == digest and sent["fileName"] == "a.csv"
    assert sent["description"] == f"a first try [segfold {digest[:16]}]"
    assert (made.state, made.public, made.private, made.ref, made.message) == (
        "scored",
        0.871,
        None,
        1000,
        "a first try",
    )
    assert read_ledger() == [made] and events() == ["written", "sending", "sent", "scored"]
    assert any("4 more today" in line for line in heard.lines)
    assert "public 0.871, private not shown" in heard.lines[-1]
    assert heard.waited[-1] == "" and any("waiting for the score" in text for text in heard.waited)


def test_an_identical_file_is_not_sent_twice(csv: Path, server: KaggleServer) -> None:
    upload(csv, small(), options=QUICK)
    copy = csv.with_name("b.csv")
    copy.write_bytes(csv.read_bytes())
    heard = Heard()
    again = upload(copy, small(), observer=heard, options=QUICK)
    assert len(server.submissions) == 1 and again.public == 0.871
    assert "not sent again: public 0.871" in heard.lines[-1]
    Path("submissions/ledger.jsonl").unlink()  # the host still knows
    heard = Heard()
    again = upload(copy, small(), observer=heard, options=QUICK)
    assert len(server.submissions) == 1 and (again.state, again.public) == ("scored", 0.871)
    assert any("has submissions/b.csv already" in line for line in heard.lines)


def test_what_has_a_score_by_hand_is_not_sent(csv: Path, server: KaggleServer) -> None:
    record_by_hand(Path(), csv, "small", 0.5, None)
    assert upload(csv, small(), options=QUICK).public == 0.5
    assert server.asked == []


def test_without_a_score_in_time_the_same_call_goes_on_waiting(csv: Path, server: KaggleServer) -> None:
    server.score = None
    heard = Heard()
    made = upload(csv, small(), observer=heard, options=UploadOptions(wait=0.2, pause=0.05))
    assert made.state == "sent" and made.public is None and "make sync" in heard.lines[-1]
    server.score = {"status": "COMPLETE", "publicScore": "0.5", "privateScore": "0.25"}
    made = upload(csv, small(), options=QUICK)
    assert (made.state, made.public, made.private) == ("scored", 0.5, 0.25)
    assert len(server.submissions) == 1 and server.asked.count("CreateSubmission") == 1


def test_waiting_outlives_trouble(csv: Path, server: KaggleServer) -> None:
    server.faults["CreateSubmission"] = [lambda: server.faults.update(ListSubmissions=[502, "drop", 500])]
    heard = Heard()
    assert upload(csv, small(), observer=heard, options=QUICK).public == 0.871
    assert any("error of its own (502)" in text for text in heard.waited)


def test_only_a_file_that_passes_the_check_is_sent(csv: Path, server: KaggleServer) -> None:
    lines = csv.read_text().splitlines()
    csv.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(SegfoldError, match=r"a\.csv was not sent, it fails the check"):
        upload(csv, small(), options=QUICK)
    assert server.asked == [] and [each.state for each in read_ledger()] == ["written"]


def test_a_large_file_is_zipped(csv: Path, server: KaggleServer) -> None:
    upload(csv, small(), options=UploadOptions(wait=0, large=10))
    (sent,) = server.submissions
    (content,) = server.files.values()
    assert sent["fileName"] == "a.csv.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["a.csv"] and archive.read("a.csv") == csv.read_bytes()
    assert checksum(csv)[:16] in sent["description"]  # of the file itself, however it is packed


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (
            {"numToday": 5, "numTotal": 9, "numAllowedNow": 0},
            "5 submissions today, and Kaggle takes no more; .* 00:00 UTC",
        ),
        ({"numToday": 1, "numTotal": 9, "limitedByTotal": True}, "all 9 submissions of the competition are used up"),
    ],
)
def test_over_the_hosts_limit_nothing_is_sent(
    csv: Path, server: KaggleServer, limits: dict[str, object], said: str
) -> None:
    server.limits = limits
    with pytest.raises(SegfoldError, match=f"not sent: {said}"):
        upload(csv, small(), options=QUICK)
    assert server.asked == ["ListSubmissions", "GetSubmissionLimits"] and events() == ["written"]


@pytest.mark.parametrize("limits", [None, {"numAllowedNow": 0}], ids=["no answer", "not on a team"])
def test_without_the_hosts_limit_that_of_the_competition_file_holds(
    csv: Path, server: KaggleServer, limits: dict[str, object] | None
) -> None:
    server.limits = limits
    two = small(leaderboard=Leaderboard(daily=2))
    server.add("by hand", timedelta(days=1), status="COMPLETE")
    server.add("by hand", status="ERROR")  # which the host does not count
    server.add("by hand", status="COMPLETE")
    at_once = UploadOptions(wait=0)
    upload(csv, two, options=at_once)
    assert len(server.submissions) == 4
    with pytest.raises(SegfoldError, match="2 submissions today, of 2 a day"):
        upload(another(csv), two, options=at_once)
    server.submissions.clear()  # as if listed late: the ledger has one of today
    assert upload(another(csv), two, options=at_once).state == "sent"
    server.submissions.clear()
    third = another(csv)
    third.write_text(third.read_text().replace("1 7", "1 8"))
    with pytest.raises(SegfoldError, match="2 submissions today, of 2 a day"):
        upload(third, two, options=at_once)


def test_the_manifest_goes_into_the_ledger(csv: Path, server: KaggleServer) -> None:
    cv = {"nested": {"mean": 0.8655, "standard_error": 0.0058, "images": 20}, "tuned": {"mean": 0.9}}
    members = [{"run": "runs/a"}, {"run": "runs/b"}]
    manifest = {"sha256": checksum(csv), "competition": "small", "cv": cv, "members": members}
    write_json(csv.with_suffix(".json"), manifest)
    heard = Heard()
    made = upload(csv, small(), observer=heard, options=QUICK)
    assert (made.cv, made.cv_error, made.members) == (0.8655, 0.0058, ("runs/a", "runs/b"))
    assert heard.lines[-1].endswith("(out of fold 0.8655 ± 0.0058)")
    with pytest.raises(SegfoldError, match="is for small, not for other: say --competition small"):
        upload(csv, small(name="other"), options=QUICK)
    another(csv).replace(csv)  # of which the manifest says nothing
    assert upload(csv, small(), options=QUICK).cv is None
    assert [each.cv for each in read_ledger()] == [0.8655, None]


def test_a_competition_elsewhere_and_messages_that_do_not_fit(csv: Path, server: KaggleServer) -> None:
    with pytest.raises(SegfoldError, match="Small is not on Kaggle"):
        upload(csv, small(slug=None))
    for message in ("x" * 301, "two\nlines"):
        with pytest.raises(SegfoldError, match="expected one line of at most 300"):
            upload(csv, small(), message=message)
    assert server.asked == []
