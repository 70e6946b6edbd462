"""The image explorer: what is drawn equals what is stored, pixel by pixel; images are ordered, filtered and stepped through."""

import cv2
import numpy as np
import pytest
from benchmarks.board_runs import NAMES
from seen import colour, pixels
from stored import finished, image_scores, predicted, truth

from segfold.store import HALF

FIRST, SECOND, SCRIPT = NAMES[0], NAMES[1], NAMES[2]


def open_images(board, *runs, **state):
    """The tab with some runs chosen, once an image is drawn."""
    from urllib.parse import urlencode

    page = board(urlencode({"tab": "images", "runs": "\n".join(runs), **state}))
    page.wait_for_selector("#explorer:not([data-reading])")
    page.wait_for_selector(canvas(runs[-1]) + "[data-image]")
    return page


def canvas(run):
    """The selector of a run's canvas."""
    return f'figure canvas[data-run="{run}"]'


def shown(page):
    """The id of the image that is drawn."""
    return page.locator("figure canvas[data-image]").first.get_attribute("data-image")


def step(page, key="ArrowRight"):
    """Presses a key and waits for another image."""
    before = shown(page)
    page.keyboard.press(key)
    page.wait_for_function(
        "before => document.querySelector('figure canvas[data-image]').dataset.image !== before", arg=before
    )
    return shown(page)


def masks_of(home, run):
    """The masks of 0 and 1 that a run's stores say, by image, and the fold of each."""
    found, folds = {}, {}
    for fold in finished(home)[run]:
        for name, codes in predicted(home, run, fold).items():
            found[name], folds[name] = codes[0] >= HALF, fold
    return found, folds


def test_ten_overlays_equal_the_stores_pixel_by_pixel(board, week):
    page = open_images(board, FIRST, SECOND)
    stored = {run: masks_of(week, run)[0] for run in (FIRST, SECOND)}
    hit, missed, false = (colour(page, name) for name in ("--hit", "--missed", "--false"))
    seen = []
    for _ in range(10):
        name = shown(page)
        seen.append(name)
        real = truth(week, "salt", name) > 0
        for run in (FIRST, SECOND):
            mask = stored[run][name]
            page.keyboard.press("3")
            page.wait_for_selector(f'{canvas(run)}[data-layer="prediction"]')
            np.testing.assert_array_equal(pixels(page, canvas(run))[..., 3] > 0, mask, err_msg=f"{run} {name}")
            page.keyboard.press("4")
            page.wait_for_selector(f'{canvas(run)}[data-layer="error"]')
            expected = np.zeros((*mask.shape, 4), np.uint8)
            for where, tone in ((mask & real, hit), (real & ~mask, missed), (mask & ~real, false)):
                expected[where] = [*tone, 255]
            np.testing.assert_array_equal(pixels(page, canvas(run)), expected, err_msg=f"{run} {name}")
        np.testing.assert_array_equal(pixels(page, canvas("truth"))[..., 3] > 0, real, err_msg=name)
        step(page)
    assert len(set(seen)) == 10 and any(stored[FIRST][name].any() for name in seen)


def test_every_score_of_every_image_is_the_stored_one(board, week):
    page = open_images(board, FIRST, SCRIPT)
    of = {run: image_scores(week, run) for run in (FIRST, SCRIPT)}
    names = []
    for number in range(40):
        names.append(shown(page))
        for run in (FIRST, SCRIPT):
            text = page.locator(f'figure output[data-run="{run}"]').inner_text()
            assert text == of[run][names[-1]]["precision"], (run, names[-1])
        if number < 39:
            step(page)
    assert set(names) == set(of[FIRST])
    for metric in ("iou", "dice"):
        page.locator("#explorer-score").select_option(metric)
        page.wait_for_selector(f'figure output[data-run="{FIRST}"][data-metric="{metric}"]')
        for name in names[-1:]:
            text = page.locator(f'figure output[data-run="{FIRST}"]').inner_text()
            assert text == of[FIRST][name][metric]


def test_the_same_image_across_runs_moves_together(board):
    page = open_images(board, FIRST, SECOND, SCRIPT)
    page.keyboard.press("+")
    page.keyboard.press("+")
    frames = page.locator("figure .explorer-stage")
    places = {frame.evaluate("e => e.style.transform + e.style.width") for frame in frames.all()}
    assert frames.count() >= 4 and len(places) == 1
    box = page.locator("figure .explorer-frame").nth(1).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 - 30, box["y"] + box["height"] / 2 - 20, steps=3)
    page.mouse.up()
    moved = {frame.evaluate("e => e.style.transform + e.style.width") for frame in frames.all()}
    assert len(moved) == 1 and moved != places
    names = {each.get_attribute("data-image") for each in page.locator("figure canvas[data-image]").all()}
    assert len(names) == 1
    assert step(page) not in names


