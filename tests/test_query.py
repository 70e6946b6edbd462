"""Read-only SQL over runs and submissions: what it answers is what the files hold, and no statement does anything else."""

import csv
import io
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from made_run import change_json, made_run
from segfold.board.query import EXAMPLES, ask, first_word
from segfold.board.tables import Tables, distinct, value_of
from segfold.cli import main
from segfold.errors import SegfoldError
from segfold.files import append_line, read_json
from segfold.leaderboard.ledger import record_by_hand
from segfold.runs.folder import FoldFolder, RunFolder
from small_project import ROOT, make_project

ODD = "<script>, \"quoted\"; 'and'\nmore"
ENDLESS = "with recursive n(x) as (select 1 union all select x + 1 from n) "


def write_scores(
    fold: FoldFolder, seed: int, columns: str = "precision,iou,dice,intersection,predicted_area,true_area"
) -> None:
    """``scores.csv`` of a fold's held-out images, some ids as a number parser would mangle them."""
    rng, held_out = random.Random(seed), read_json(fold.done)["held_out"]
    with fold.scores.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "fold", *columns.split(",")])
        for name in held_out:
            scores = [f"{rng.random():.6f}" for _ in columns.split(",")[:3]]
            rows.writerow([name, fold.number, *scores, *(rng.randrange(900) for _ in columns.split(",")[3:])])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two whole runs, one of which has an odd name, a damaged run, epochs and two submissions."""
    home = make_project(tmp_path_factory.mktemp("query"))
    for run in (made_run(home, "plain"), made_run(home, ODD)):
        for fold in run.folds():
            write_scores(fold, fold.number)
            change_json(fold.done, score=0.1 + 0.2 + fold.number / 7)
            for epoch in (1, 2):
                append_line(
                    fold.metrics,
                    {
                        "epoch": epoch,
                        "iou": epoch / 3,
                        "loss": 1 / 3 / epoch,
                        "Loss": 5,
                        "lr": float("nan"),
                        "more": [1],
                    },
                )
    classes = {"car": {"iou": 0.25, "standard_error": 0.5}, "Car": {"iou": 0.75, "standard_error": 0.5}}
    change_json(RunFolder(home / "runs/plain").fold(1).done, classes=classes)
    (home / "runs/broken/fold0").mkdir(parents=True)
    (home / "runs/broken/config.yaml").write_text("[")
    (home / "submissions").mkdir()
    for name, public in (("a", 0.75), ("b", None)):
        (home / f"submissions/{name}.csv").write_text(name)
        record_by_hand(home, home / f"submissions/{name}.csv", "small", public, 0.5)
    return home


def rows(home: Path, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in ask(home, sql).rows]


def refused(home: Path, sql: str) -> str:
    with pytest.raises(SegfoldError) as caught:
        list(ask(home, sql).rows)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folds_epochs_and_runs_are_what_their_files_hold(home: Path) -> None:
    done = read_json(home / "runs/plain/fold1/done.json")
    assert rows(home, "select fold, score, iou, seconds from folds where run = 'plain' order by fold") == [
        (0, 0.1 + 0.2, 0.5, 6.0),
        (1, done["score"], 0.5, 6.0),
    ]
    assert rows(home, 'select "iou:car", "iou:Car_2" from folds where run = \'plain\'') == [(None, None), (0.25, 0.75)]
    mean = (0.1 + 0.2 + done["score"]) / 2
    found = rows(home, "select run, cv, folds, state from runs order by state, run")
    assert found[0] == ("broken", None, 0, "damaged")
    assert found[1] == (ODD, round(mean, 6), 2, "finished") and len(found) == 3
    assert rows(home, "select run, state from runs where reason is not null") == [("broken", "damaged")]
    lines = rows(home, f"select epoch, loss, loss_2, lr, more from epochs where run = {quoted(ODD)} and fold = 0")
    assert lines == [(1, 1 / 3, 5, None, "[1]"), (2, 1 / 6, 5, None, "[1]")]
    settings = dict(rows(home, "select setting, value from settings where run = 'plain'"))
    assert settings["stages.warm.lr"] == 2e-3 and settings["model.encoder"] == "test_resnet"
    assert settings["input.channels"] == '["image"]'


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def test_images_are_the_lines_of_all_scores(home: Path) -> None:
    expected = []
    for name in (ODD, "plain"):
        for fold in RunFolder(home / "runs" / name).folds():
            with fold.scores.open(newline="") as file:
                for line in csv.DictReader(file):
                    areas = (int(line["intersection"]), int(line["true_area"]))
                    expected.append((name, fold.number, line["id"], float(line["iou"]), *areas))
    found = rows(home, "select run, fold, id, iou, intersection, true_area from images")
    assert sorted(found) == sorted(expected) and len(expected) == 40
    ids = {row[2] for row in expected}
    assert any(name.startswith("00") for name in ids) and any(name.startswith("1e") for name in ids)


def test_submissions_are_those_of_the_ledger(home: Path) -> None:
    found = rows(home, "select file, public, private, state from submissions order by file")
    assert found == [("submissions/a.csv", 0.75, 0.5, "scored"), ("submissions/b.csv", None, 0.5, "scored")]


def test_a_run_has_the_scores_of_its_own_submission(tmp_path: Path) -> None:
    made_run(make_project(tmp_path), "one")
    made_run(tmp_path, "two")
    for name, members, public in (("a", ["one"], 0.5), ("b", ["one"], 0.75), ("c", ["one", "two"], 0.9)):
        line = {"event": "written", "sha256": name * 64, "time": "2026-12-01T10:00:00Z", "competition": "small"}
        line |= {"file": f"{name}.csv", "members": [f"runs/{each}" for each in members]}
        append_line(tmp_path / "submissions/ledger.jsonl", line)
        append_line(tmp_path / "submissions/ledger.jsonl", line | {"event": "recorded", "public": public})
    assert rows(tmp_path, "select run, public, private from runs order by run") == [
        ("one", 0.75, None),
        ("two", None, None),
    ]
    assert rows(tmp_path, "select members from submissions where public = 0.9") == [("one, two",)]


def test_columns_of_all_runs_stand_in_one_table(home: Path, tmp_path: Path) -> None:
    made_run(make_project(tmp_path), "one")
    run = made_run(tmp_path, "two")
    write_scores(RunFolder(tmp_path / "runs/one").fold(0), 0)
    write_scores(run.fold(0), 1, "precision,iou,dice,true_area:car,true_area:Car")
    write_scores(run.fold(1), 1)
    run.fold(1).scores.write_bytes(b"id,fold,iou\n\xff,1,2\n")
    (tmp_path / "runs/one/fold1/scores.csv").write_text("id,iou\na,1,2\n")
    answer = ask(
        tmp_path,
        'select run, count(intersection), count("true_area:car"), count("true_area:Car_2") from images group by 1',
    )
    assert [tuple(row) for row in answer.rows] == [("one", 10, 0, 0), ("two", 0, 10, 10)]
    one, two = sorted(answer.problems)
    assert "one/fold1/scores.csv is left out: a line has more" in one and "two/fold1/scores.csv is left out" in two


def test_only_what_a_statement_reads_is_filled(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for name in Tables.names:
        make = getattr(Tables, f"_{name}")

        def watched(self: Tables, name: str = name, make: object = make) -> object:
            table = make(self)  # type: ignore[operator]
            rows = table.rows

            def read() -> object:
                seen.append(name)
                return rows()

            return type(table)(table.columns, read)

        monkeypatch.setattr(Tables, f"_{name}", watched)
    for sql, read in (
        ("select count(*) from images", ["images"]),
        ("select 'images', \"folds\" from submissions", ["submissions"]),
        ("with f as (select * from Folds) select 1 from f join RUNS using (run)", ["folds", "runs"]),
        ("select 1", []),
    ):
        seen.clear()
        rows(home, sql)
        assert sorted(seen) == read


HOSTILE = {
    "attach database '{out}' as other": "begins with select",
    "vacuum into '{out}'": "begins with select",
    "pragma writable_schema = 1": "begins with select",
    "insert into runs (run) values ('x')": "begins with select",
    "drop table runs": "begins with select",
    "explain select 1": "begins with select",
    "/* select */ create table x (y)": "begins with select",
    "": "begins with select",
    "-- select": "begins with select",
    "with x as (select 1) delete from runs": "only reads",
    "with x as (select 1) insert into runs select * from runs": "only reads",
    "select load_extension('{out}')": "only reads",
    "select * from pragma_database_list": "only reads",
    "select writefile('{out}', 'x')": "no such function: writefile",
    "select readfile('/etc/passwd')": "no such function: readfile",
    "select fts3_tokenizer('simple')": "fts3_tokenizer",
    "select 1; attach database '{out}' as other": "more than one statement",
    "select 1; drop table runs": "more than one statement",
    "select ?": "bindings",
    "select :name": "bindings",
    "select zeroblob(2000000000)": "too big",
    "select 'a\0b": "",
    "select '\ud800'": "",
    "select (" * 5000: "",
}


@pytest.mark.parametrize("sql", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_statements_are_refused_in_one_line(home: Path, tmp_path: Path, sql: str) -> None:
    before = sorted(path for path in home.rglob("*"))
    assert HOSTILE[sql] in refused(home, sql.replace("{out}", str(tmp_path / "out")))
    assert not list(tmp_path.iterdir()) and sorted(path for path in home.rglob("*")) == before


def test_errors_name_what_there_is_instead(home: Path) -> None:
    assert refused(home, "select scroe from folds") == "no such column: scroe; nearest: score"
    assert refused(home, "select f.ui from folds f").startswith("no such column: f.ui; ")
    assert refused(home, "select folds.io from folds, images") == "no such column: folds.io; nearest: iou"
    assert refused(home, "select * from image") == "no such table: image; nearest: images"
    assert "there are runs, settings, folds, epochs, images, submissions" in refused(home, "select * from zzzzz")
    assert "syntax error" in refused(home, "select from where")
    assert "name a table: runs" in refused(home, "select score")
    assert "ambiguous column name: run" in refused(home, "select run from runs, folds")


def test_an_error_in_a_row_is_one_line_too(home: Path) -> None:
    assert "malformed JSON" in refused(home, "select json_extract(id, '$.a') from images")


def test_an_endless_statement_is_stopped(home: Path) -> None:
    calls = iter(range(10**9))
    assert list(ask(home, f"{ENDLESS} select count(*) from n", lambda: next(calls) > 3).rows) == []
    calls = iter(range(10**9))
    assert 3 <= len(list(ask(home, f"{ENDLESS} select x from n", lambda: next(calls) > 3).rows)) < 10**7


def test_ctrl_c_stops_an_endless_statement(home: Path) -> None:
    sql = f"{ENDLESS} select 'first' as x union all select 'second' union all select count(*) from n"
    command = [sys.executable, "-m", "segfold", "query", sql, "--format", "csv"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=home, env=environment, text=True, **pipes) as process:  # type: ignore[call-overload]
        assert [process.stdout.readline() for _ in range(2)] == ["x\n", "first\n"]
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()  # else leaving the block would wait for it without end
    assert process.returncode == 130 and len(errors.splitlines()) == 1


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    assert main(["query", *arguments]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_formats(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(home)
    sql = f"select run, 0.1 + 0.2 as Number, null as number, x'00ff' as run, 9e999 as big from runs where run = {quoted(ODD)}"
    text, _ = said(capsys, sql, "--format", "csv")
    assert text == 'run,Number,number_2,run_2,big\r\n"{}",0.30000000000000004,,00ff,inf\r\n'.format(
        ODD.replace('"', '""')
    )
    assert next(csv.reader(io.StringIO(text.split("\r\n", 1)[1], newline=""))) == [
        ODD,
        "0.30000000000000004",
        "",
        "00ff",
        "inf",
    ]
    (row,) = json.loads(said(capsys, sql, "--format", "json")[0])
    assert row == {"run": ODD, "Number": 0.1 + 0.2, "number_2": None, "run_2": "00ff", "big": None}
    table, _ = said(capsys, sql)
    assert "0.3 " in table and "<script>, \"quoted\"; 'and'\\nmore" in table and table.count("│") == 6
    assert json.loads(said(capsys, "select 1 where 0", "--format", "json")[0]) == []
    assert "[red]" in said(capsys, "select '[red]' as x")[0]


def test_rows_are_cut_and_it_is_said(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    many = "with recursive n(x) as (select 1 union all select x + 1 from n where x < 150) select x from n"
    table, remarks = said(capsys, many)
    assert table.count("│") == 200 and remarks == "only the first 100 rows: --limit 1000 shows more, --format csv all\n"
    assert said(capsys, f"{many} limit 100")[1] == ""
    assert said(capsys, many, "--format", "csv")[0].count("\r\n") == 151
    text, remarks = said(capsys, many, "--format", "json", "--limit", "3")
    assert json.loads(text) == [{"x": 1}, {"x": 2}, {"x": 3}] and "only the first 3 rows" in remarks
    assert main(["query", "select 1", "--limit", "0"]) == 2
    assert main(["query", "select nothing"]) == 2


def test_without_a_statement_it_shows_what_there_is(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    text, _ = said(capsys)
    for name in Tables.names:
        assert f"│ {name} " in text
    assert "intersection" in text and all(example in text for example in EXAMPLES)
    for example in EXAMPLES:
        rows(home, example.replace("score", "lr") if "epochs" in example else example)


def test_names_and_values() -> None:
    names = distinct(["a", "A", "a_2", "A", "", "b\0", "\ud800"])
    assert names == ["a", "A_2", "a_2_2", "A_3", "_", "b", "?"] and len({name.lower() for name in names}) == len(names)
    assert [value_of(each) for each in (True, 2**63, -(2**63), float("inf"), {"a": 1}, "\ud800", None)] == [
        *(1, str(2**63), -(2**63), None, '{"a": 1}', "?", None)
    ]
    assert [first_word(each) for each in ("SELECT 1", " /* a */\n-- b\nWith x", "/*", "", "(select 1)", "/* a")] == [
        *("select", "with", "", "", "", "")
    ]


PAGE = (ROOT / "docs/board.md").read_text()
EXAMPLES_OF_PAGE = [line for line in PAGE.splitlines() if line.startswith("segfold query ")]


@pytest.mark.parametrize("line", EXAMPLES_OF_PAGE, ids=range(len(EXAMPLES_OF_PAGE)))
def test_examples_of_the_page_have_answers(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    monkeypatch.chdir(home)
    arguments = shlex.split(line)[2:]
    said(capsys, *arguments)
    assert rows(home, arguments[0]) or "predicted_area = 0" in line


def test_the_page_names_every_table_and_column(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    for name in Tables.names:
        (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
        assert set(tables.table(name).columns) <= set(re.findall("`([a-z_]+)`", row)), name
