"""The page behind a server that says when the board was made anew; and its state in the address."""

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segfold.board.page import SCRIPTS, STYLES, write_page
from segfold.board.script import json_text, write_script

pytestmark = pytest.mark.browser
APP = Path(__file__).parents[2] / "src/segfold/board/app"
COUNT = """window.fetched = window.answered = 0;
const known = fetch;
fetch = (...a) => { fetched += 1; return known(...a).finally(() => { answered += 1; }); };
"""
CHANGED = "segfold.board.made === '%s'"


def record(number: int, score: float) -> dict[str, Any]:
    fold = {"number": 0, "state": "finished", "reason": None, "score": score, "standard_error": 0.01, "classes": {}}
    fold |= dict.fromkeys(("iou", "dice", "empty", "images", "epochs", "seconds", "prediction_seconds"))
    fold |= dict.fromkeys(("samples", "images_per_second", "parameters", "images_script"))
    found = {"name": f"run-{number:02}", "competition": "salt", "state": "finished", "reason": None, "folds": [fold]}
    found |= {"cv": {"mean": score, "standard_error": 0.01, "folds": 1}, "settings": {"seed": number}, "report": True}
    others = ("seconds", "images_per_second", "parameters", "public", "private", "medal", "device", "precision")
    return found | dict.fromkeys(
        (*others, "commit", "begun", "ended", "soup", "epochs_script", "curves_script", "samples")
    )