def test_next_and_previous_by_keyboard(board):
    page = open_images(board, FIRST)
    first = shown(page)
    forth = [step(page) for _ in range(4)]
    back = [step(page, "ArrowLeft") for _ in range(4)]
    assert back == [*reversed(forth[:-1]), first] and len({first, *forth}) == 5
    last = step(page, "End")
    assert step(page, "Home") == first != last
    page.wait_for_function("name => segfold.state.get('image') === name", arg=first)  # the address follows


@pytest.mark.parametrize("order", ["score", "coverage", "table:depth", "fold"])
def test_images_are_ordered(board, week, order):
    page = open_images(board, FIRST)
    options = {each.get_attribute("value") for each in page.locator("#explorer-order option").all()}
    wanted = order if order in options else next(each for each in options if order.split(":")[-1] in each)
    page.locator("#explorer-order").select_option(wanted)
    _, folds = masks_of(week, FIRST)
    scores = image_scores(week, FIRST)
    depths = dict(line.split(",") for line in (week / "data/salt/depths.csv").read_text().splitlines()[1:])
    key = {
        "score": lambda name: float(scores[name]["precision"]),
        "coverage": lambda name: int(scores[name]["true_area"]),
        "table:depth": lambda name: int(depths[name]),
        "fold": lambda name: folds[name],
    }[order]
    descending = page.locator("#explorer-way").get_attribute("aria-label") == "Largest first"
    page.locator("body").click(position={"x": 2, "y": 2})
    page.keyboard.press("Home")
    page.wait_for_timeout(100)
    found = [shown(page)] + [step(page) for _ in range(39)]
    values = [key(name) for name in found]
    assert values == sorted(values, reverse=descending) and len(set(found)) == 40


def test_images_are_filtered_by_fold_score_and_id(board, week):
    page = open_images(board, FIRST)
    _, folds = masks_of(week, FIRST)
    scores = image_scores(week, FIRST)
    page.locator("#explorer-fold").select_option("2")
    page.wait_for_selector('#explorer[data-count="8"]')
    assert folds[shown(page)] == 2
    low = sum(folds[name] == 2 and float(row["precision"]) <= 0.9 for name, row in scores.items())
    field = page.locator('input[data-filter="score"][data-end="high"]')
    field.fill("0.9")
    field.press("Tab")
    page.wait_for_selector(f'#explorer[data-count="{low}"]')
    page.locator("#explorer-clear").click()
    page.wait_for_selector('#explorer[data-count="40"]')
    one = sorted(scores)[17]
    page.locator("#explorer-id").fill(one)
    page.wait_for_selector('#explorer[data-count="1"]')
    assert shown(page) == one


def test_images_are_ordered_by_disagreement_between_runs(board, week):
    page = open_images(board, FIRST, SECOND)
    page.wait_for_selector('#explorer[data-disagreement="known"]')
    page.locator("#explorer-order").select_option("disagreement")
    first, second = (masks_of(week, run)[0] for run in (FIRST, SECOND))
    if page.locator("#explorer-way").get_attribute("aria-label") != "Largest first":
        page.locator("#explorer-way").click()
    page.locator("body").click(position={"x": 2, "y": 2})
    page.keyboard.press("Home")
    page.wait_for_timeout(100)
    found = [shown(page)] + [step(page) for _ in range(9)]
    values = [float((first[name] != second[name]).mean()) for name in found]
    most = sorted((float((first[name] != second[name]).mean()) for name in first), reverse=True)
    assert values == pytest.approx(most[:10], abs=1e-9)


def test_the_first_of_an_order_is_shown_once_it_is_known_unless_the_reader_has_moved(board):
    page = open_images(board, FIRST, SECOND, imageorder="-disagreement")
    page.wait_for_selector('#explorer[data-disagreement="known"]')
    page.wait_for_function("document.querySelector('#explorer-position').textContent.startsWith('1 of')")
    first = page.locator("#explorer-list [data-image]").first.get_attribute("data-image")
    page.wait_for_selector(f'{canvas(FIRST)}[data-image="{first}"]')
    gone = step(page, "End")
    other = open_images(board, FIRST, SECOND, imageorder="-disagreement", image=gone)
    other.wait_for_selector('#explorer[data-disagreement="known"]')
    assert shown(other) == gone


