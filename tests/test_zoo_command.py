"""make zoo: what it compares, that its settings are the configs' own, and what its table says."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import document
from benchmarks.zoo import __main__ as command
from benchmarks.zoo import table
from benchmarks.zoo.paired import difference, image_scores
from benchmarks.zoo.systems import (
    ABLATIONS,
    CONFIGS,
    DEFAULT,
    STAGE,
    Start,
    chosen,
    run_name,
    settings,
    systems,
)

from segfold.config import differing_keys, dump_yaml, load_experiment
from segfold.errors import SegfoldError
from small_project import fold_job, make_project, train

SYSTEMS = pytest.mark.parametrize("system", systems(), ids=run_name)
PRETRAINED = Start("tf_efficientnet_lite0", "some.safetensors")


def row(name: str, score: float = 0.6, ablation: bool = False, **more: Any) -> table.Record:
    return {
        "name": name,
        "ablation": ablation,
        "pretrained": ablation,
        "score": score,
        "standard_error": 0.015,
        "all_empty": 0.39,
        "parameters": 21_500_000,
        "gmacs": 1.234,
        "images_per_second": 23.46,
        "peak_mib": 1234.5,
        "samples": 5632,
        **more,
    }


def test_every_config_and_every_ablation_is_a_system() -> None:
    found = systems()
    assert found[0].name == DEFAULT
    assert {system.config for system in found if not system.overrides} == {path.name for path in CONFIGS.glob("*")}
    assert sum(bool(system.overrides) for system in found) == len(ABLATIONS) + 1  # and the stem's pool
    others = {"unet", "linknet", "dlinknet", "fc-densenet56", "fc-densenet67", "fc-densenet103", "frrn-a", "frrn-b"}
    assert {system.name for system in found if not system.is_ablation} == others
    names = [run_name(system) for system in found]
    assert len(set(names)) == len(names) and all(name.replace("-", "").isalnum() for name in names)


@SYSTEMS
def test_systems_differ_in_model_and_loss_alone(system) -> None:  # type: ignore[no-untyped-def]
    common = settings(systems()[0], 64, 320)
    first = load_experiment(CONFIGS / f"{DEFAULT}.yaml", common)
    experiment = load_experiment(CONFIGS / system.config, settings(system, 64, 320))
    assert (experiment.sample.images, experiment.input.size) == (320, 64)
    assert {name: stage.epochs for name, stage in experiment.stages.items()} == {STAGE: 1, "lovasz": 0}
    differing = differing_keys(first, experiment)
    assert all(key.startswith("model.") or f"{STAGE}.loss" in key for key in differing)
    assert bool(differing) == (system.name != DEFAULT)


def test_losses_of_the_ablations_are_the_named_ones() -> None:
    for name, wanted in (
        ("loss: BCE", {"bce"}),
        ("loss: boundary + BCE", {"bce", "boundary"}),
        ("loss: Dice", {"dice"}),
    ):
        (system,) = (system for system in systems() if system.name.endswith(name))
        loss = load_experiment(CONFIGS / system.config, settings(system, 64, 320)).stages[STAGE].loss
        assert {key for key, value in loss.mask.model_dump().items() if value is not None} == wanted


def test_systems_are_chosen_by_name() -> None:
    assert [system.name for system in chosen(["linknet", "unet--no-scSE"])] == ["linknet", "unet, no scSE"]
    assert chosen([]) == systems()
    with pytest.raises(ValueError, match=r"linkne.*linknet"):
        chosen(["linkne"])


@pytest.mark.parametrize(("name", "pretrained"), [("dlinknet", True), ("unet--no-scSE", True), ("frrn-a", False)])
def test_one_encoder_for_all_that_have_one(name: str, pretrained: bool) -> None:
    (system,) = chosen([name], PRETRAINED)
    model = load_experiment(CONFIGS / system.config, settings(system, 64, 320)).model.model_dump()
    expected = (PRETRAINED.encoder, PRETRAINED.weights) if pretrained else (None, None)
    assert (model.get("encoder"), model.get("weights")) == expected
    assert system.is_pretrained is pretrained


def test_beside_pretrained_systems_the_default_stands_from_random_weights_too() -> None:
    assert {run_name(system) for system in systems()} - {run_name(system) for system in systems(PRETRAINED)} == {
        "unet--stem-pool"
    }
    for name, stem_pool in (("unet--resnet34", False), ("unet--resnet34--stem-pool", True)):
        (system,) = chosen([name], PRETRAINED)
        model = load_experiment(CONFIGS / system.config, settings(system, 64, 320)).model.model_dump()
        assert (model["encoder"], model["weights"], model["stem_pool"]) == ("resnet34", "none", stem_pool)
        assert not system.is_pretrained
        # It sees what it can in the time, as the systems do that it is a control for.
        assert not system.is_ablation
    with pytest.raises(ValueError, match="unet--resnet34"):
        chosen(["unet--resnet34"])


@pytest.mark.parametrize(("score", "expected"), [(0.42, False), (0.4199, False), (0.4201, True)])
def test_two_standard_errors_above_nothing_are_asked(score: float, expected: bool) -> None:
    assert table.trained(row("a", score)) is expected
    assert table.cells(row("a", score))[-1] == ("" if expected else "did not train")


def test_the_table_ranks_systems_before_ablations() -> None:
    records = [row("c", 0.7, ablation=True), row("a", 0.5), row("b", 0.6)]
    lines = table.markdown(records).splitlines()
    assert [line.split("|")[1].strip() for line in lines if line] == ["system", "---", "b", "a", "system", "---", "c"]
    assert "| b | random | 0.600 ± 0.015 |  | 21.50 M | 1.23 | 23.5 | 1,234 MiB | 5,632 |  |" in lines


def test_differences_are_image_by_image() -> None:
    """1, 0 and 1 apart: the mean is 2/3, its error √(1/3) / √3."""
    found, error = difference({"a": 1.0, "b": 0.5, "c": 1.0}, {"c": 0.0, "b": 0.5, "a": 0.0})
    assert (found, error) == pytest.approx((2 / 3, 1 / 3))
    assert "+0.667 ± 0.333" in table.cells(row("a", against=found, against_error=error))
    assert "-0.050 ± 0.010" in table.cells(row("a", against=-0.05, against_error=0.01))
    with pytest.raises(ValueError, match="not the same"):
        difference({"a": 1.0}, {"b": 1.0})


def test_scores_of_images_are_those_of_the_run(tmp_path: Path) -> None:
    home = make_project(tmp_path)
    job = fold_job(home, run="one")
    done = train(job)
    (home / "runs" / "one" / "config.yaml").write_text(dump_yaml(job.experiment))
    scores = image_scores(home, "one", 0)
    assert list(scores) == done["held_out"] and len(set(scores.values())) > 1
    assert sum(scores.values()) / len(scores) == pytest.approx(done["score"], abs=1e-6)


def test_images_follow_from_speed_and_time_and_a_stop_leaves_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    readme = tmp_path / "zoo.md"
    readme.write_text(f"{document.BEGIN.format(command.COMMAND)}\n{document.END}\n")
    monkeypatch.setattr(command, "DOCUMENT", readme)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "zoo.json")
    seen: list[list[str]] = []

    class Finished:
        stdout = json.dumps(
            {"images_per_second": 10.0, "peak_mib": 9.0, "parameters": 1, "gmacs": 1.0, "all_empty": 0.4}
        )

    def run(arguments: list[str], **options: Any) -> Finished:
        if "benchmarks.zoo.probe" in arguments:
            return Finished()
        seen.append(arguments)
        if len(seen) == 3:
            raise KeyboardInterrupt
        folder = command.WORK / "runs" / arguments[arguments.index("--run") + 1] / "fold0"
        folder.mkdir(parents=True)
        (folder / "done.json").write_text(
            json.dumps({"score": 0.5, "standard_error": 0.01, "samples": 2400, "seconds": 240.0})
        )
        return Finished()

    monkeypatch.setattr(command.subprocess, "run", run)
    monkeypatch.setattr(
        command, "image_scores", lambda home, run, fold: {"a": 0.5, "b": 0.75 if "unet" in run else 0.25}
    )
    monkeypatch.setattr(command, "commit", lambda: "abc")
    assert command.main([]) == 130
    # 4 minutes at 10 images a second: 150 steps of 16.
    assert all(arguments[-1] == "sample.images=2400" for arguments in seen)
    assert (tmp_path / "zoo" / "configs").is_symlink()
    found = json.loads((tmp_path / "zoo.json").read_text())
    assert [record["name"] for record in found] == [system.name for system in systems()[:2]]
    assert "against" not in found[0] and found[1]["against"] == -0.25
    assert document.table_in(readme, command.COMMAND) == table.markdown(found)
    assert "2 of" in capsys.readouterr().out


def test_predictions_that_are_gone_are_one_line_and_what_is_done_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(system: Any, probe: Any, options: Any) -> None:
        done = command._done(system, options.size)
        done.parent.mkdir(parents=True)
        done.write_text(json.dumps({"score": 0.5, "standard_error": 0.01, "samples": 16, "seconds": 1.0}))

    def image_scores(home: Path, run: str, fold: int) -> dict[str, float]:
        raise SegfoldError(f"{run} has no predictions")

    probe = {"images_per_second": 10.0, "peak_mib": 9.0, "parameters": 1, "gmacs": 1.0, "all_empty": 0.4}
    written: list[Any] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "probed", lambda system, size: probe)
    monkeypatch.setattr(command, "train", train)
    monkeypatch.setattr(command, "image_scores", image_scores)
    monkeypatch.setattr(command, "commit", lambda: "abc")
    monkeypatch.setattr(command, "write_json", lambda path, records: written.extend(records))
    monkeypatch.setattr(command.document, "put_into", lambda *_: None)
    assert command.main([]) == 2
    assert capsys.readouterr().err == "base-64 has no predictions\n"
    assert [record["name"] for record in written] == [DEFAULT]


def test_the_document_shows_the_results_that_are_kept() -> None:
    found = json.loads(command.RESULTS.read_text())
    assert document.table_in(command.DOCUMENT, command.COMMAND) == table.markdown(found)
    assert {record["name"] for record in found} <= {system.name for system in systems(PRETRAINED)}
