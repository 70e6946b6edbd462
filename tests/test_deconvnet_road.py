"""make deconvnet: the same weights under two ways of predicting, what the rows are scored by, and the road as a whole."""

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks import document
from benchmarks.zoo import deconvnet
from benchmarks.zoo.roads import CAMVID, ROADS, SCALES, Row, record, side_of, whole_of
from benchmarks.zoo.scales import generate
from benchmarks.zoo.twins import twin

from made_run import bright, made_run
from segfold.comparison.compare import compare
from segfold.config import load_experiment
from segfold.ensemble.recipe import read_recipe
from segfold.files import read_json
from segfold.predicting import PredictionOptions, predict_runs
from segfold.road import open_run, train_fold
from segfold.runs.folder import RunFolder
from segfold.runs.record import read_run
from small_project import make_project


def shy(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
    """The truth of the large discs; nothing of the others."""
    return bright(name, mask if mask is not None and mask.mean() > 0.2 else np.zeros((28, 26), np.uint8), fold)


def codes(run: RunFolder, weights: str) -> np.ndarray:
    """What a run has stored of its held-out images, predicted now if need be."""
    predict_runs([run.path], PredictionOptions(splits=("oof",), use=[weights]))
    tta = "+".join(read_run(run).predict.tta)
    return np.fromfile(run.fold(0).predictions(weights, tta) / "oof.u16", np.uint16)


def test_a_twin_predicts_as_its_run_would_by_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make_project(tmp_path))
    config, settings = Path("configs/small.yaml"), ["stages.warm.snapshots=true", "stages.warm.epochs=1"]
    changed = ["predict.tta=[identity]", "predict.values=logits"]
    train_fold(open_run(load_experiment(config, settings), "here"), 0)
    run = RunFolder(Path("runs/here"))
    before = codes(run, "model")
    made = twin(run, "other", changed)
    found = {name: codes(made, name) for name in ("model", "snapshot1")}
    assert not np.array_equal(found["model"], before) and not np.array_equal(found["model"], found["snapshot1"])
    assert np.array_equal(codes(run, "model"), before)
    twin(run, "other", changed)
    open_run(load_experiment(config, [*settings, *changed]), "here")
    for name, expected in found.items():
        assert np.array_equal(codes(run, name), expected) and np.array_equal(codes(made, name), expected)


def test_rows_are_scored_as_segfold_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_project(tmp_path)
    monkeypatch.chdir(home)
    made_run(home, "good")
    made_run(home, "shy", "seed=1", paint=shy)
    good, worse = (side_of(Row(name, (name,))) for name in ("good", "shy"))
    found = record(Row("shy", ("shy",), "good"), worse, good)
    expected = compare(Path("runs/good"), Path("runs/shy")).found
    assert found["score"] == pytest.approx(expected.b.mean, abs=1e-6) and found["difference"] < 0
    for key, value in (
        ("difference", expected.difference),
        ("difference_error", expected.standard_error),
        ("low", expected.low),
        ("high", expected.high),
        ("probability", expected.probability),
    ):
        assert found[key] == pytest.approx(value, abs=1e-6)
    assert deconvnet.cells_of(found)[2:4] == (
        "good",
        f"{expected.difference:+.3f} ± {expected.standard_error:.3f}",
    )
    assert "against" not in record(Row("shy", ("shy",)), worse, None)


@pytest.mark.parametrize("combine", ["mean", "logits"])
def test_a_blend_is_a_recipe_of_equal_shares(combine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sure run makes up for the shy one, whose 0.4 no threshold of its own would part from the ground."""
    home = make_project(tmp_path)
    monkeypatch.chdir(home)
    made_run(home, "good")
    made_run(home, "unsure", "seed=1", paint=lambda name, mask, fold: np.full((28, 26), 0.4))
    side = side_of(Row("both of them, blended", ("good", "unsure"), combine=combine))
    assert side.recipe == read_recipe(Path("recipes/both-of-them-blended.recipe.yaml"))
    assert side.recipe is not None and (side.recipe.combine, side.recipe.steps) == (combine, {})
    assert [member.weight for member in side.recipe.members.values()] == [1, 1]
    score = record(Row("both", ("good", "unsure")), side, None)
    assert score["score"] == 1 and score["images"] == len(side.ids) and score["seconds_an_image"] is None


def test_every_row_is_held_against_one_before_it_and_writes_a_file_of_its_own() -> None:
    for road in ROADS.values():
        rows = road.rows("run")
        for number, row in enumerate(rows):
            assert row.against in ("", *(other.name for other in rows[:number]))
        assert len({row.slug for row in rows}) == len(rows)
    assert {run for row in SCALES.rows("run") for run in row.runs} == {
        "run",
        "run@snapshot1",
        whole_of("run"),
        f"{whole_of('run')}@snapshot1",
    }
    assert any(len(row.runs) == 2 and row.crf and row.combine == "product" for row in CAMVID.rows("run"))


roads = pytest.mark.parametrize("road", ROADS.values(), ids=lambda road: road.name)


@roads
def test_the_page_shows_what_was_found(road: deconvnet.Road) -> None:
    """Nothing, as long as it was not run here."""
    found = read_json(road.results)["rows"] if road.results.exists() else []
    table = document.markdown(deconvnet.COLUMNS, [deconvnet.cells_of(row) for row in found]) if found else ""
    assert document.table_in(deconvnet.DOCUMENT, road.command) == table


@roads
def test_another_size_takes_kernel_and_boxes_with_it(road: deconvnet.Road) -> None:
    experiment = load_experiment(road.config, road.settings(96, 4000))
    assert (experiment.input.shape, experiment.model.fc_kernel) == ((96, 96), 3)
    stages = experiment.stages.values()
    assert all(stage.boxes is not None and stage.boxes.resize == 107 for stage in stages)
    assert experiment.sample.images == round(4000 / sum(stage.epochs for stage in stages))
    assert [stage.snapshots for stage in stages] == [True, False]


@pytest.mark.slow
def test_the_road_on_the_made_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains both stages, predicts by both ways, and compares; called again it trains and predicts nothing anew."""
    page, results = tmp_path / "zoo.md", tmp_path / "found.json"
    page.write_text(f"{document.BEGIN.format(SCALES.command)}\n{document.END}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(deconvnet, "DOCUMENT", page)
    monkeypatch.setitem(deconvnet.ROADS, "scales", deconvnet.Road(**{**vars(SCALES), "results": results}))
    home = tmp_path / "zoo" / "scales"
    generate(home / "made", train=6, validation=3, test=1)
    told = ["--only", "scales", "model.width=4", "model.fc_width=16", "predict.boxes.count=5", "--images", "160"]
    told += ["machine.threads=1", "machine.workers=0", "machine.device=cpu"]
    assert deconvnet.main(told) == 0
    found = json.loads(results.read_text())
    assert [row["name"] for row in found["rows"]] == [row.name for row in SCALES.rows("run")]
    assert all(row["images"] == 3 for row in found["rows"])
    assert document.table_in(page, SCALES.command).count("\n") == 5
    (done,) = home.glob("runs/scales-deconvnet/fold0/done.json")
    stores = sorted(home.glob("runs/*/fold0/pred/*/oof.u16"))
    assert len(stores) == 4
    times = [path.stat().st_mtime_ns for path in (done, *stores)]
    assert deconvnet.main(told) == 0
    assert [path.stat().st_mtime_ns for path in (done, *stores)] == times
