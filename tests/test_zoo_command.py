"""make zoo: what it is told, how long systems train, what a stop leaves, and what its tables say."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import document
from benchmarks.zoo import __main__ as command
from benchmarks.zoo import table
from benchmarks.zoo.camvid import CAMVID
from benchmarks.zoo.systems import Comparison, Start
from benchmarks.zoo.tgs import TGS

from segfold.errors import SegfoldError

PRETRAINED = Start("tf_efficientnet_lite0", "some.safetensors")
PROBE = {"images_per_second": 10.0, "peak_mib": 9.0, "parameters": 1, "gmacs": 1.0, "floor": 0.4}


def row(name: str, score: float = 0.6, ablation: bool = False, **more: Any) -> table.Record:
    return {
        "name": name,
        "ablation": ablation,
        "pretrained": ablation,
        "score": score,
        "standard_error": 0.015,
        "floor": 0.39,
        "parameters": 21_500_000,
        "gmacs": 1.234,
        "images_per_second": 23.46,
        "peak_mib": 1234.5,
        "samples": 5632,
        **more,
    }


@pytest.mark.parametrize(("score", "expected"), [(0.42, False), (0.4199, False), (0.4201, True)])
def test_two_standard_errors_above_one_answer_for_all_are_asked(score: float, expected: bool) -> None:
    assert table.trained(row("a", score)) is expected
    assert table.cells(row("a", score))[-1] == ("" if expected else "did not train")


def test_from_random_weights_only_a_score_of_what_trained_is_shown() -> None:
    against = {"against": -0.05, "against_error": 0.01}
    assert table.cells(row("a", 0.4, **against))[1:4] == ("random", "–", "")
    assert table.cells(row("a", 0.4, pretrained=True, **against))[2:4] == ("0.400 ± 0.015", "-0.050 ± 0.010")
    assert table.cells(row("a", 0.5, **against))[2:4] == ("0.500 ± 0.015", "-0.050 ± 0.010")


def test_what_is_only_measured_has_no_score() -> None:
    measured = {key: value for key, value in row("a").items() if key not in ("score", "standard_error", "samples")}
    cells = table.cells({**measured, "pretrained": True})
    assert (cells[2], cells[-2], cells[-1]) == ("–", "", "") and "23.5" in cells


def test_the_table_ranks_systems_before_ablations_and_those_without_a_score_last() -> None:
    records = [row("c", 0.7, ablation=True), row("z", 0.41), row("a", 0.5), row("b", 0.6), row("d", 0.39)]
    lines = table.markdown(records, "unet").splitlines()
    names = [line.split("|")[1].strip() for line in lines if line]
    assert names == ["system", "---", "b", "a", "d", "z", "system", "---", "c"]
    assert "| b | random | 0.600 ± 0.015 |  | 21.50 M | 1.23 | 23.5 | 1,234 MiB | 5,632 |  |" in lines


class Played:
    """Stands for the processes that the command starts: probes say ``PROBE``, trainings leave a score of 0.5."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path, compared: Comparison, stop: int = 0) -> None:
        self.trained: list[list[str]] = []
        self.probed: list[list[str]] = []
        self.results, self.document = home / "zoo.json", home / "zoo.md"
        self.document.write_text(f"{document.BEGIN.format(compared.command)}\n{document.END}\n")
        self._stop = stop
        moved = Comparison(**{**vars(compared), "results": self.results})
        monkeypatch.chdir(home)
        monkeypatch.setattr(command, "DOCUMENT", self.document)
        monkeypatch.setitem(command.COMPARISONS, compared.competition, moved)
        monkeypatch.setattr(command.subprocess, "run", self._run)
        monkeypatch.setattr(command, "commit", lambda: "abc")
        monkeypatch.setattr(
            command, "image_scores", lambda home, run, fold: {"a": 0.5, "b": 0.75 if "-unet" in run else 0.25}
        )

    def _run(self, arguments: list[str], **options: Any) -> Any:
        if "benchmarks.zoo.probe" in arguments:
            self.probed.append(arguments)
            return type("Finished", (), {"stdout": json.dumps(PROBE)})
        self.trained.append(arguments)
        if len(self.trained) == self._stop:
            raise KeyboardInterrupt
        folder = command.WORK / "runs" / arguments[arguments.index("--run") + 1] / "fold0"
        folder.mkdir(parents=True, exist_ok=True)
        done = {"score": 0.5, "standard_error": 0.01, "samples": 2400, "seconds": 240.0}
        (folder / "done.json").write_text(json.dumps(done))
        return None

    def names(self) -> list[str]:
        return [record["name"] for record in json.loads(self.results.read_text())]

    def images(self) -> dict[str, int]:
        last = ((each[each.index("--run") + 1], each[-1]) for each in self.trained)
        return {run: int(text.removeprefix("sample.images=")) for run, text in last}


