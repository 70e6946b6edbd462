"""Recipes of several classes: what each has of its own, written, read and applied."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from segfold.ensemble.choice import Choice, Tried
from segfold.ensemble.recipe import Recipe, read_recipe, recipe_of, recipe_text
from segfold.ensemble.score import MeanScore
from segfold.ensemble.search import Fitted, Scores
from segfold.ensemble.wanted import Wanted
from segfold.errors import SegfoldError
from segfold.post import Decision, Decisions, MaskSizes, Seen
from segfold.tasks import FOREGROUND, Multiclass, Multilabel
from segfold.yaml_file import read_yaml, yaml_text

SCORES = Scores(MeanScore(0.5, 0.1, 9), MeanScore(0.7, 0.1, 9), MeanScore(0.6, 0.1, 9), "3 folds")
AXES = Wanted().axes(MaskSizes(900, 50), has_gate=False)
LOW, HIGH = Decision.of(0.3, {"components": {"min_area": 5}}), Decision.of(0.7, {})
CLASSES = ("cat", "dog", "bird")


def recipe(choice: Choice) -> Recipe:
    """As a submission makes it."""
    predict, folder = SimpleNamespace(tta=("identity",)), SimpleNamespace(path=Path("runs/a"))
    entry = SimpleNamespace(label="a", folder=folder, weight=1.0, experiment=SimpleNamespace(predict=predict))
    return recipe_of("pets", [SimpleNamespace(entry=entry, used={0: {"model": "f" * 64}})], choice)  # type: ignore[list-item]


def tried(decision: Decision) -> Tried:
    return Tried(Fitted(decision, SCORES), AXES)


BY_CLASS = Choice(
    None,
    SCORES,
    {"cat": tried(LOW), "dog": tried(HIGH), "bird": tried(LOW)},
    dict.fromkeys(CLASSES, SCORES),
)
SHARED = Choice(tried(LOW), SCORES, class_scores=dict.fromkeys(CLASSES, SCORES))
BINARY = Choice(tried(LOW), SCORES)


def written(tmp_path: Path, made: Recipe) -> dict[str, Any]:
    (tmp_path / "a.yaml").write_text(recipe_text(made, Path("a.yaml")))
    assert read_recipe(tmp_path / "a.yaml") == made
    return read_yaml(tmp_path / "a.yaml")


def test_each_class_has_its_own(tmp_path: Path) -> None:
    made = recipe(BY_CLASS)
    values = written(tmp_path, made)
    assert values["threshold"] is None and values["steps"] == {} and list(values["classes"]) == list(CLASSES)
    assert values["classes"]["dog"].keys() == {"threshold", "steps", "tried", "scores"}
    assert values["classes"]["cat"]["steps"] == {"components": {"min_area": 5}}
    assert made.decisions(Multilabel(CLASSES)) == Decisions(Multilabel(CLASSES), (LOW, HIGH, LOW))
    assert made.settings["classes"]["dog"] == {"threshold": 0.7, "steps": {}}


def test_what_classes_share_stands_once(tmp_path: Path) -> None:
    made = recipe(SHARED)
    values = written(tmp_path, made)
    assert values["threshold"] == 0.3 and values["classes"]["cat"].keys() == {"scores"}
    assert made.decisions(Multilabel(CLASSES)) == Decisions(Multilabel(CLASSES), (LOW,))
    values |= {"classes": {"dog": {"threshold": 0.7}}}
    (tmp_path / "a.yaml").write_text(yaml_text(values))
    changed = read_recipe(tmp_path / "a.yaml")
    assert changed.scores is None and changed.decisions(Multilabel(CLASSES)).each == (LOW, HIGH, LOW)


def test_a_recipe_of_one_class_says_nothing_of_classes(tmp_path: Path) -> None:
    made = recipe(BINARY)
    values = written(tmp_path, made)
    assert list(values) == [
        *("format", "competition", "members", "combine", "threshold", "steps", "tried", "scores", "scored")
    ]
    assert "classes" not in made.settings and made.decisions(FOREGROUND) == Decisions(FOREGROUND, (LOW,))


def test_exclusive_classes_have_no_threshold(tmp_path: Path) -> None:
    task = Multiclass(CLASSES, 1)
    decision = Decision.of(None, {"gate": {"least": 0.5}})
    made = recipe(Choice(tried(decision), SCORES, class_scores=dict.fromkeys(CLASSES, SCORES)))
    assert written(tmp_path, made)["threshold"] is None
    assert made.decisions(task) == Decisions(task, (decision,))
    codes = np.random.default_rng(0).integers(0, 65536, (3, 4, 4), np.uint16)
    assert (made.decisions(task)(codes, Seen(lambda: codes, 0)) == 1).all()
    with pytest.raises(SegfoldError, match=r"^here: steps.gate: it empties images, but no class is the background"):
        made.decisions(Multiclass(CLASSES), "here")


def test_scores_of_other_settings_are_left_out(tmp_path: Path) -> None:
    values = written(tmp_path, recipe(BY_CLASS))
    for change in ({"threshold": 0.71}, {"steps": {"largest": {"count": 1}}}):
        values["classes"]["dog"] |= change
        (tmp_path / "b.yaml").write_text(yaml_text(values))
        changed = read_recipe(tmp_path / "b.yaml")
        assert changed.scores is None and all(each.scores is None for each in changed.classes.values())
    values = written(tmp_path, recipe(BY_CLASS))
    values["classes"] = dict(reversed(values["classes"].items()))
    (tmp_path / "b.yaml").write_text(yaml_text(values))
    assert read_recipe(tmp_path / "b.yaml").scores == SCORES


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": {"dgo": {"threshold": 0.5}}}, "classes.dgo is no class of the competition; did you mean dog?"),
        ({"classes": {"dog": {"threshold": 0.5}}}, "no threshold for cat, bird; give one in classes, or one for all"),
        ({"classes": {"dog": {"threshold": 1.5}}}, "less than or equal to 1"),
        ({"classes": {"dog": {"steps": {"holes": {}}}}}, "need a threshold of its own"),
        ({"classes": {"dog": {"threshold": 0.5, "steps": {"hole": {}}}}}, "unknown key hole; did you mean holes?"),
        ({"classes": {"dog": {"treshold": 0.5}}}, "did you mean threshold?"),
    ],
)
def test_a_class_that_is_wrong_is_one_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    (tmp_path / "w.yaml").write_text(yaml_text(written(tmp_path, recipe(BY_CLASS)) | change))
    with pytest.raises(SegfoldError) as found:
        read_recipe(tmp_path / "w.yaml").decisions(Multilabel(CLASSES), "w.yaml")
    assert "w.yaml" in str(found.value) and said in str(found.value) and "\n" not in str(found.value)


def test_a_threshold_of_an_exclusive_class_is_refused() -> None:
    with pytest.raises(SegfoldError, match=r"^w: classes.cat.threshold: the classes exclude each other"):
        recipe(BY_CLASS).decisions(Multiclass(CLASSES), "w")
