"""What a submission is expected to score: laid at its nested score, moved by what earlier submissions have told."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from made_run import bright, made_run
from segfold.cli import main
from segfold.comparison.expectation import expect
from segfold.files import append_line, read_json
from segfold.leaderboard.ledger import ledger_path
from small_project import make_project

Run = Callable[..., tuple[int, str, str]]
LINES = "leaderboard: {public: 0.34, lines: {gold: 1.5, median: 0.0}}\n"


def uncertain(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
    """Right on every second image, as far as a hash of the name says; nothing on the others."""
    return bright(name, mask, fold) if sum(name.encode()) % 2 else np.full((28, 26), 0.1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = make_project(tmp_path_factory.mktemp("made"), count=40)
    file = home / "configs/competitions/small.yaml"
    file.write_text(file.read_text() + LINES)
    made_run(home, "x", paint=uncertain)
    made_run(home, "y", "seed=1")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main(["submit", "--ensemble", "runs/x", "--name", "x", "--steps"]) == 0
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def go(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return main(list(arguments)), *capsys.readouterr()

    return go


def sent(home: Path, mark: str, cv: float, public: float, private: float | None = None, of: str = "small") -> None:
    """A submission that the ledger knows."""
    digest = mark * 64 if len(mark) == 1 else mark
    for event, fields in (
        ("written", {"file": f"{mark[:8]}.csv", "competition": of, "cv": cv, "cv_error": 0.01, "members": ["runs/x"]}),
        ("scored", {"public": public, "private": private}),
    ):
        append_line(ledger_path(home), {"event": event, "sha256": digest, "time": "2026-01-01T00:00:00Z", **fields})


def test_expected_score_is_the_nested_one_and_its_interval_that_of_both_samples(home: Path) -> None:
    found = expect(Path("submissions/x.csv"), home)
    nested = read_json(home / "submissions/x.json")["cv"]["nested"]
    assert found.nested and found.cv.mean == nested["mean"] == pytest.approx(found.cv.mean)
    public, private = found.expected.public, found.expected.private
    assert public is not None and private is not None
    assert (public.images, private.images, found.expected.whole.images) == (2, 4, 6)
    assert public.expected == private.expected == pytest.approx(nested["mean"])
    assert found.offset is None and found.private_offset is None and found.public_pairs == 0
    spread = found.side.features.std() * np.sqrt(1 / 40 + 1 / 6)
    whole = found.expected.whole
    assert whole.draws.std() == pytest.approx(spread, rel=0.15)  # a little less: no score is above 1
    for same in ("submissions/x.json", "submissions/x.recipe.yaml"):
        assert expect(Path(same), home).expected.whole.low == whole.low


def test_offset_comes_from_three_other_submissions_of_the_competition(home: Path) -> None:
    digest = read_json(home / "submissions/x.json")["sha256"]
    before = expect(Path("submissions/x.csv"), home).expected.public
    sent(home, digest, 0.5, 0.9, 0.8)  # itself
    sent(home, "a", 0.50, 0.40)
    sent(home, "b", 0.60, 0.52)
    sent(home, "c", 0.60, 0.9, of="another")
    unknown = expect(Path("submissions/x.csv"), home)
    assert unknown.offset is None and unknown.public_pairs == 2
    assert unknown.scored is not None and (unknown.scored.public, unknown.scored.private) == (0.9, 0.8)
    sent(home, "d", 0.70, 0.61, 0.75)
    found = expect(Path("submissions/x.csv"), home)
    assert found.offset is not None and found.offset.mean == pytest.approx(-0.09, abs=1e-6)
    assert found.private_offset is None and (found.public_pairs, found.private_pairs) == (3, 1)
    public, private = found.expected.public, found.expected.private
    assert before is not None and public is not None and private is not None
    assert public.expected == pytest.approx(found.cv.mean - 0.09, abs=1e-6) and private.expected == found.cv.mean


def test_command_says_it_with_the_lines(home: Path, run: Run) -> None:
    code, out, _ = run("expect", "submissions/x.csv")
    assert code == 0 and "public" in out and "unknown until 3 other submissions have both, none so far" in out
    rows = [line.replace("│", " ").split() for line in out.splitlines()]
    assert ["gold", "1.50000", "<0.001"] in rows and ["median", "0.00000", ">0.999"] in rows
    for number, mark in enumerate("abc"):
        sent(home, mark, 0.5, 0.4 + number / 100, 0.45)
    code, out, _ = run("expect", "submissions/x.csv")
    assert code == 0 and "offset of public scores from CV: -0.0900 ± 0.0" in out and "from 3 other submissions" in out
    assert "offset of private scores from CV: -0.0500 ± 0.0000" in out


def test_run_without_a_share_is_expected_as_it_is(home: Path, run: Run) -> None:
    file = home / "configs/competitions/small.yaml"
    file.write_text(file.read_text().replace(LINES, ""))
    found = expect(Path("runs/y"), home)
    assert not found.nested and found.expected.public is None and found.expected.private is None
    assert found.expected.whole.low == found.expected.whole.high == 1  # it is always right
    code, out, _ = run("expect", "runs/y")
    assert (
        code == 0
        and "no leaderboard.public in the competition file of small" in out
        and "private leaderboard" not in out
    )


def test_file_that_was_changed_is_refused(home: Path, run: Run) -> None:
    path = home / "submissions/x.csv"
    path.write_text(path.read_text() + "\n")
    code, _, error = run("expect", "submissions/x.csv")
    assert code == 2 and "submissions/x.csv is not the file that submissions/x.json is about" in error
