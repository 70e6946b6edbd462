"""The board's pictures as Pillow reads them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "JPEG"
        return np.asarray(image.convert("RGB")).astype(int)


def thumb(folder: Path, said: dict[str, Any], number: int) -> np.ndarray:
    """The place of a thumbnail, as the page looks for it."""
    sheet, place = divmod(number, said["thumbs"]["columns"] * said["thumbs"]["rows"])
    top, left = (said["thumbs"]["side"] * each for each in divmod(place, said["thumbs"]["columns"]))
    whole = read(folder / said["thumbs"]["sheets"][sheet])
    return whole[top : top + said["thumbs"]["side"], left : left + said["thumbs"]["side"]]
