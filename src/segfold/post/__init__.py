"""Post-processing steps, from stored probabilities to the mask that is submitted."""

from collections.abc import Callable
from typing import Any

from segfold.post.components import MinArea
from segfold.post.threshold import Threshold

POST: dict[str, Callable[..., Any]] = {"threshold": Threshold, "components": MinArea}

__all__ = ["POST", "MinArea", "Threshold"]
