"""``submit --upload``: written, noted and sent in one command, and what stands in its way."""

from pathlib import Path

import pytest

from kaggle_server import kaggle_server, lead_client
from made_run import made_run
from segfold.cli import main
from segfold.leaderboard import read_ledger
from small_project import make_project


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_project(tmp_path)
    made_run(tmp_path, "good")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_submit_upload(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    submit = ["submit", "--ensemble", "runs/good"]
    assert main([*submit, "--message", "x"]) == 2 and "add --upload" in capsys.readouterr().err
    assert main([*submit, "--upload", "--message", "x" * 400]) == 2 and "at most 300" in capsys.readouterr().err
    assert main([*submit, "--upload", "--wait", "soon"]) == 2 and "expected 90s, 10m" in capsys.readouterr().err
    assert not (home / "submissions").exists()
    assert main(submit) == 0
    (known,) = read_ledger(home)
    assert (known.state, known.file, known.members) == ("written", "submissions/good.csv", ("runs/good",))
    assert known.cv is not None and known.recipe == "submissions/good.recipe.yaml"
    with kaggle_server() as server:
        lead_client(monkeypatch, server, home)
        server.faults["CreateSubmission"] = [403]
        assert main([*submit, "--upload", "--message", "one run"]) == 2
        assert "submissions/good.csv stays as it is" in capsys.readouterr().err
        assert main([*submit, "--upload", "--message", "one run", "--wait", "20s"]) == 0
        assert "public 0.871" in capsys.readouterr().out
        assert main([*submit, "--upload"]) == 0 and len(server.submissions) == 1
    (known,) = read_ledger(home)
    assert (known.state, known.public, known.message) == ("scored", 0.871, "one run")
