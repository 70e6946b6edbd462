"""What charts are made by, in Chromium: means of folds, stages, colours of runs and of cells, text that stays text."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import segfold.board

pytestmark = pytest.mark.browser
APP = Path(segfold.board.__file__).parent / "app"
STYLE = {"colour": "#123456", "dash": "solid", "symbol": "circle"}


@pytest.fixture(scope="module")
def page(browser: Any) -> Any:
    opened = browser.new_page()
    opened.set_content("<header id=top></header><main></main>")
    for name in ("core.js", "charts.js", "chart-styles.js", "chart-forms.js", "epoch-lines.js"):
        opened.add_script_tag(path=str(APP / name))
    for name in ("board.css", "charts.css"):
        opened.add_style_tag(path=str(APP / name))
    yield opened
    opened.close()


def columns(epochs: int, shift: float, every: int = 1) -> dict[str, list[Any]]:
    """A fold: its score is measured every so many epochs only."""
    numbers = range(1, epochs + 1)
    return {
        "epoch": list(numbers),
        "stage": ["warm" if epoch <= 2 else "main" for epoch in numbers],
        "seconds": [60.0 * epoch + shift for epoch in numbers],
        "score": [epoch / 10 + shift if epoch % every == 0 else None for epoch in numbers],
    }


def test_mean_and_range_are_those_of_the_folds_that_have_the_epoch(page):
    folds = [columns(6, 0.01, 2), columns(6, 0.05, 2), columns(4, 0.3, 2)]
    rows = page.evaluate(
        "([folds, style]) => segfold.charts.meanTraces('a', folds.map((fold) =>"
        " segfold.charts.pointsOf(fold, 'score', '', {of: 1})), style, true).rows",
        [folds, STYLE],
    )
    assert [row[1] for row in rows] == [2, 4, 6]
    for _, epoch, stage, count, mean, low, high in rows:
        values = [fold["score"][epoch - 1] for fold in folds if len(fold["epoch"]) >= epoch]
        assert (stage, count) == ("warm" if epoch <= 2 else "main", len(values))
        assert mean == pytest.approx(np.mean(values), rel=1e-6)
        assert (low, high) == (min(values), max(values))


def test_where_folds_are_missing_the_thick_line_ends(page):
    folds = [columns(6, 0.0), columns(4, 0.1)]
    traces = page.evaluate(
        "([folds, style]) => segfold.charts.meanTraces('a', folds.map((fold) =>"
        " segfold.charts.pointsOf(fold, 'score', '', {of: 1})), style, true).traces",
        [folds, STYLE],
    )
    band, thick, thin = traces
    assert [y is not None for y in thick["y"]] == [True] * 4 + [False] * 2
    assert [y is not None for y in thin["y"]] == [False] * 3 + [True] * 3, "it begins where the thick one ends"
    assert max(band["x"]) == 4
    assert thin["line"]["width"] < thick["line"]["width"]


def test_each_fold_is_a_line_of_its_own_in_one_trace(page):
    folds = {"0": columns(3, 0.0), "2": columns(2, 0.5)}
    made = page.evaluate(
        "([folds, style]) => segfold.charts.foldTraces('a', Object.entries(folds).map(([name, fold]) =>"
        " [name, segfold.charts.pointsOf(fold, 'score', 'seconds', {of: 60})]), style, true)",
        [folds, STYLE],
    )
    (trace,) = made["traces"]
    assert trace["y"] == [*folds["0"]["score"], None, *folds["2"]["score"], None]
    assert trace["x"] == pytest.approx([1, 2, 3, None, 1 + 0.5 / 60, 2 + 0.5 / 60, None])
    assert made["rows"][-1] == ["a", 2, 2, "warm", folds["2"]["score"][1]]


def test_a_stage_begins_between_two_epochs(page):
    found = page.evaluate(
        "(folds) => segfold.charts.stagesOf({folds}, '', {of: 1}, '')", {"0": columns(2, 0.0), "1": columns(5, 0.0)}
    )
    assert found == [{"stage": "warm", "begins": 1, "x": 1}, {"stage": "main", "begins": 3, "x": 2.5}]


def test_a_run_keeps_its_colour_when_others_are_chosen_after_it(page):
    names = [f"run-{number}" for number in range(30)]

    def styles(some: list[str]) -> dict[str, tuple[str, str]]:
        found = page.evaluate("(names) => [...segfold.charts.styles(names)]", some)
        return {name: (style["colour"], style["dash"]) for name, style in found}

    all_of_them = styles(names)
    assert len(set(all_of_them.values())) == 30, "no two look the same"
    assert len({colour for colour, _ in list(all_of_them.values())[:8]}) == 8, "colours before dashes"
    for count in (1, 5, 8, 9, 20):
        assert styles(names[:count]) == dict(list(all_of_them.items())[:count])


def _light(colour: str) -> float:
    """Relative luminance, by WCAG."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_light(one), _light(other)))
    return (high + 0.05) / (low + 0.05)


