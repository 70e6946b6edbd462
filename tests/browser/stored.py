"""What the run folders hold, read without the board: scores as they stand in the files, and masks out of the stores."""

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segfold.store.reader import open_store


def finished(home: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """What each readable ``done.json`` holds, by run and fold."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for path in sorted((home / "runs").glob("*/fold*/done.json")):
        try:
            found.setdefault(path.parts[-3], {})[int(path.parts[-2].removeprefix("fold"))] = json.loads(
                path.read_text()
            )
        except json.JSONDecodeError:
            continue
    return found


def image_scores(home: Path, run: str) -> dict[str, dict[str, str]]:
    """The line of each held-out image in ``scores.csv``, as text."""
    found = {}
    for path in sorted((home / "runs" / run).glob("fold*/scores.csv")):
        with path.open(newline="") as file:
            found |= {row["id"]: row for row in csv.DictReader(file)}
    return found


def predicted(home: Path, run: str, fold: int, split: str = "oof") -> dict[str, np.ndarray]:
    """C×H×W codes of each image in a fold's store."""
    (folder,) = (home / "runs" / run / f"fold{fold}" / "pred").iterdir()
    store = open_store(folder, split, None)
    assert store is not None
    return {str(name): np.array(store.codes(place)) for place, name in enumerate(store.ids)}


def truth(home: Path, competition: str, name: str) -> np.ndarray:
    """H×W values of a mask file of ``salt`` or ``streets``."""
    mask = cv2.imread(str(home / "data" / competition / "train" / "masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
    return np.asarray(mask)


def submissions(home: Path) -> dict[str, dict[str, Any]]:
    """By file, what the ledger's lines add up to."""
    found: dict[str, dict[str, Any]] = {}
    for line in (home / "submissions" / "ledger.jsonl").read_text().splitlines():
        event = json.loads(line)
        known = found.setdefault(event["sha256"], {})
        known.update({name: value for name, value in event.items() if value is not None})
    return {each["file"]: each for each in found.values()}
