"""Small sets in layouts of all kinds, made of arrays without the package's own writers."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segfold.competition import Competition

PALETTE = [0, 0, 0, 200, 30, 30, 30, 200, 30, 30, 30, 200, *[7, 8, 9] * 252]
"""With all 256 colours: of fewer, Pillow writes fewer bits."""


def competition(layout: str, task: str = "binary", classes: tuple[str, ...] = ("cell",), **options: Any) -> Competition:
    metric = "dice" if task != "multiclass" else "miou"
    return Competition(name="set", title="Set", layout=layout, task=task, classes=classes, metric=metric, **options)  # type: ignore[call-arg]


def picture(rng: np.random.Generator, shape: tuple[int, int] = (9, 7), channels: int = 3) -> np.ndarray:
    return rng.integers(0, 256, (*shape, channels), np.uint8)


def save(path: Path, pixels: np.ndarray, palette: list[int] | None = None, **options: Any) -> None:
    """A file in the format that its name says, of H×W or H×W×C."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pixels)
        return
    image = Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    if palette is not None:
        image = image.convert("P") if image.mode != "L" else Image.frombytes("P", image.size, pixels.tobytes())
        image.putpalette(palette)
    image.save(path, **options)


def runs(mask: np.ndarray, order: str = "column", relative: bool = False) -> str:
    """Run lengths, pixel by pixel; relative ones count from the end of the run before, from 0."""
    flat = (mask.T if order == "column" else mask).reshape(-1).tolist()
    found: list[list[int]] = []
    for place, value in enumerate(flat):
        if value and found and sum(found[-1]) == place:
            found[-1][1] += 1
        elif value:
            found.append([place, 1])
    end, numbers = 0, []
    for start, length in found:
        numbers += [start - end if relative else start + 1, length]
        end = start + length
    return " ".join(map(str, numbers))


def table(path: Path, header: str, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n")
