"""What is said about settings: of every one, true to its annotation, and the same on the page of settings."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

from segfold.cli import main
from segfold.cli.settings_page import explain, page
from segfold.config import dump, load_experiment
from segfold.errors import SegfoldError
from segfold.models import MODELS
from segfold.ranges import Form
from segfold.schema.descriptions import descriptions, summary
from segfold.schema.walk import find, root, walk
from segfold.schema.words import in_words
from segfold.settings import Experiment
from setting_numbers import of_the_experiment

HOME = Path(__file__).parents[1]
EXPERIMENTS = sorted(path for path in (HOME / "configs").rglob("*.yaml") if path.parent.name != "competitions")
ALL = root(Experiment)


def keys_of(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All paths of a dumped experiment, of groups too."""
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, Mapping):
            yield from keys_of(value, (*path, key))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_path_of_a_dumped_config_is_known(path: Path) -> None:
    values = dump(load_experiment(path))
    found = list(keys_of(values))
    assert len(found) > 70
    for keys in found:
        known = [setting for setting in find(ALL, keys) if setting.variant in ("", values["model"]["name"])]
        assert len(known) == 1, keys
        assert known[0].dotted == ".".join(keys) and known[0].description and known[0].may_be, keys


def test_every_setting_has_a_description() -> None:
    settings = list(walk(ALL))
    assert [f"{setting.dotted} {setting.variant}" for setting in settings if not setting.description] == []
    assert {setting.variant for setting in settings} == {"", *MODELS}


def test_every_number_is_told_with_its_bounds() -> None:
    """The numbers and their bounds as another walk finds them."""
    for number in of_the_experiment():
        variant = number.path[1] if number.path[0] == "model" else ""
        keys = ("model", *number.path[2:]) if variant else number.path
        [words] = [setting.may_be for setting in find(ALL, keys) if setting.variant == variant]
        low, high = (f"{int(bound):,}" if bound == int(bound) else f"{bound:g}" for bound in (number.low, number.high))
        kind = "whole number" if number.whole else "number"
        assert f"{kind} {'above ' * number.above}{low} … {'below ' * number.below}{high}" in words, str(number)
        assert ("list" in words) or not number.count


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (bool, "true or false"),
        (bool | Literal["auto"], "true, false or auto"),
        (Literal[1, 2, 4], "1, 2 or 4"),
        (None | Annotated[int, Ge(1), Le(2_000)], "whole number 1 … 2,000 or null"),
        (Annotated[float, Gt(0), Lt(0.5)], "number above 0 … below 0.5"),
        (Annotated[int, Ge(1), Le(9)] | tuple[Annotated[int, Ge(1), Le(9)], ...], "whole number 1 … 9 or list of them"),
        (tuple[int, int], "list of 2: whole number"),
        (Annotated[tuple[str, ...], MinLen(1), MaxLen(3)], "list of 1 to 3: text"),
        (Annotated[tuple[str, ...], MaxLen(3)], "list of up to 3: text"),
        (Annotated[str, Form("a colour")], "a colour"),
        (dict[str, int | str], "mapping of names to whole number or text"),
    ],
)
def test_annotations_in_words(annotation: Any, words: str) -> None:
    assert in_words(annotation) == words


def test_descriptions_are_those_of_the_docstring() -> None:
    def builder(*, width: int = 1, height: int = 1) -> None:
        """Makes a thing: a good one.

        Args:
            width: from left to right: in pixels,
                over two lines.
            height: from top to bottom.

        Reference:
            Nobody: nothing.
        """

    assert summary(builder) == "Makes a thing: a good one."
    assert descriptions(builder) == {
        "width": "From left to right: in pixels, over two lines.",
        "height": "From top to bottom.",
    }


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("input.fit", ["pad or resize", "default: pad", "segfold/settings/data.py: Input"]),
        (
            "stages.any.schedule.cosine.end",
            ["number 0 … 1", "default: 0.0", "end of every cycle", "schedules.py: cosine"],
        ),
        ("augment.hflip.p", ["number 0 … 1", "default: 0.5", "Probability"]),
        ("optimizer.adamw.weight_decay", ["number 0 … 100", "default: 0.0001"]),
        ("model.centre.dblock.dilations", ["of unet", "[1, 2, 4]", "centres.py: dblock"]),
        ("model.encoder_options.drop_rate", ["true, false, whole number, number or text"]),
        ("competition", ["may be:  path"]),
        ("stages.a.loss", ["mask ", "heads ", "image ", "unpadded"]),
        ("", ["competition", "batch_size", "validate", "machine"]),
    ],
)
def test_a_setting_is_told(path: str, said: list[str]) -> None:
    text = explain(path)
    assert [words for words in said if words not in text] == []


def test_models_that_differ_are_told_apart() -> None:
    text = explain("model.encoder")
    assert "(of unet" in text and "resnet34" in text and "(of linknet)" in text and "resnet18" in text
    assert "(of linknet, dlinknet, fc_densenet, frrn" in explain("model.head_channels")


def test_a_config_shows_its_own_value() -> None:
    values = dump(load_experiment(HOME / "configs" / "quick.yaml", ["input.fit=resize", "model.name=linknet"]))
    assert "default: pad\n  here:    resize" in explain("input.fit", values)
    assert "unet" not in explain("model.encoder", values)
    row = next(line for line in explain("input", values).splitlines() if line.startswith("border"))
    assert row.split().count("reflect") == 2
    assert "here:    –" in explain("stages.nowhere.lr", values)


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("input.fti", "did you mean input.fit?"),
        ("stages.a.schedul", "did you mean stages.a.schedule?"),
        ("nesterov", "did you mean optimizer.sgd.nesterov?"),
        ("stages.a.lr.b", "nothing stands below stages.a.lr"),
        ("qqqqqq", "known here: competition, seed"),
    ],
)
def test_an_unknown_path_is_refused_with_the_nearest(path: str, hint: str) -> None:
    with pytest.raises(SegfoldError) as error:
        explain(path)
    assert hint in str(error.value) and repr(path) in str(error.value)


def test_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "input.fit", "--config", str(HOME / "configs" / "quick.yaml")]) == 0
    assert capsys.readouterr().out.startswith("input.fit\n")
    assert main(["explain", "input.fti"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err == "segfold explain: no setting 'input.fti'; did you mean input.fit?\n"


def test_the_page_of_settings_is_that_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--markdown"]) == 0
    text = capsys.readouterr().out
    assert text == page()
    assert (HOME / "docs" / "settings.md").read_text() == text, "make settings writes it anew"
    tables = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(line.replace("\\|", "").count("|") == 5 for line in tables) and len(tables) > 250
