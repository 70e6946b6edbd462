"""``docs/competitions.md`` names all that there is, and its examples are files that load."""

import inspect
import re

import pytest

from segfold.competition import Competition, ExtraTable, Submission
from segfold.layouts import LAYOUTS
from segfold.metrics import METRICS
from segfold.tasks import TASKS
from segfold.yaml_file import parse_yaml
from small_project import ROOT

PAGE = (ROOT / "docs" / "competitions.md").read_text()
NAMES = sorted(path.stem for path in (ROOT / "configs" / "competitions").glob("*.yaml"))
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
NEEDED = {"name": "mine", "title": "Mine", "task": "multilabel", "classes": ["1", "2"], "metric": "dice"}


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_examples_load(block: str) -> None:
    values = parse_yaml(block, "page")
    given = {"layout": "folders"} | NEEDED | values
    if given["layout"] == "voc":
        given["task"] = "multiclass"
    assert Competition.model_validate(given).layout is not None


def test_there_are_examples_of_everything() -> None:
    layouts = {parse_yaml(block, "page").get("layout") for block in BLOCKS}
    assert layouts == {*LAYOUTS, None} and "submission" in parse_yaml(BLOCKS[-1], "page")


@pytest.mark.parametrize("name", [*NAMES, *METRICS, *TASKS])
def test_every_file_metric_and_task_has_a_row(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_rows_say_what_the_files_say(name: str) -> None:
    values = parse_yaml((ROOT / "configs" / "competitions" / f"{name}.yaml").read_text(), name)
    ((task, classes, metric),) = re.findall(
        rf"^\| `{name}` \| ([a-z]+)(?:, ([0-9]+))? \| `([^`]+)` \|", PAGE, re.MULTILINE
    )
    count = len(values["classes"])
    assert (task, classes) == (values["task"], str(count) if count > 1 else "")
    assert parse_yaml(metric, "page") == values["metric"]


def test_every_key_and_option_is_named() -> None:
    keys = {field.alias or name for name, field in Competition.model_fields.items()}
    keys |= set(Submission.model_fields) | set(ExtraTable.model_fields)
    for layout in LAYOUTS.values():
        keys |= set(inspect.signature(layout).parameters)
    named = set(re.findall(r"\w+", " ".join([*re.findall(r"`([^`\n]+)`", PAGE), *BLOCKS])))
    assert keys <= named, keys - named
