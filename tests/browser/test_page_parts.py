"""Curves, leaderboard, data and reports: the numbers behind the charts are the stored ones."""

import csv
import json
from pathlib import Path
from urllib.parse import urlencode

import pytest
from benchmarks.board_runs import NAMES
from benchmarks.board_week import DAMAGED, FAILED
from seen import number, run_rows
from stored import finished, submissions


def numbers(page, chart):
    """The table behind a chart: rows of texts."""
    figure = page.locator(f'figure[data-chart="{chart}"]')
    if figure.locator("details[open]").count() == 0:
        figure.locator("summary").click()
    figure.locator("tbody tr").first.wait_for()
    return figure.locator("tbody").evaluate(
        "body => [...body.rows].map(row => [...row.cells].map(cell => cell.innerText))"
    )


def charts(page):
    """The names of the charts on the page."""
    return [each.get_attribute("data-chart") for each in page.locator("figure[data-chart]").all()]


def lines(home, run, fold):
    return [
        json.loads(line) for line in (home / "runs" / run / f"fold{fold}" / "metrics.jsonl").read_text().splitlines()
    ]


def test_curves_are_the_lines_of_metrics(board, week):
    page = board(urlencode({"tab": "curves", "runs": "\n".join(NAMES[:2])}))
    page.wait_for_selector("figure[data-chart]")
    each = page.locator("select").filter(has=page.locator('option[value="each"]'))
    each.select_option("each")
    page.wait_for_timeout(200)
    stored = {(run, fold): lines(week, run, fold) for run in NAMES[:2] for fold in range(5)}
    for chart in charts(page):
        key = chart.split("-")[-1]
        if key not in ("loss", "lr", "score"):
            continue
        shown = {(row[0], int(row[1]), int(row[2])): float(row[4]) for row in numbers(page, chart)}
        expected = {
            (run, fold, line["epoch"]): line[key]
            for (run, fold), all_ in stored.items()
            for line in all_
            if key in line
        }
        assert shown == expected, chart
    assert page.locator(".plot[data-ready] svg").count() >= 2


def test_scores_against_threshold_and_by_part(board, week):
    page = board(urlencode({"tab": "curves", "runs": NAMES[0]}))
    page.wait_for_selector("figure[data-chart]")
    names = charts(page)
    threshold = next(name for name in names if "threshold" in name)
    assert any("coverage" in name for name in names) and any("depth" in name for name in names)
    rows = numbers(page, threshold)
    assert len(rows) >= 19
    half = {row[1]: float(row[3]) for row in rows if row[2] == "0.5"}
    stored = finished(week)[NAMES[0]]
    assert half["all"] == pytest.approx(sum(done["score"] * done["images"] for done in stored.values()) / 40, abs=1e-6)
    for fold, done in stored.items():
        assert half[f"fold {fold}"] == pytest.approx(done["score"], abs=1e-6)


def test_confusion_of_classes(board):
    page = board(urlencode({"tab": "curves", "competition": "streets", "runs": "streets-0"}))
    page.wait_for_selector("figure[data-chart]")
    confusion = next(name for name in charts(page) if "confusion" in name)
    assert "road" in str(numbers(page, confusion))


def test_every_submission_with_its_scores(board, week):
    page = board("tab=leaderboard")
    page.wait_for_selector("tr[data-submission]")
    sent = {file: each for file, each in submissions(week).items() if each["competition"] == "salt"}
    rows = page.locator("tr[data-submission]")
    assert {row.get_attribute("data-submission") for row in rows.all()} == set(sent)
    for row in rows.all():
        each = sent[row.get_attribute("data-submission")]
        shown = {name: number(row.locator(f'[data-column="{name}"]')) for name in ("CV", "± CV", "public", "private")}
        assert shown == {
            "CV": each["cv"],
            "± CV": each["cv_error"],
            "public": each.get("public"),
            "private": each.get("private"),
        }