def test_images_follow_from_speed_and_time_and_a_stop_leaves_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played = Played(monkeypatch, tmp_path, TGS, stop=3)
    assert command.main([]) == 130
    assert set(played.images().values()) == {2400}  # 4 minutes at 10 images a second: 150 steps of 16
    assert (tmp_path / "zoo" / "configs").is_symlink()
    found = json.loads(played.results.read_text())
    assert played.names() == [system.name for system in TGS.systems(Start())[:2]]
    assert "against" not in found[0] and found[1]["against"] == -0.25
    assert document.table_in(played.document, TGS.command) == table.markdown(found, TGS.default)
    assert "2 of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("told", "images"),
    [((), (6000, 1800)), (("--minutes", "2"), (1200, 1200)), (("--minutes-random", "1"), (6000, 600))],
)
def test_of_camvid_what_begins_from_random_weights_trains_for_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: tuple[str, ...], images: tuple[int, int]
) -> None:
    played = Played(monkeypatch, tmp_path, CAMVID)
    (tmp_path / "tf_efficientnet_lite0.safetensors").touch()
    names = ["linknet", "fc-densenet56"]
    assert command.main(["--competition", "camvid", "--weights", ".", "--only", *names, *told]) == 0
    assert played.images() == dict(zip([f"camvid-{name}-96x128" for name in names], images))
    assert not played.results.exists()


def test_probes_alone_train_nothing_and_are_kept_for_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played = Played(monkeypatch, tmp_path, CAMVID)
    arguments = ["--competition", "camvid", "--only", "fc-densenet56"]
    assert command.main([*arguments, "--probe"]) == 0
    assert (len(played.probed), played.trained) == (1, [])
    assert command.main(arguments) == 0
    assert (len(played.probed), len(played.trained)) == (1, 1)
    assert command.main([*arguments, "--size", "384x480", "--epochs", "60"]) == 0
    assert {"input.size=[384, 480]", "stages.all.epochs=60", "sample.images=null"} <= set(played.trained[-1])
    assert len(played.probed) == 2
    assert "fc-densenet56" in capsys.readouterr().out


def test_what_lacks_its_weights_is_left_out_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played = Played(monkeypatch, tmp_path, CAMVID)
    (tmp_path / "tf_efficientnet_lite2.safetensors").touch()
    assert command.main(["--competition", "camvid", "--weights", "tf_efficientnet_lite2.safetensors"]) == 0
    assert "unet, lite2" in played.names() and "fc-densenet56" in played.names() and "unet" not in played.names()
    assert "unet is left out: no weights of tf_efficientnet_lite0" in capsys.readouterr().out


def test_rows_join_those_that_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(monkeypatch, tmp_path, TGS)
    played.results.write_text(json.dumps([row("linknet", 0.9), row("other")]))
    assert command.main(["--only", "linknet", "--join"]) == 0
    assert played.names() == ["other", "linknet"]
    assert "0.500" in document.table_in(played.document, TGS.command)
    assert command.main(["--only", "dlinknet", "--probe", "--join"]) == 0
    assert played.names() == ["other", "linknet", "dlinknet"] and len(played.trained) == 1
    assert "| dlinknet | random | – |" in document.table_in(played.document, TGS.command)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (("--encoder", "tf_efficientnet_lite0"), "--weights go together"),
        (("--competition", "camvid", "--encoder", "resnet18", "--weights", "a.safetensors"), "give --weights alone"),
        (("--competition", "carvana"), "camvid"),
        (("--only", "linknetz"), "linknet"),
        (("--size", "1x2x3"), "1x2x3"),
    ],
)
def test_what_does_not_go_together_is_refused(
    told: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(told)
    assert refused.value.code == 2 and said in capsys.readouterr().err


def test_predictions_that_are_gone_are_one_line_and_what_is_done_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def image_scores(home: Path, run: str, fold: int) -> dict[str, float]:
        raise SegfoldError(f"{run} has no predictions")

    played = Played(monkeypatch, tmp_path, TGS)
    monkeypatch.setattr(command, "image_scores", image_scores)
    assert command.main([]) == 2
    assert capsys.readouterr().err == "tgs-salt-base-64 has no predictions\n"
    assert played.names() == [TGS.default]


@pytest.mark.parametrize("compared", command.COMPARISONS.values(), ids=lambda compared: compared.competition)
def test_the_document_shows_the_results_that_are_kept(compared: Comparison) -> None:
    found = json.loads(compared.results.read_text()) if compared.results.exists() else []
    assert document.table_in(command.DOCUMENT, compared.command) == table.markdown(found, compared.default)
    assert {record["name"] for record in found} <= {system.name for system in compared.systems(PRETRAINED)}
