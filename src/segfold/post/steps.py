"""The post steps by name."""

from pkgutil import resolve_name

from segfold.post.step import PostStep

_PLACES = {
    "components": "components:MinArea",
    "gate": "gate:Gate",
    "constant": "constant:Constant",
    "smooth": "smooth:Smooth",
    "holes": "holes:Holes",
    "largest": "largest:Largest",
}
"""A step's name in recipes, its file in this folder, and its class there; ``submit`` tries them in this order."""

POST: dict[str, type[PostStep]] = {name: resolve_name(f"segfold.post.{place}") for name, place in _PLACES.items()}