def facts(made: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    competition = {"name": "salt", "title": "Salt", "metric": "iou", "image_score": "iou", "task": "binary"}
    competition |= {
        "classes": ["salt"],
        "background": None,
        "lines": {},
        "public_share": None,
        "daily": 5,
        "tables": [],
    }
    competition |= {"fit": {"public": None, "private": None}, "correlation": None}
    competition |= dict.fromkeys(("train_script", "disputed_script", "data_script"))
    known = {"format": 1, "made": made, "version": "0", "home": "week", "competitions": [competition]}
    return known | {"runs": runs, "submissions": []}


def write(root: Path, made: str, runs: list[dict[str, Any]]) -> None:
    write_script(root / "board-files/board.js", "board", facts(made, runs))
    (root / "changes.json").write_text(json.dumps({"made": made}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A ``runs`` folder with a page of 60 runs."""
    folder = tmp_path / "runs"
    (folder / "board-files/app").mkdir(parents=True)
    for name in (*STYLES, *SCRIPTS):
        shutil.copy(APP / name, folder / "board-files/app")
    write_page(folder / "board.html", "segfold", "board-files/")
    write(folder, "one", [record(number, 0.5 + number / 1000) for number in range(60)])
    return folder


@pytest.fixture
def served(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Address of a plain server of the folder, and the paths that it was asked for."""
    asked: list[str] = []

    class Plain(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *values: Any) -> None:
            pass

        def end_headers(self) -> None:
            self.send_header("Cache-Control", "no-store")  # a file's time has whole seconds
            super().end_headers()

        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Plain, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 700})
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    yield opened
    context.close()
    assert wrong == []


def opened(page: Any, address: str) -> Any:
    page.goto(address)
    page.wait_for_selector("#panel section[data-tab]")
    return page


def test_a_board_made_anew_is_shown_where_the_reader_was(page, root, served):
    opened(page, f"{served[0]}/board.html")
    page.wait_for_function("document.querySelector('#live').textContent !== ''")
    field = page.locator("#runs-filter")
    field.fill("run")
    field.evaluate("field => field.setSelectionRange(1, 2)")
    page.locator("tr[data-run=run-40] .more-button").click()
    page.locator("#runs-filter").focus()
    page.locator("#runs-scroll").evaluate("box => box.scrollTo(30, 350)")
    at = page.locator("#runs-scroll").evaluate("box => [box.scrollLeft, box.scrollTop]")
    write(root, "two", [record(number, 0.5 + number / 1000) for number in range(60)] + [record(77, 0.1)])
    page.wait_for_function(CHANGED % "two")
    page.wait_for_selector("tr[data-run=run-77]", state="attached")
    assert page.evaluate("[document.activeElement.id, document.activeElement.selectionStart]") == ["runs-filter", 1]
    assert page.locator("#runs-scroll").evaluate("box => [box.scrollLeft, box.scrollTop]") == at
    assert field.input_value() == "run" and page.locator("tr.more").count() == 1


def test_focus_follows_a_run_whose_place_is_another(page, root, served):
    opened(page, f"{served[0]}/board.html")
    page.locator("tr[data-run=run-10] input[type=checkbox]").focus()
    write(root, "two", [record(number, 0.9 if number == 10 else 0.5) for number in range(60)])
    page.wait_for_function(CHANGED % "two")
    page.wait_for_function("document.activeElement.closest('tr')?.dataset.run === 'run-10'")
    assert page.locator("tr[data-run]").first.get_attribute("data-run") == "run-10"


def test_a_report_is_loaded_again(page, root, served):
    def write_report(score: float) -> None:
        (root / "run-00").mkdir(exist_ok=True)
        known = facts("x", [record(0, score)]) | {"report": "run-00"}
        write_page(root / "run-00/report.html", "run-00", "../board-files/", "run-00", known)
        assert json_text(score) in (root / "run-00/report.html").read_text()

    write_report(0.25)
    opened(page, f"{served[0]}/run-00/report.html")
    assert page.locator(".figures [data-column=cv] .value").inner_text() == "0.250000"
    page.wait_for_function("document.querySelector('#live').textContent !== ''")
    write_report(0.75)
    write(root, "two", [])
    page.wait_for_function("document.querySelector('.figures [data-column=cv] .value')?.textContent === '0.750000'")


def test_a_server_that_does_not_watch_is_asked_once_and_a_file_never(page, root, served):
    address, asked = served
    (root / "changes.json").unlink()
    page.clock.install()
    page.add_init_script(COUNT)
    opened(page, f"{address}/board.html")
    for _ in range(400):
        if page.evaluate("answered"):
            break
        page.wait_for_timeout(25)
    for _ in range(5):
        page.clock.run_for(20_000)
    assert asked.count("/changes.json") == 1 == page.evaluate("fetched")
    opened(page, (root / "board.html").as_uri())
    for _ in range(5):
        page.clock.run_for(20_000)
    assert page.evaluate("fetched") == 0 and page.locator("#live").inner_text() == ""


def test_a_server_that_is_gone_is_waited_for(page, root, served):
    opened(page, f"{served[0]}/board.html")
    page.wait_for_function("document.querySelector('#live').textContent === 'Watching'")
    page.route("**/changes.json", lambda route: route.abort())
    page.wait_for_function("document.querySelector('#live').textContent.startsWith('No answer')")
    page.unroute("**/changes.json")
    write(root, "two", [record(1, 0.5)])
    page.wait_for_function(CHANGED % "two")
    assert page.locator("tr[data-run]").count() == 1


def test_one_can_go_back_to_the_tab_before(page, root):
    opened(page, (root / "board.html").as_uri() + "#filter=run-0")
    page.locator('#tabs a[data-tab="data"]').click()
    page.wait_for_selector('section[data-tab="data"]')
    page.go_back()
    page.wait_for_selector('section[data-tab="runs"]')
    assert page.locator("#runs-filter").input_value() == "run-0"
    assert page.locator('#tabs a[aria-current="page"]').get_attribute("data-tab") == "runs"


def test_a_state_that_changes_often_is_whole_and_comes_to_the_address(page, root):
    opened(page, (root / "board.html").as_uri())
    told = page.evaluate(
        """() => {
          const told = [];
          segfold.state.onchange((keys) => told.push(keys.join()));
          for (let step = 0; step < 2000; step++) segfold.state.set({ chartx: step, imageopacity: 3 });
          return [told.length, told[0], told[1], segfold.state.get("chartx")];
        }"""
    )
    assert told == [2000, "chartx,imageopacity", "chartx", "1999"]
    page.wait_for_function("new URLSearchParams(location.hash.slice(1)).get('chartx') === '1999'")


def test_the_theme_is_the_systems_until_it_is_chosen(page, root):
    page.emulate_media(color_scheme="dark")
    opened(page, (root / "board.html").as_uri())
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "dark"
    page.evaluate("document.addEventListener('themechange', () => { window.changes = (window.changes ?? 0) + 1 })")
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"{theme} === 'light'")
    page.keyboard.press("t")
    assert page.evaluate(f"[{theme}, segfold.theme(), window.changes]") == ["dark", "dark", 2]
    page.reload()
    assert page.evaluate(theme) == "dark"  # though the system is light


def test_keys_are_not_taken_from_who_types_and_help_lists_them(page, root):
    opened(page, (root / "board.html").as_uri())
    page.keyboard.press("/")
    page.keyboard.type("t?2")
    assert page.locator("#runs-filter").input_value() == "t?2" and page.locator("dialog").count() == 0
    page.locator("#runs-filter").fill("")
    page.locator("#help").focus()
    page.keyboard.press("?")
    assert "light or dark" in page.locator("dialog#keys").inner_text()
    page.keyboard.press("2")
    assert page.evaluate("segfold.state.get('tab')") == ""  # the page behind stays as it is
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('dialog')")
    assert page.evaluate("document.activeElement.id") == "help"
    page.keyboard.press("2")
    page.wait_for_function("segfold.state.get('tab') === 'curves'")


def test_no_runs_names_the_command(page, root):
    write_script(root / "board-files/board.js", "board", facts("none", []) | {"competitions": []})
    opened(page, (root / "board.html").as_uri())
    assert "make fold=0 train" in page.locator("#panel").inner_text()
    for tab in page.locator("#tabs a").all():
        tab.click()
        assert page.locator("#panel .problem").count() == 0 and page.locator("#panel").inner_text() != ""
