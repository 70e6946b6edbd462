"""Made-up runs are taken for real ones, and are the same each time."""

import csv

import pytest
from benchmarks.board_runs import made_competition, make_run

from segfold.files import read_json
from segfold.runs.folder import find_runs
from segfold.runs.identity import comparable_folds
from segfold.runs.record import read_record, read_run


@pytest.mark.parametrize("competition", ["salt", "streets", "organs"])
def test_a_made_up_run_is_read_as_a_real_one(tmp_path, competition):
    made = made_competition(tmp_path, competition, 12, 4, 2)
    run = make_run(made, 0)
    assert find_runs([run.path]) == ([run], []) and read_run(run).competition == competition
    record = read_record(run)
    assert record is not None and record.competition == made.competition
    done, problem = comparable_folds(run)
    assert problem is None and sorted(done) == [0, 1]
    assert sorted(done[0]["held_out"] + done[1]["held_out"]) == sorted(made.train.ids)
    for fold in run.folds():
        with fold.scores.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["id"] for row in rows] == done[fold.number]["held_out"]
        if competition == "salt":
            mean = sum(float(row["precision"]) for row in rows) / len(rows)
            assert done[fold.number]["score"] == pytest.approx(mean, abs=1e-6)


def test_the_same_numbers_make_the_same_run(tmp_path):
    scores = []
    for home in (tmp_path / "one", tmp_path / "other"):
        run = make_run(made_competition(home, "salt", 12, 0, 2), 3, folds=[1])
        scores.append((run.fold(1).scores.read_bytes(), run.fold(1).metrics.read_bytes(), read_json(run.fold(1).done)))
    assert scores[0] == scores[1]