def _variables(page: Any, theme: str, names: list[str]) -> dict[str, str]:
    return page.evaluate(
        "([theme, names]) => { document.documentElement.dataset.theme = theme; const style ="
        " getComputedStyle(document.documentElement);"
        " return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(name).trim()])); }",
        [theme, names],
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lines_have_contrast_and_stay_apart_for_the_colour_blind(page, theme):
    series = [f"--series-{number}" for number in range(1, 9)]
    colours = _variables(page, theme, [*series, "--paper", "--panel"])
    for name in series:
        assert min(_contrast(colours[name], colours[ground]) for ground in ("--paper", "--panel")) >= 3, name
    linear = np.array([[_linear(colours[name], band) for band in range(3)] for name in series])
    # Machado, Oliveira and Fernandes (2009), severity 1: deuteranopia, protanopia, tritanopia.
    for kind in (
        ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
        ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
        ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
        np.eye(3),
    ):
        seen = _oklab(np.clip(linear @ np.array(kind).T, 0, 1))
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
        assert apart[~np.eye(8, dtype=bool)].min() > 0.06


def _linear(colour: str, band: int) -> float:
    part = int(colour[1 + 2 * band : 3 + 2 * band], 16) / 255
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def _oklab(linear: np.ndarray) -> np.ndarray:
    """By Ottosson (2020)."""
    first = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    second = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.cbrt(linear @ first.T) @ second.T


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_on_cells_of_a_heat_map_can_be_read(page, theme):
    steps = [_variables(page, theme, [f"--heat-{step}"])[f"--heat-{step}"] for step in range(5)]
    for share in np.linspace(0, 1, 101):
        ink = page.evaluate(
            "(share) => segfold.charts.coloured(`heat(${share})`, getComputedStyle(document.documentElement))",
            round(float(share), 3),
        )
        place = float(share) * 4
        below = min(int(place), 3)
        mixed = [
            round(int(one, 16) + (int(other, 16) - int(one, 16)) * (place - below))
            for one, other in zip(re.findall("..", steps[below][1:]), re.findall("..", steps[below + 1][1:]))
        ]
        assert _contrast(ink, "#" + "".join(f"{part:02x}" for part in mixed)) >= 4.5, share


def test_a_name_is_shown_as_it_is(page):
    name = '<a href="https://example.org">x</a> & <b>y</b> &lt;'
    page.add_script_tag(path=str(_plotly()))
    shown = page.evaluate(
        "async (name) => { const element = document.createElement('div'); document.body.append(element);"
        " await Plotly.newPlot(element, [{x: [0], y: [0]}], {width: 700, height: 300, xaxis: {tickvals: [0],"
        " ticktext: [segfold.charts.text(name)]}});"
        " return [element.querySelector('.xtick text').textContent, element.querySelectorAll('svg a').length]; }",
        name,
    )
    assert shown == [name, 0]


def _plotly() -> Path:
    from segfold.board.page import chart_library

    return chart_library()
