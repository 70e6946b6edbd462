"""The rules of accessibility on every tab, a walk by keyboard alone, and pages that fit the window."""

from urllib.parse import urlencode

import pytest
from benchmarks.board_runs import NAMES
from benchmarks.chromium import NARROW, WIDE

TABS = ["runs", "curves", "images", "leaderboard", "data"]
# A name for an element that no other has.
_MARK = """at => at === document.body ? "body" : [
  at.tagName, at.id, at.dataset.focus, at.dataset.tab,
  // not those of charts, which are drawn while one walks by
  [...document.querySelectorAll(at.tagName)].filter(each => !each.closest(".plot")).indexOf(at),
].join(" ")"""
_FOCUSED = """mark => {
  const at = document.activeElement;
  const style = getComputedStyle(at);
  const ring = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
  return { mark: eval(mark)(at), visible: at === document.body || at.getClientRects().length > 0, ring };
}"""
_REACHABLE = """mark => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
  .filter(each => !each.disabled && each.getClientRects().length > 0 && each.tabIndex >= 0)
  .filter(each => each.type !== "radio" || each.checked)
  .map(eval(mark))"""


def settled(page):
    """Once all that a tab shows is drawn, its charts too."""
    page.wait_for_function(
        "() => !document.querySelector('[aria-busy=true]') && [...document.querySelectorAll('.plot')]"
        ".every(each => each.dataset.ready || each.getBoundingClientRect().top > innerHeight + 400)"
    )
    page.wait_for_timeout(150)


def violations(page, axe):
    """What breaks a rule in either theme: the rule, and the first elements."""
    page.evaluate("() => document.querySelectorAll('details').forEach(each => { each.open = true; })")
    found = []
    for _ in range(2):
        settled(page)
        page.evaluate(axe)
        # It would else ask for the style sheets once more, which a page from disk may not.
        options = "{ resultTypes: ['violations'], preload: false }"
        broken = page.evaluate(f"async () => (await axe.run(document, {options})).violations")
        theme = page.evaluate("() => document.documentElement.dataset.theme")
        found += [f"{theme} {each['id']}: {[node['html'][:160] for node in each['nodes'][:3]]}" for each in broken]
        page.evaluate("() => segfold.switchTheme()")
    return found


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("tab", TABS)
def test_rules_on_every_tab(board, axe, tab, width):
    page = board(urlencode({"tab": tab, "runs": "\n".join(NAMES[:3])}), width)
    assert violations(page, axe) == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width, "the page is wider than the window"


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("tab", ["run", "curves", "images", "data"])
def test_rules_in_a_report(opened, week, axe, tab, width):
    page = opened(week / "runs" / NAMES[2] / "report.html", f"tab={tab}", width)
    assert violations(page, axe) == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width, "the page is wider than the window"


def test_rules_with_rows_open_and_the_help(board, axe):
    page = board()
    for button in page.locator(".more-button").all()[:3]:
        button.click()
    assert violations(page, axe) == []
    page.locator("#help").click()
    assert violations(page, axe) == []


@pytest.mark.parametrize("tab", TABS)
def test_everything_is_reached_by_the_tab_key_and_shows_it(board, tab):
    page = board(urlencode({"tab": tab, "runs": "\n".join(NAMES[:2])}))
    settled(page)
    wanted = set(page.evaluate(_REACHABLE, _MARK))
    reached, unseen = set(), []
    for _ in range(len(wanted) + 40):
        page.keyboard.press("Tab")
        at = page.evaluate(_FOCUSED, _MARK)
        if at["mark"] in reached or at["mark"] == "body":
            if wanted <= reached:
                break
            continue
        reached.add(at["mark"])
        if not at["visible"] or not at["ring"]:
            unseen.append(at["mark"])
    assert wanted - reached == set()
    assert unseen == []


def test_the_whole_way_by_keyboard(board):
    page = board()
    press = page.keyboard.press
    press("/")
    page.keyboard.type("unet")
    page.wait_for_function("() => segfold.state.get('filter') === 'unet'")
    press("Escape")
    for _ in range(60):  # to the first box of a run
        press("Tab")
        if page.evaluate("() => document.activeElement.type === 'checkbox'"):
            break
    press("Space")
    assert page.evaluate("() => segfold.state.list('runs').length") == 1
    press("3")
    page.wait_for_selector("figure canvas[data-image]")
    first = page.locator("figure canvas[data-image]").first.get_attribute("data-image")
    press("ArrowRight")
    page.wait_for_function("f => document.querySelector('figure canvas').dataset.image !== f", arg=first)
    press("2")
    page.wait_for_selector("#explorer[data-layer=truth]")
    press("t")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    press("?")
    assert page.locator("dialog#keys").is_visible()
    assert "the image before" in page.locator("dialog#keys").inner_text()
    press("Escape")
    assert not page.locator("dialog#keys").is_visible()
    press("5")  # a tab, or nothing: 1 to 4 are layers here
    page.wait_for_selector('section[data-tab="data"]')
