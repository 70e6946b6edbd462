"""What the page says where something is missing, is a guess, or is more than can be shown; and keys that are turned off."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks.board_runs import NAMES
from benchmarks.board_week import UNFINISHED
from seen import cell, state_of

from segfold.board.script import read_script, write_script

FIRST, SECOND = NAMES[:2]


@pytest.fixture
def page_of(week: Path, tmp_path: Path, opened: Any) -> Callable[..., Any]:
    """Opens a copy of the week's board whose data were changed: ``page_of(change, state)`` calls
    ``change(board, script)``, where ``script(name)`` is the value of another data script, which is written anew."""

    def open_(change: Callable[[dict, Callable[[str], Any]], None], state: str, **options: Any) -> Any:
        files = tmp_path / "runs" / "board-files"
        shutil.copytree(week / "runs" / "board-files", files)
        shutil.copy(week / "runs" / "board.html", tmp_path / "runs")
        _, board = read_script(files / "board.js")
        loaded: dict[str, Any] = {}

        def script(name: str) -> Any:
            return loaded.setdefault(name, read_script(files / f"{name}.js")[1])

        change(board, script)
        for name, value in {"board": board, **loaded}.items():
            write_script(files / f"{name}.js", name, value)
        return opened(tmp_path / "runs" / "board.html", state, **options)

    return open_


def salt(board: dict) -> dict:
    return next(each for each in board["competitions"] if each["name"] == "salt")


def whole(counts: list[list[int]]) -> list[list[int]]:
    """The one row of all images."""
    return [[sum(column) for column in zip(*counts, strict=True)]]


def test_without_folds_all_images_are_one_row_and_what_is_left_out_is_said(page_of):
    kept = {}

    def change(board, script):
        data = script(salt(board)["data_script"])
        kept["coverage"] = whole(data["coverage"]["counts"])[0]
        data |= {"folds": None, "fold_problem": "line 3 names no fold", "audit_problem": "labels.csv is left out"}
        data["coverage"]["counts"] = whole(data["coverage"]["counts"])
        for key in ("images", "pixels"):
            data["classes"][key] = whole(data["classes"][key])
        for sample in data["samples"]:
            sample |= {"file": None, "reason": "there is no such channel"}
        group = data["audit"]["alike"][0]
        group["size"] = len(group["images"]) + 1234

    page = page_of(change, f"competition=salt&tab=data&runs={FIRST}")
    page.wait_for_selector("#audit")
    assert "line 3 names no fold" in page.locator("#folds").inner_text()
    assert "there is no such channel" in page.locator("#samples").inner_text()
    assert page.locator("#samples img").count() == 0
    audit = page.locator("#audit").inner_text()
    assert "labels.csv is left out" in audit and "and 1,234 more" in audit
    assert page.locator("#audit .groups [data-image]").count() > 0
    chart = page.locator('[data-chart="coverage-folds"]')
    chart.locator("summary").click()
    chart.locator("tbody tr").first.wait_for()
    rows = [row.locator("td").all_inner_texts() for row in chart.locator("tbody tr").all()]
    assert [int(row[1]) for row in rows] == kept["coverage"] and all(len(row) == 2 for row in rows)


def test_images_that_are_never_held_out_are_no_fold(page_of):
    def change(board, script):
        script(salt(board)["data_script"])["folds"][-1] = "train"

    page = page_of(change, "competition=salt&tab=data")
    page.wait_for_selector("#audit")
    legend = page.locator("#folds .legend").inner_text()
    assert "never held out" in legend and "fold 3" in legend and "fold train" not in legend


def test_a_submission_without_correlations_shows_the_estimate_and_says_so(page_of):
    kept = {}

    def change(board, script):
        kept.update(salt(board)["correlation"])
        for each in board["submissions"]:
            if each["contributions"] and each["competition"] == "salt":
                each["contributions"]["correlation"] = None

    page = page_of(change, "competition=salt&tab=leaderboard")
    chart = page.locator('[data-chart="member-correlation"]')
    chart.locator("summary").click()
    assert "estimate" in chart.locator("> .hint").inner_text()
    rows = [row.locator("td").all_inner_texts() for row in chart.locator("tbody tr").all()]
    assert rows
    for one, other, value in rows:
        row, column = kept["names"].index(one), kept["names"].index(other)
        assert float(value) == kept["correlation"][row][column]


def test_a_medal_by_the_public_score_is_called_so_and_the_lines_are_named(page_of):
    def change(board, script):
        for each in (*board["runs"], *board["submissions"]):
            if each["public"] is not None:
                each |= {"medal": "silver", "medal_by": "private" if each["private"] is not None else "public"}

    page = page_of(change, "competition=salt")
    public = [run for run in (FIRST, SECOND, *NAMES[2:]) if cell(page, run, "medal") == "silver by public"]
    private = [run for run in NAMES if cell(page, run, "medal") == "silver"]
    assert public and private and not {*public} & {*private}
    assert all(cell(page, run, "private") == "–" for run in public)
    lines = page.evaluate("segfold.competition().lines")
    for name, line in lines.items():
        assert str(line) in page.locator(f'#runs-lines [data-line="{name}"]').inner_text()


def test_test_images_that_are_left_out_are_named(page_of):
    def change(board, script):
        script(salt(board)["disputed_script"])["left_out"] = ["salt-00.csv: <b>its stores</b> have gone"]

    page = page_of(change, "competition=salt&tab=images&imageset=test")
    page.locator("#explorer-left-out summary").click()
    assert "<b>its stores</b> have gone" in page.locator("#explorer-left-out").inner_text()


def test_a_mean_of_some_folds_says_of_how_many(board, week):
    page = board()
    note = page.locator(f'tbody[data-of="{UNFINISHED}"] .reason').inner_text()
    assert note.startswith("CV of 1 of 5 folds; ")


def test_the_competition_is_that_of_the_chosen_runs_else_the_one_with_the_most(week, opened):
    path = week / "runs" / "board.html"
    assert opened(path, "runs=streets-1").evaluate("segfold.competition().name") == "streets"
    assert opened(path).evaluate("segfold.competition().name") == "salt"
    assert opened(path, "competition=organs&runs=streets-1").evaluate("segfold.competition().name") == "organs"


def test_rows_stay_rows_for_those_who_hear_the_narrow_page(board):
    page = board(width=390)
    row = page.get_by_role("table", name="Runs").get_by_role("row").filter(has_text=FIRST)
    assert row.first.get_by_role("rowheader").inner_text() == FIRST
    assert row.first.get_by_role("cell").count() > 3


def test_keys_of_one_character_can_be_turned_off_and_stay_so(board):
    page = board(f"tab=images&runs={FIRST}")
    page.wait_for_selector("figure canvas[data-image]")
    page.keyboard.press("?")
    assert "open a tab: Data" in page.locator("#keys").inner_text()  # 1 to 4 are layers here
    page.locator("#keys-single").uncheck()
    page.keyboard.press("Escape")
    theme = page.evaluate("segfold.theme()")
    before = page.locator("#explorer-image").inner_text()
    for key in ("t", "2", "5", "?", "ArrowRight"):
        page.keyboard.press(key)
    page.wait_for_function("before => document.querySelector('#explorer-image').textContent !== before", arg=before)
    assert page.evaluate("segfold.theme()") == theme and page.locator("#keys").count() == 0
    assert {"imagelayer", "imageopacity"}.isdisjoint(state_of(page)) and state_of(page)["tab"] == "images"
    page.reload()
    page.wait_for_selector("figure canvas[data-image]")
    page.locator("#help").click()
    assert not page.locator("#keys-single").is_checked()
    page.locator("#keys-single").check()
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    assert page.evaluate("segfold.theme()") != theme
