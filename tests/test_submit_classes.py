"""A blend whose weights are searched, of classes that exclude each other: none of them background, so no step may empty an image."""

from pathlib import Path

import numpy as np
import pytest

from competition_sets_more import camvid
from made_run import Painter, made_run
from segfold.cli import main
from segfold.competition import load_competition
from segfold.importing.kaggle import import_data
from segfold.yaml_file import read_yaml
from small_project import EXPERIMENT

CLASSES = 11
LOSS = ("input.fit=resize", "stages.warm.loss={mask: {ce: 1}}", "stages.lovasz.loss={mask: {ce: 1}}")


def torn(seed: int) -> Painter:
    """Maps of which one pixel in four has another class, at random by the seed."""

    def paint(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
        rng = np.random.default_rng([seed, *name.encode()])
        mask = rng.integers(0, CLASSES, (32, 40)) if mask is None else np.where(mask == 255, 0, mask)
        seen = np.where(rng.random(mask.shape) < 0.25, rng.integers(0, CLASSES, mask.shape), mask)
        weights = rng.uniform(1, 2, (CLASSES, *mask.shape)) + 8 * (seen == np.arange(CLASSES)[:, None, None])
        return np.asarray(weights / weights.sum(axis=0), np.float32)

    return paint


def test_weights_are_searched_where_no_class_is_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "voc").mkdir()
    camvid(tmp_path / "voc", np.random.default_rng(0))
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/small.yaml").write_text(EXPERIMENT.replace("configs/competitions/small.yaml", "camvid"))
    import_data(load_competition("camvid"), tmp_path / "voc", tmp_path)
    for seed, name in enumerate(("a", "b", "c")):
        made_run(tmp_path, name, *LOSS, folds=[0], paint=torn(seed))
    monkeypatch.chdir(tmp_path)
    assert main(["submit", "--ensemble", "runs/a", "runs/b", "runs/c", "--name", "abc"]) == 0, capsys.readouterr().err
    recipe = read_yaml(Path("submissions/abc.recipe.yaml"))
    assert set(recipe["members"]) == {"a", "b", "c"}  # whose faults are not the same, so each is worth something
    assert "gate" not in recipe["steps"]
    alone = {name: scores["plain"]["mean"] for name, scores in recipe["alone"].items()}
    assert recipe["scores"]["plain"]["mean"] > max(alone.values()) + 0.05
