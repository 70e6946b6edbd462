"""What predicting an image took, measured when a store was written and kept beside it.

A file of its own, ``<split>.seconds.json``: nothing of the codes depends on it, and stores of before have none.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from segfold.errors import SegfoldError
from segfold.files import read_json, write_json


@dataclass(frozen=True)
class Cost:
    """What predicting an image took, the mean over those that were measured.

    Attributes:
        seconds: by the clock, an image: all its views, and writing it.
        images: how many were measured.
        device: which they were predicted on; several are joined by commas.
    """

    seconds: float
    images: int
    device: str

    @staticmethod
    def joined(costs: "Iterable[Cost | None]") -> "Cost | None":
        """Of images that were predicted in several parts: the mean over those that were measured, None if none was."""
        known = [cost for cost in costs if cost is not None]
        if not known:
            return None
        images = sum(cost.images for cost in known)
        seconds = sum(cost.seconds * cost.images for cost in known) / images
        return Cost(seconds, images, ", ".join(dict.fromkeys(cost.device for cost in known)))


def write_cost(folder: Path, split: str, cost: Cost | None) -> None:
    """Puts a cost beside the store of ``split``, or takes away that of an older store."""
    if cost is None:
        _path(folder, split).unlink(missing_ok=True)
    else:
        write_json(_path(folder, split), asdict(cost))


def read_cost(folder: Path, split: str) -> Cost | None:
    """What lies beside the store of ``split``; None where nothing does, or nothing that can be read."""
    try:
        values = read_json(_path(folder, split))
        cost = Cost(float(values["seconds"]), int(values["images"]), str(values["device"]))
    except (SegfoldError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return cost if 0 < cost.seconds < float("inf") and cost.images > 0 else None


def _path(folder: Path, split: str) -> Path:
    return folder / f"{split}.seconds.json"