def test_cv_against_the_leaderboard_names_the_outlier(board, week):
    page = board("tab=leaderboard")
    page.wait_for_selector('figure[data-chart="against-public"] .plot[data-ready]')
    assert "salt-02.csv" in page.locator('figure[data-chart="against-public"]').inner_text()
    rows = {row[0]: row for row in numbers(page, "against-public")}
    assert [name for name, row in rows.items() if row[-1] == "yes"] == ["salt-02.csv"]
    for file, each in submissions(week).items():
        if each["competition"] == "salt" and each.get("public") is not None:
            row = rows[Path(file).name]
            assert float(row[1]) == each["cv"] and float(row[3]) == each["public"]


def test_members_of_an_ensemble(board, week):
    page = board("tab=leaderboard")
    page.wait_for_selector("#ensemble")
    names = charts(page)
    assert {"gains", "member-correlation", "run-correlation"} <= set(names)
    for row in numbers(page, "member-correlation"):
        assert 0 < float(row[2]) < 1


def test_the_data_and_the_audit(board, week):
    page = board("tab=data")
    page.wait_for_selector("#audit")
    with (week / "folds" / "salt-5.csv").open(newline="") as file:
        of = list(csv.DictReader(file))
    rows = numbers(page, "coverage-folds")
    for fold in range(5):
        assert sum(int(row[1 + fold]) for row in rows) == sum(row["fold"] == str(fold) for row in of)
    with (week / "audit/salt/alike.csv").open(newline="") as file:
        alike = {row["id"] for row in csv.DictReader(file)}
    listed = page.locator("#audit .groups [data-image]")
    assert {each.get_attribute("data-image") for each in listed.all()} == alike
    with (week / "audit/salt/labels.csv").open(newline="") as file:
        labels = [row["id"] for row in csv.DictReader(file)]
    assert page.locator("tr[data-label]").first.get_attribute("data-label") == labels[0]
    sample = page.locator("img[src*='samples/']").first
    sample.scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector(\"img[src*='samples/']\").naturalWidth > 100")
    one = listed.first.get_attribute("data-image")
    listed.first.click()
    page.wait_for_selector(f'figure canvas[data-image="{one}"]')


def test_a_report_has_the_same_parts(board, opened, week):
    page = board()
    page.get_by_role("link", name=NAMES[0], exact=True).first.click()
    page.wait_for_selector('section[data-tab="run"]')
    assert page.url.endswith("/report.html")
    tabs = [each.inner_text() for each in page.locator("#tabs a").all()]
    assert tabs == ["Run", "Curves", "Images", "Data"]
    for fold, done in finished(week)[NAMES[0]].items():
        row = page.locator(f'#fold-table tr[data-fold="{fold}"]')
        assert f"{done['score']:.6f}" in row.inner_text() and f"{done['iou']:.6f}" in row.inner_text()
    assert "decoder_channels" in page.locator("#settings").inner_text()
    page.locator('#tabs a[data-tab="images"]').click()
    page.wait_for_selector(f'figure canvas[data-run="{NAMES[0]}"][data-image]')
    page.locator('#tabs a[data-tab="run"]').click()
    page.locator("#to-board").click()
    page.wait_for_selector("#runs")
    assert page.url.split("#")[0].endswith("/runs/board.html") and NAMES[0] in run_rows(page)


@pytest.mark.parametrize("run", [NAMES[2], FAILED, DAMAGED])
def test_reports_of_odd_runs(opened, week, run):
    page = opened(week / "runs" / run / "report.html")
    assert run in page.locator("h1").inner_text()
    if run == FAILED:
        assert "the loss is not finite" in page.locator("#panel").inner_text()
    for tab in ("curves", "images", "data"):
        page.locator(f'#tabs a[data-tab="{tab}"]').click()
        page.wait_for_selector(f'section[data-tab="{tab}"]')
        page.wait_for_timeout(300)
        assert page.locator(".notice.problem").count() == 0


@pytest.mark.parametrize("competition", ["streets", "organs"])
def test_every_tab_of_the_other_competitions(board, competition):
    page = board(f"competition={competition}")
    for tab in ("curves", "images", "leaderboard", "data"):
        page.locator(f'#tabs a[data-tab="{tab}"]').click()
        page.wait_for_selector(f'section[data-tab="{tab}"]')
        page.wait_for_timeout(300)
        assert page.locator(".notice.problem").count() == 0
        assert len(page.locator("#panel").inner_text()) > 80
