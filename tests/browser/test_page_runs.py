"""The tab of runs: every run and its scores, sorted, filtered, compared; names are text."""

import re
import statistics
from pathlib import Path

import pytest
from benchmarks.board_runs import NAMES
from benchmarks.board_week import DAMAGED, EMPTY, FAILED, UNFINISHED
from seen import cell, run_rows, state_of
from stored import finished, submissions

SCRIPT = NAMES[2]


def cv_of(done):
    """Mean and standard error over folds."""
    scores = [each["score"] for each in done.values()]
    error = statistics.stdev(scores) / len(scores) ** 0.5 if len(scores) > 1 else None
    return statistics.mean(scores), error


def test_every_run_is_listed_the_best_first_and_a_name_is_text(board, week):
    page = board()
    names = run_rows(page)
    expected = {path.name for path in (week / "runs").iterdir() if (path / "config.yaml").exists()}
    of_salt = {name for name in expected if not name.startswith(("streets", "organs"))}
    assert set(names) == of_salt
    means = [cv_of(done)[0] for name in names if (done := finished(week).get(name))]
    assert means == sorted(means, reverse=True)
    assert SCRIPT in page.locator("#runs").inner_text()
    assert page.locator("#runs script").count() == 0 and "alert" not in page.title()


def test_every_score_is_the_stored_one(board, week):
    page = board()
    for name, folds in finished(week).items():
        if name.startswith(("streets", "organs")):
            continue
        for number, done in folds.items():
            assert cell(page, name, f"fold-{number}") == f"{done['score']:.6f}", (name, number)
        mean, error = cv_of(folds)
        shown = re.findall(r"\d\.\d+(?:e-\d+)?", cell(page, name, "cv"))
        assert float(shown[0]) == pytest.approx(mean, abs=5e-7), name
        if len(folds) > 1:
            assert float(shown[1]) == pytest.approx(error, abs=5e-7), name


def test_every_number_of_every_fold_stands_in_its_open_row(board, week):
    page = board()
    for name, folds in finished(week).items():
        if name.startswith(("streets", "organs")):
            continue
        page.get_by_role("button", name=f"More of {name}", exact=True).click()
        table = page.locator("tbody", has=page.get_by_role("button", name=f"More of {name}", exact=True))
        for number, done in folds.items():
            row = table.locator(f'tr[data-fold="{number}"]')
            for key in ("iou", "dice", "empty"):
                assert row.locator(f'[data-column="{key}"]').inner_text() == f"{done[key]:.6f}", (name, number, key)
            score = row.locator('[data-column="score"]').inner_text()
            assert re.findall(r"\d\.\d+", score) == [f"{done['score']:.6f}", f"{done['standard_error']:.6f}"]
        page.get_by_role("button", name=f"More of {name}", exact=True).click()


def test_leaderboard_scores_of_a_run_alone(board, week):
    page = board()
    alone = {Path(each["members"][0]).name: each for each in submissions(week).values() if len(each["members"]) == 1}
    assert len(alone) == 4
    for name, sent in alone.items():
        assert float(cell(page, name, "public")) == sent["public"]
        private = sent.get("private")
        shown = cell(page, name, "private")
        assert shown == "–" if private is None else float(shown) == private


@pytest.mark.parametrize("column", ["name", "fold-0", "parameters", "public"])
def test_sorting_by_a_column_both_ways(board, week, column):
    page = board()
    values = {
        "name": lambda name: name.lower(),
        "fold-0": lambda name: finished(week).get(name, {}).get(0, {}).get("score"),
        "parameters": lambda name: next((d["parameters"] for d in finished(week).get(name, {}).values()), None),
        "public": lambda name: next(
            (s["public"] for s in submissions(week).values() if [Path(m).name for m in s["members"]] == [name]), None
        ),
    }[column]
    ways = []
    for _ in range(2):
        page.locator(f'#runs thead th[data-column="{column}"] button').click()
        ways.append(page.locator(f'#runs thead th[data-column="{column}"]').get_attribute("aria-sort"))
        found = [values(name) for name in run_rows(page)]
        if column == "name":
            continue  # signs such as < are sorted by the rules of a language
        known = [value for value in found if value is not None]
        assert found[: len(known)] == known, "what is not known stands last"
        assert known == sorted(known, reverse=ways[-1] == "descending")
    assert sorted(ways) == ["ascending", "descending"]


