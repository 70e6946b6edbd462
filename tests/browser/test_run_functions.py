"""What the table of runs is made by, in Chromium: differences of settings, filter, order; against Python."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import segfold.board

pytestmark = pytest.mark.browser
APP = Path(segfold.board.__file__).parent / "app"
BASE = {
    "competition": "salt",
    "model.name": "unet",
    "model.encoder": "resnet34",
    "stages.warm.lr": 0.001,
    "stages.warm.epochs": 30,
    "augment.hflip.p": 0.5,
    "input.channels": ["image", "y"],
}


@pytest.fixture(scope="module")
def page(browser: Any) -> Any:
    opened = browser.new_page()
    for name in ("core.js", "format.js", "settings.js", "run-facts.js", "run-filter.js", "run-columns.js"):
        opened.add_script_tag(path=str(APP / name))
    yield opened
    opened.close()


def differences(page: Any, run: dict[str, Any] | None, reference: dict[str, Any] | None) -> Any:
    found = page.evaluate(
        "([run, reference]) => segfold.differences({settings: run}, {settings: reference})?.map((each) =>"
        " [each.path, segfold.change(each)]) ?? null",
        [run, reference],
    )
    return None if found is None else dict(found)


def test_a_setting_that_is_another_is_one_difference(page):
    assert differences(page, BASE, BASE) == {}
    run = BASE | {"model.encoder": "resnet50", "input.channels": ["image"], "stages.warm.lr": 0.01}
    assert differences(page, run, BASE) == {
        "model.encoder": "resnet34 → resnet50",
        "input.channels": '["image","y"] → ["image"]',
        "stages.warm.lr": "0.001 → 0.01",
    }


def test_what_changes_most_comes_first_and_dice_and_machine_last(page):
    run = {"seed": 0, "machine.workers": 1, "folds.k": 5, "predict.tta": "hflip", "augment.hflip.p": 0.1} | BASE
    run |= {"batch_size": 8}
    other = {path: f"another {value}" for path, value in run.items()}
    found = [path.split(".")[0] for path in differences(page, other, run)]
    order = ["model", "input", "augment", "stages", "batch_size", "predict", "competition", "seed", "folds", "machine"]
    assert list(dict.fromkeys(found)) == order and len(found) == len(run)


@pytest.mark.parametrize(
    ("folds", "k", "text"), [(1, 5, "1 of 5 folds"), (5, 5, "5 folds"), (1, 1, "1 fold"), (3, None, "3 folds")]
)
def test_a_mean_is_of_so_many_folds(page, folds, k, text):
    run = {"cv": {"mean": 0.5, "standard_error": None, "folds": folds}, "settings": {"folds.k": k} if k else {}}
    assert page.evaluate("run => segfold.foldsOfMean(run)", run) == text
    assert page.evaluate("segfold.foldsOfMean({cv: null, settings: {}})") is None


def test_a_part_that_one_of_them_has_is_one_difference(page):
    more = {
        "augment.affine.p": 0.5,
        "augment.affine.shift": 0.1,
        "stages.lovasz.lr": 0.1,
        "stages.lovasz.loss.mask": "bce",
    }
    assert differences(page, BASE | more, BASE) == {
        "augment.affine": "added: p 0.5, shift 0.1",
        "stages.lovasz": "added: lr 0.1, loss › mask bce",
    }
    assert differences(page, BASE, BASE | more) == {"augment.affine": "left out", "stages.lovasz": "left out"}
    assert differences(page, BASE | {"init": "runs/a"}, BASE) == {"init": "added runs/a"}
    # A beginning of a name is no part of it, and what every object has is no setting.
    assert differences(page, {"a.lrs.y": 1, "a.lr.x": 2}, {"a.lrs.y": 1}) == {"a.lr": "added: x 2"}
    assert differences(page, {"constructor": 1}, {"a": 1}) == {"constructor": "added 1", "a": "left out"}


def test_settings_that_cannot_be_read_have_no_differences(page):
    assert differences(page, {}, BASE) is None
    assert differences(page, BASE, None) is None


def run(name: str, **facts: Any) -> dict[str, Any]:
    return {"name": name, "state": "finished", "reason": None, "folds": [], "settings": BASE, "cv": None} | facts


def filtered(page: Any, runs: list[dict[str, Any]], text: str) -> list[str]:
    return page.evaluate(
        "([runs, text]) => runs.filter(segfold.runFilter(runs, text)).map((r) => r.name)", [runs, text]
    )


def test_a_filter_looks_in_names_states_reasons_and_settings(page):
    runs = [
        run("a"),
        run("b", settings=BASE | {"model.encoder": "resnet50", "stages.warm.lr": 0.0015}),
        run("c", state="failed", reason="the loss is not finite", settings=BASE | {"model.encoder": "resnet34d"}),
        run("<D>", settings={}),
    ]
    for text, found in {
        "": "a b c <D>",
        "failed": "c",
        "not finite": "c",
        "<d>": "<D>",
        "resnet34": "a c",
        "encoder=resnet34": "a",  # the very value, where a run has it
        "model.encoder=resnet": "a b c",  # else its beginning
        "Encoder=RESNET50": "b",
        "lr=0.001": "a c",
        "lr=0.0015 encoder=resnet50": "b",
        "coder=resnet34": "",  # a setting has a whole name
        "encoder=resnet34 failed": "",
    }.items():
        assert filtered(page, runs, text) == found.split(), text


SORTED = """([runs, order, reference]) => {
  const columns = segfold.runColumns(runs, runs.find((run) => run.name === reference));
  return segfold.sortRuns(runs, columns, order).map((run) => run.name);
}"""


@pytest.mark.parametrize("column", ["cv", "fold-0", "public", "seconds", "images_per_second", "parameters"])
def test_what_is_not_known_stands_last_both_ways(page, column):
    random = np.random.default_rng(2)
    values = [None if index % 5 == 0 else round(float(value), 2) for index, value in enumerate(random.normal(0, 1, 40))]
    runs = []
    for index, value in enumerate(values):
        facts = {"public": None, "seconds": None, "images_per_second": None, "parameters": None}
        if column == "cv":
            facts["cv"] = None if value is None else {"mean": value, "standard_error": None, "folds": 1}
        elif column == "fold-0":
            facts["folds"] = [{"number": 0, "state": "finished", "score": value}]
        else:
            facts[column] = value
        runs.append(run(f"run-{index}", **facts))
    for down in (False, True):
        key = {each["name"]: value for each, value in zip(runs, values)}
        expected = sorted(
            key,
            key=lambda name: (
                key[name] is None,
                0 if key[name] is None else math.copysign(1, -down or 1) * key[name],
                int(name.removeprefix("run-")),
            ),
        )
        assert page.evaluate(SORTED, [runs, ("-" if down else "") + column, "run-0"]) == expected


def test_runs_sort_by_name_state_medal_and_number_of_differences(page):
    runs = [
        run("run-10", state="failed", medal="gold", settings=BASE | {"seed": 1}),
        run("run-9", medal=None),
        run("run-2", state="damaged", medal="bronze", settings={}),
        run("run-1", state="training", medal="silver", settings=BASE | {"seed": 1, "batch": 2}),
    ]
    for order, expected in {
        "name": [1, 2, 9, 10],
        "-name": [10, 9, 2, 1],
        "state": [9, 1, 10, 2],
        "-medal": [10, 1, 2, 9],
        "medal": [2, 1, 10, 9],
        "differences": [9, 10, 1, 2],
        "-differences": [1, 10, 9, 2],
    }.items():
        assert page.evaluate(SORTED, [runs, order, "run-9"]) == [f"run-{number}" for number in expected], order


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3540, "59 min"),
        (3599, "1 h 00 min"),
        (18420, "5 h 07 min"),
    ],
)
def test_a_time_is_read_as_people_say_it(page, seconds, text):
    assert page.evaluate("segfold.duration", seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "–"),
        (999, "999"),
        (1000, "1.00 k"),
        (12345, "12.3 k"),
        (999499, "999 k"),
        (999999, "1.00 M"),
        (21_300_000, "21.3 M"),
    ],
)
def test_a_count_is_short(page, count, text):
    assert page.evaluate("segfold.short", count) == text
