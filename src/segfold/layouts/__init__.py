"""What a user has: files as layouts of competitions hold them, read with care."""

from collections.abc import Callable
from pkgutil import resolve_name

from segfold.layouts.base import Layout

__all__ = ["LAYOUTS", "Layout"]

_PLACES = {
    "kaggle-rle": "kaggle_rle:KaggleRle",
    "voc": "voc:Voc",
    "folders": "folders:Folders",
}
"""A layout's name in competition files, its file in this folder, and its class there."""

LAYOUTS: dict[str, Callable[..., Layout]] = {
    name: resolve_name(f"{__name__}.{place}") for name, place in _PLACES.items()
}