def test_filtering_by_words_settings_and_states(board, week):
    page = board()
    everything = run_rows(page)
    field = page.locator("#runs-filter")
    field.fill("linknet")
    said = {name: name + (week / "runs" / name / "config.yaml").read_text() for name in everything}
    assert 0 < len(run_rows(page)) < len(everything)
    assert run_rows(page) == [name for name in everything if "linknet" in said[name]]
    field.fill("batch_size=32")
    odd = {NAMES[1], NAMES[3], FAILED}  # every second run
    assert set(run_rows(page)) == odd
    field.fill("")
    page.locator("#state-failed").click()
    assert run_rows(page) == [FAILED]
    page.locator("#state-damaged").click()
    assert set(run_rows(page)) == {FAILED, DAMAGED}
    field.fill("nothing has this")
    assert run_rows(page) == [] and page.locator("#runs-none").is_visible()
    page.locator("#runs-none button").click()
    assert run_rows(page) == everything


def test_unfinished_failed_and_damaged_runs_say_why(board):
    page = board()

    def line(name):
        box = page.get_by_role("button", name=f"More of {name}", exact=True)
        return page.locator("tbody", has=box).inner_text()

    assert "the loss is not finite in stage warm, epoch 5; lower lr" in line(FAILED)
    assert cell(page, FAILED, "state") == "failed"
    assert "done.json" in line(DAMAGED) and cell(page, DAMAGED, "state") == "damaged"
    assert cell(page, UNFINISHED, "state") == "partial" and "fold 1" in line(UNFINISHED)
    assert cell(page, UNFINISHED, "fold-1") == "stopped"
    assert cell(page, EMPTY, "state") == "empty"


def test_differences_from_a_chosen_run(board):
    page = board()
    page.get_by_role("radio", name=f"Differences from {NAMES[0]}", exact=True).check()
    assert state_of(page)["reference"] == NAMES[0]
    page.get_by_role("button", name=f"More of {NAMES[1]}", exact=True).click()
    more = page.locator("tr.more").inner_text()
    assert f"Differences from {NAMES[0]}" in more
    for setting in ("batch_size", "rotate"):
        assert setting in more
    assert "decoder_channels" not in more and "cosine" not in more  # they are the same


def test_the_theme_is_switched_and_kept(board, week):
    page = board(theme="dark")
    back = "() => getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(back)
    page.locator("#theme").click()
    light = page.evaluate(back)
    brightness = [sum(int(part) for part in re.findall(r"\d+", each)[:3]) for each in (dark, light)]
    assert brightness[0] < 300 < 600 < brightness[1]
    page.reload()
    page.wait_for_selector("#panel section[data-tab]")
    assert page.evaluate(back) == light


def test_a_link_to_a_state_outlives_a_reload(board):
    page = board("tab=runs&filter=seresnext50&sort=name")
    assert page.locator("#runs-filter").input_value() == "seresnext50"
    before = run_rows(page)
    page.reload()
    page.wait_for_selector("#runs tr[data-run]")
    assert run_rows(page) == before and NAMES[1] in before and NAMES[0] not in before


def test_another_competition_is_chosen(board, week):
    page = board()
    page.locator("#competition").select_option("streets")
    page.wait_for_function("() => segfold.competition().name === 'streets'")
    assert {"streets-0", "streets-1"} <= set(run_rows(page)) and NAMES[0] not in run_rows(page)
    for name in ("streets-0", "streets-1"):
        for number, done in finished(week)[name].items():
            assert cell(page, name, f"fold-{number}") == f"{done['score']:.6f}"


def test_it_opens_with_the_competition_of_the_runs_asked_for_else_of_the_most_runs(week, opened):
    page = week / "runs" / "board.html"
    assert NAMES[0] in run_rows(opened(page))
    assert "streets-1" in run_rows(opened(page, "runs=streets-1"))
    assert "organs-0" in run_rows(opened(page, "runs=streets-1&competition=organs"))
