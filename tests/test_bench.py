"""The benchmarks' harness, by fakes and hand-computed values: rounds, ratios, records and the tables they write."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from benchmarks import __main__ as command
from benchmarks import document, measure, results, suite
from benchmarks.measure import Effort, Row, difference, interleave, rate
from benchmarks.suite import BENCHMARKS, CannotMeasureError, benchmark_of, row_names
from rich.console import Console

FOLDER = Path(command.__file__).parent
KEYS = ["name", "ours", "peer", "ratio", "target", "better", "unit", "machine", "commit"]


def record(name: str, ours: float = 1.0) -> results.Record:
    return results.records([Row(name, ours, 2.0, "x", None)], "here", "abc")[0]


@pytest.mark.parametrize(
    ("ours", "peer", "target", "better", "ratio", "met"),
    [
        (30.0, 10.0, 2.5, "higher", 3.0, True),
        (20.0, 10.0, 2.5, "higher", 2.0, False),
        (10.4, 10.0, 1.05, "lower", 1.04, True),
        (10.6, 10.0, 1.05, "lower", 1.06, False),
        (30.0, 10.0, None, "higher", 3.0, None),
    ],
)
def test_ratio_and_verdict(ours, peer, target, better, ratio, met) -> None:  # type: ignore[no-untyped-def]
    row = Row("a", ours, peer, "images/s", target, better)
    assert row.ratio == pytest.approx(ratio)
    assert row.met is met


def test_rounds_are_interleaved_and_take_turns_at_going_first() -> None:
    calls: list[str] = []
    things: dict[str, Callable[[], object]] = {name: lambda name=name: calls.append(name) for name in ("a", "b", "c")}
    times = interleave(things, least=4, seconds=0)
    assert "".join(calls) == "abcbcacababc"
    assert [len(found) for found in times.values()] == [4, 4, 4]


def test_rounds_go_on_until_both_the_number_and_the_time_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def work() -> None:
        clock[0] += 3.0

    assert len(interleave({"ours": work}, least=5, seconds=7)["ours"]) == 5
    times = interleave({"ours": work}, least=1, seconds=10)["ours"]
    assert times == [3.0] * 4  # the fourth begins at 9 s, no fifth at 12 s
    assert len(interleave({"ours": lambda: None}, least=1, seconds=1)["ours"]) == measure.MOST_ROUNDS


def test_rate_is_of_the_median_round() -> None:
    assert rate(60, [1.0, 2.0, 100.0]) == 30.0


def test_difference_is_relative_to_the_peer() -> None:
    ours, peer = [torch.tensor([3.0, 0.0]), torch.tensor([1.0])], [torch.tensor([0.0, 4.0]), torch.tensor([1.0])]
    assert difference(ours, peer) == pytest.approx(5 / 17**0.5)
    assert difference(peer, peer) == 0
    with pytest.raises(ValueError, match=r"shorter|longer"):
        difference(ours, peer[:1])


def test_effort() -> None:
    assert (Effort().least(21), Effort().seconds(5.0), Effort().size(4000, 10)) == (21, 5.0, 4000)
    assert (Effort(True).least(21), Effort(True).seconds(5.0), Effort(True).size(4000, 10)) == (2, 0.0, 10)
    assert [Effort(scale=scale).side(8192, 1024) for scale in (1.0, 0.5, 0.3, 0.01)] == [8192, 4096, 2048, 512]
    assert Effort(True, 0.5).side(8192, 1024) == 1024


@pytest.mark.parametrize(("text", "wanted"), [("", 1.0), ("0.5", 0.5), ("1", 1.0)])
def test_the_environment_says_how_large_images_are(monkeypatch: pytest.MonkeyPatch, text: str, wanted: float) -> None:
    efforts: list[Effort] = []
    monkeypatch.setenv("BENCH_SCALE", text)
    monkeypatch.setattr(command, "measure", lambda names, effort: efforts.append(effort) or ([], {}))
    assert command.main(["--only", "rle"]) == 0 and efforts == [Effort(False, wanted)]


@pytest.mark.parametrize("text", ["0", "2", "half", "-1", "nan"])
def test_another_scale_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    monkeypatch.setenv("BENCH_SCALE", text)
    with pytest.raises(SystemExit, match="2"):
        command.main(["--only", "rle"])
    assert f"BENCH_SCALE is {text!r}: expected a number above 0 and at most 1" in capsys.readouterr().err


def test_the_table_says_met_missed_or_not_asked_here() -> None:
    console = Console(width=120, file=io.StringIO())
    rows = [
        Row("fast", 30.0, 10.0, "x", 2.5),
        Row("slow", 20.0, 10.0, "x", 2.5),
        Row("elsewhere", 20.0, 10.0, "x", None, waived="no AMX"),
    ]
    results.show(rows, "title", console)
    assert isinstance(console.file, io.StringIO)
    lines = {line.split()[1]: line for line in console.file.getvalue().splitlines() if line.startswith("│")}
    assert [lines[name].split("│")[-2].strip() for name in ("fast", "slow", "elsewhere")] == [
        "met",
        "missed",
        "n/a here",
    ]
    assert "elsewhere: n/a here: no AMX" in console.file.getvalue()


def test_records_have_the_documented_keys() -> None:
    row = Row("a", 2 / 3, 1 / 3, "s", 1.05, "lower", ("a note",))
    (found,) = results.records([row], "EPYC, 2 cores", "abc+")
    assert list(found) == KEYS
    assert (found["ours"], found["ratio"], found["better"]) == (0.66667, 2.0, "lower")
    assert json.loads(json.dumps(found)) == found


def test_merging_keeps_other_rows_in_the_order_of_the_table_and_drops_unknown_ones() -> None:
    old = [record("gone"), record("b", 1.0), record("a", 1.0)]
    found = results.merged(old, [record("b", 5.0), record("c", 5.0)], ["a", "b", "c", "never measured"])
    assert [(row["name"], row["ours"]) for row in found] == [("a", 1.0), ("b", 5.0), ("c", 5.0)]


def test_every_benchmark_has_a_module_and_row_names_are_unique() -> None:
    assert all((FOLDER / f"{name}.py").is_file() for name in BENCHMARKS)
    assert len(set(row_names())) == len(row_names())
    assert all(benchmark_of(row) == name for name, made in BENCHMARKS.items() for row in made)
    assert benchmark_of("nothing") is None


def fake_measure(rows: Sequence[Row], failed: dict[str, str]):  # type: ignore[no-untyped-def]
    asked: list[list[str]] = []

    def measured(names: Sequence[str], effort: Effort) -> tuple[list[Row], dict[str, str]]:
        asked.append(list(names))
        return list(rows), failed

    return asked, measured


def written_for(folder: Path, name: str) -> Path:
    """A document with an old table of ``name``."""
    path = folder / "README.md"
    path.write_text(f"before\n{document.BEGIN.format(name)}\nold\n{document.END}\nafter\n")
    return path


def test_a_table_replaces_what_stands_between_its_marks(tmp_path: Path) -> None:
    path = written_for(tmp_path, "make x")
    table = document.markdown(("a", "b", ""), [("1", "2", "3")])
    document.put_into(path, "make x", table)
    assert table == "| a | b |  |\n| --- | ---: | --- |\n| 1 | 2 | 3 |"
    lines = path.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after") and "old" not in lines
    assert document.table_in(path, "make x") == table
    document.put_into(path, "make x", table)
    assert path.read_text().splitlines() == lines
    with pytest.raises(ValueError, match="make y"):
        document.put_into(path, "make y", table)


def test_the_readme_shows_the_results_that_are_kept() -> None:
    found = results.read(command.RESULTS)
    assert document.table_in(command.README, command.COMMAND) == results.markdown(found)
    assert {row["name"] for row in found} <= set(row_names())


def test_only_measures_one_and_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    results.write(path, [record("lovasz"), record("metric"), record("memory")])
    readme = written_for(tmp_path, command.COMMAND)
    new = Row("metric", 84.0, 2.0, "images/s", 20.0, notes=("of 7 rounds",))
    asked, fake = fake_measure([new], {})
    monkeypatch.setattr(command, "measure", fake)
    assert command.main(["--only", "metric"], path, readme) == 0
    assert asked == [["metric"]]
    assert [(row["name"], row["ratio"]) for row in results.read(path)] == [
        ("lovasz", 0.5),
        ("metric", 42.0),
        ("memory", 0.5),
    ]
    shown = capsys.readouterr().out
    assert "metric: of 7 rounds" in shown
    assert "| metric | 84 | 2 | images/s | 42 | ≥ 20 | met |" in readme.read_text()
    assert command.main([], path, readme) == 0
    assert asked[1] == list(BENCHMARKS)
    assert [row["name"] for row in results.read(path)] == ["metric"]


def test_only_takes_the_name_of_a_row_and_refuses_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, fake = fake_measure([], {})
    monkeypatch.setattr(command, "measure", fake)
    command.main(["--only", "rle-decode-101"], tmp_path / "results.json")
    assert asked == [["rle"]]
    with pytest.raises(SystemExit) as stopped:
        command.main(["--only", "lovazs"], tmp_path / "results.json")
    assert stopped.value.code == 2
    assert "did you mean lovasz?" in capsys.readouterr().err


def test_a_quick_run_writes_nothing_and_a_failure_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    _, fake = fake_measure([Row("metric", 1.0, 2.0, "images/s", 20.0)], {"lovasz": "no package smp"})
    monkeypatch.setattr(command, "measure", fake)
    assert command.main(["--quick"], path) == 1
    assert not path.exists()
    assert "lovasz was not measured: no package smp" in capsys.readouterr().err


def test_a_missing_peer_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError("no", name="segmentation_models_pytorch")

    monkeypatch.setattr(suite.importlib, "import_module", absent)
    with pytest.raises(
        CannotMeasureError, match=r"segmentation_models_pytorch; pip install -r requirements-bench\.txt"
    ):
        suite.run("training", Effort(True))


@pytest.mark.slow
def test_a_benchmark_that_breaks_in_its_process_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    rows, failed = suite.measure(["no_such_benchmark"], Effort(quick=True))
    assert rows == []
    assert "No module named 'benchmarks.no_such_benchmark'" in failed["no_such_benchmark"]


def test_a_benchmark_makes_rows() -> None:
    (row,) = suite.run("metric", Effort(quick=True))
    assert row.name == "metric" and row.ours > 0 and row.peer > 0 and row.target == 20
