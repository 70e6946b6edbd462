"""The post steps by name."""

from pkgutil import resolve_name
from typing import Literal

from segfold.post.step import EmptyingStep, PostStep, ProbabilityStep

Room = Literal["probabilities", "images", "masks"]

_PLACES = {
    "components": "components:MinArea",
    "gate": "gate:Gate",
    "constant": "constant:Constant",
    "smooth": "smooth:Smooth",
    "holes": "holes:Holes",
    "largest": "largest:Largest",
    "crf": "crf:CRF",
}
"""A step's name in recipes, its file in this folder, and its class there; ``submit`` tries them in this order."""

POST: dict[str, type[PostStep]] = {name: resolve_name(f"segfold.post.{place}") for name, place in _PLACES.items()}


def works_on(name: str) -> Room:
    """What a step changes: probabilities before the decision, masks after it, or ``images``, whose masks it empties."""
    step = POST[name]
    if issubclass(step, EmptyingStep):
        return "images"
    return "probabilities" if issubclass(step, ProbabilityStep) else "masks"
