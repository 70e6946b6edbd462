"""What a user has: files as layouts of competitions hold them, read with care."""

from collections.abc import Callable

from segfold.layouts.base import Layout
from segfold.layouts.folders import Folders
from segfold.layouts.kaggle_rle import KaggleRle
from segfold.layouts.voc import Voc

__all__ = ["LAYOUTS", "Layout"]

LAYOUTS: dict[str, Callable[..., Layout]] = {layout.name: layout for layout in (KaggleRle, Voc, Folders)}
