"""Boards of folders that are otherwise: without data, without runs, moved; and the one that a server keeps up to date."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from benchmarks.board_runs import NAMES
from seen import cell, pixels
from stored import finished, predicted

from segfold.store import HALF

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copied(week, tmp_path):
    """A copy of the week that may be changed."""
    home = tmp_path / "another week"
    shutil.copytree(week, home)
    return home


def test_without_data_the_masks_are_shown_alone(copied, opened):
    from segfold.board.build import build_board

    shutil.rmtree(copied / "data")
    build_board(copied)
    page = opened(copied / "runs" / "board.html", "competition=salt&tab=images&imagelayer=prediction")
    page.wait_for_selector("figure canvas[data-image]")
    run = page.locator('figure.explorer-panel[data-run]:not([data-run="truth"])').first.get_attribute("data-run")
    codes = {name: each for fold in finished(copied)[run] for name, each in predicted(copied, run, fold).items()}
    assert page.locator('figure[data-run="truth"]').count() == 0
    for _ in range(3):
        canvas = page.locator("figure canvas[data-image]").first
        name = canvas.get_attribute("data-image")
        drawn = pixels(page, f'figure canvas[data-run="{run}"]')
        np.testing.assert_array_equal(drawn[..., 3] > 0, codes[name][0] >= HALF, err_msg=name)
        page.keyboard.press("ArrowRight")
        page.wait_for_function("n => document.querySelector('figure canvas').dataset.image !== n", arg=name)
    assert page.locator("figure img[src]").count() == 0
    page.locator('#tabs a[data-tab="data"]').click()
    page.wait_for_function("() => document.querySelector('#panel').innerText.includes('make data')")
    page.locator('#tabs a[data-tab="curves"]').click()
    page.wait_for_selector("figure[data-chart]")


def test_a_folder_that_was_moved_still_opens(week, tmp_path, opened):
    home = tmp_path / "elsewhere #1 & 100%"
    (home / "runs").mkdir(parents=True)
    shutil.copy(week / "runs" / "board.html", home / "runs")
    shutil.copytree(week / "runs" / "board-files", home / "runs" / "board-files")
    page = opened(home / "runs" / "board.html", "competition=salt")
    page.locator('#tabs a[data-tab="images"]').click()
    page.wait_for_selector("figure canvas[data-image]")
    assert page.locator("figure img").first.evaluate("e => e.naturalWidth") == 101


def test_without_runs_it_says_what_to_do(tmp_path, opened):
    from segfold.board.build import build_board

    (tmp_path / "runs").mkdir()
    build_board(tmp_path)
    page = opened(tmp_path / "runs" / "board.html")
    assert "make fold=0 train" in page.locator("#panel").inner_text()
    for link in page.locator("#tabs a").all():
        link.click()
        page.wait_for_timeout(100)
        assert page.locator(".notice.problem").count() == 0


@pytest.fixture
def served(copied):
    """The address of a board that is watched, and the folder it is of."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "segfold", "watch", "--port", str(port)]
    with subprocess.Popen(command, cwd=copied, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout:
                if f"127.0.0.1:{port}" in line:
                    break
            else:
                pytest.fail("make watch said no address")
            yield f"http://127.0.0.1:{port}/", copied
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def test_a_watched_board_shows_a_fold_that_has_changed(served, opened):
    address, home = served
    opened.allowed = (address, "data:", "blob:")
    page = opened(address, "competition=salt")
    page.wait_for_function("() => document.querySelector('#live').textContent === 'Watching'")
    before = cell(page, NAMES[0], "fold-1")
    page.locator("#runs-filter").fill("unet")
    path = home / "runs" / NAMES[0] / "fold1" / "done.json"
    done = json.loads(path.read_text())
    done["score"] = 0.123457
    path.write_text(json.dumps(done))
    page.wait_for_function(
        "() => [...document.querySelectorAll('#runs td')].some(each => each.textContent === '0.123457')", timeout=60_000
    )
    assert before != cell(page, NAMES[0], "fold-1") == "0.123457"
    assert page.locator("#runs-filter").input_value() == "unet" and page.locator("#runs-filter").is_visible()
    page.locator('#tabs a[data-tab="images"]').click()
    page.wait_for_selector("figure canvas[data-image]")
    with urllib.request.urlopen(f"{address}{NAMES[0]}/report.html") as answer:
        assert "0.123457" in answer.read().decode()
