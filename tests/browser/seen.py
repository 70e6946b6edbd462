"""What a page shows, as values."""

import base64
from typing import Any

import numpy as np

_PIXELS = """canvas => {
  const { width, height } = canvas;
  const bytes = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return [height, width, btoa(text)];
}"""


def pixels(page: Any, selector: str) -> np.ndarray:
    """H×W×4 uint8 of a canvas."""
    height, width, text = page.locator(selector).evaluate(_PIXELS)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)


def colour(page: Any, name: str) -> list[int]:
    """Red, green and blue of a variable of the styles, such as ``--hit``."""
    text = page.evaluate("name => getComputedStyle(document.documentElement).getPropertyValue(name)", name)
    return [int(part) for part in text.split(",")]


def number(place: Any) -> float | None:
    """The number that an element shows: the whole one beside it where its text is rounded; None for a dash."""
    exact = place.evaluate("e => (e.closest('[data-value]') ?? e.querySelector('[data-value]'))?.dataset.value ?? null")
    text = place.inner_text().split("±")[0].strip()
    if text == "–":
        return None
    if exact is not None:
        assert abs(float(text) - float(exact)) <= 5.1e-7, "what is read is the number, rounded to six decimals"
    return float(text if exact is None else exact)


def run_rows(page: Any) -> list[str]:
    """The names in the table of runs that can be seen, from the top."""
    rows = page.locator("#runs tr[data-run]:visible")
    return [row.get_attribute("data-run") for row in rows.all()]


def cell(page: Any, run: str, column: str) -> str:
    """The text of a cell in the table of runs."""
    row = page.locator("#runs tr[data-run]").filter(has=page.locator(f'input[type=radio][value="{_quoted(run)}"]'))
    return str(row.locator(f'[data-column="{column}"]').inner_text())


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def state_of(page: Any) -> dict[str, str]:
    """What stands in the address."""
    return dict(page.evaluate("() => segfold.state.all()"))