def test_a_button_beside_a_field_that_is_being_filled_in_is_pressed(board):
    page = open_images(board, FIRST, SECOND)
    page.wait_for_selector('#explorer[data-disagreement="known"]')
    page.locator('input[data-filter="score"][data-end="high"]').fill("0.9")
    before = page.locator("#explorer-way").get_attribute("aria-label")
    page.locator("#explorer-way").click()  # the field loses the focus by this very press
    page.wait_for_selector(f'#explorer-way:not([aria-label="{before}"])')
    assert page.evaluate("segfold.state.get('imagefilter.score')") == "..0.9"


def test_one_control_sets_the_opacity_of_every_overlay(board):
    page = open_images(board, FIRST, SECOND)
    page.locator("#explorer-opacity").fill("20")
    page.wait_for_timeout(50)
    seen = {float(each.evaluate("e => getComputedStyle(e).opacity")) for each in page.locator("figure canvas").all()}
    assert seen == {0.2}


def test_pictures_stand_below_the_masks(board, week):
    page = open_images(board, FIRST)
    for _ in range(3):
        name = shown(page)
        picture = page.locator("figure img").first
        size = picture.evaluate("e => [e.naturalHeight, e.naturalWidth]")
        assert size == [101, 101]
        source = picture.evaluate("e => e.src")
        file = week / "runs" / source.split("/runs/")[1].split("?")[0]
        image = cv2.imread(str(week / "data/salt/train/images" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        drawn = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        assert np.abs(image.astype(int) - drawn).mean() < 6, name
        step(page)


def test_thumbnails_are_those_of_their_images(board, week):
    page = open_images(board, FIRST, imageopacity="0")
    cells = page.locator("#explorer-list [data-image]")
    assert cells.count() >= 8
    for place in (0, 3, 7):
        name = cells.nth(place).get_attribute("data-image")
        sheet = cells.nth(place).locator("img")
        left, top, size = sheet.evaluate("e => [e.offsetLeft, e.offsetTop, e.offsetWidth]")
        file = week / "runs" / sheet.evaluate("e => e.src").split("/runs/")[1].split("?")[0]
        drawn = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        scale = drawn.shape[1] / size
        x, y = round(-left * scale), round(-top * scale)
        image = cv2.imread(str(week / "data/salt/train/images" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        expected = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(expected.astype(int) - drawn[y : y + 64, x : x + 64]).mean() < 12, name


def test_a_thumbnail_opens_its_image(board):
    page = open_images(board, FIRST)
    cell = page.locator("#explorer-list [data-image]").nth(5)
    name = cell.get_attribute("data-image")
    cell.click()
    page.wait_for_selector(f'{canvas(FIRST)}[data-image="{name}"]')


def test_disputed_test_images_with_the_masks_of_members(board, week):
    page = open_images(board, FIRST, SECOND)
    page.locator('[data-set="test"]').click()
    page.wait_for_selector('#explorer[data-set="test"]')
    page.wait_for_selector(f"{canvas(FIRST)}[data-image]")
    page.locator('[data-layer="prediction"]').first.click()
    page.wait_for_selector(f'{canvas(FIRST)}[data-layer="prediction"]')
    folds = [predicted(week, FIRST, fold, "test") for fold in range(5)]
    for _ in range(3):
        name = shown(page)
        mean = sum(fold[name][0].astype(np.int64) for fold in folds) / 5
        near = np.abs(mean - HALF) < 1  # the rounding of a mean of codes is not asked about
        drawn = pixels(page, canvas(FIRST))[..., 3] > 0
        assert ((drawn == (mean >= HALF)) | near).all(), name
        step(page)


def test_several_classes_are_drawn_as_stored(board, week):
    page = open_images(board, "streets-0", competition="streets", imagelayer="error")
    codes = {name: each for fold in (0, 1) for name, each in predicted(week, "streets-0", fold).items()}
    hit, confused = colour(page, "--hit"), colour(page, "--confused")
    for _ in range(3):
        name = shown(page)
        real, mask = truth(week, "streets", name), codes[name].argmax(axis=0)
        drawn = pixels(page, canvas("streets-0"))
        counts = real != 255
        expected = np.where((mask == real)[..., None], [*hit, 255], [*confused, 255])
        np.testing.assert_array_equal(drawn[counts], expected[counts], err_msg=name)
        step(page)


def test_overlapping_classes_are_drawn_as_stored(board, week):
    page = open_images(board, "organs-0", competition="organs", imagelayer="prediction")
    codes = {name: each for fold in (0, 1) for name, each in predicted(week, "organs-0", fold).items()}
    for _ in range(3):
        name = shown(page)
        drawn = pixels(page, canvas("organs-0"))
        np.testing.assert_array_equal(drawn[..., 3] > 0, (codes[name] >= HALF).any(axis=0), err_msg=name)
        step(page)
