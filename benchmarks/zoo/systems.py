"""What is compared: every config of ``configs/zoo``, and the zoo's U-Net with one part changed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from segfold.config import load_experiment

CONFIGS = Path(__file__).parents[2] / "configs" / "zoo"
DEFAULT = "unet"
"""The system that the ablations change, and the name of its model."""

STAGE = "warm"
"""The one stage that is trained; minutes are too short for two."""


@dataclass(frozen=True)
class Start:
    """What encoders begin with: their configs' own from random weights, or one encoder for all with weights from a file.

    Minutes from random weights show little on a CPU; a small encoder with ImageNet weights shows more.
    """

    encoder: str = ""
    weights: str = "none"

    def overrides(self) -> list[str]:
        """Overrides for a model that has an encoder of timm's."""
        # Not every encoder has a max-pool in its stem that could be left out.
        own = [f"model.encoder={self.encoder}", "model.stem_pool=true"] if self.encoder else []
        return [*own, f"model.weights={self.weights}"]


RANDOM = Start()


@dataclass(frozen=True)
class System:
    """One row of the table: a config, and what is changed in it."""

    name: str
    config: str
    overrides: tuple[str, ...] = ()
    start: Start = RANDOM
    control: bool = False
    """Whether it is the default from random weights, where the others begin with better ones."""

    @cached_property
    def model(self) -> dict[str, Any]:
        """The settings of its model."""
        settings: dict[str, Any] = load_experiment(CONFIGS / self.config).model.model_dump()
        return settings

    @property
    def is_ablation(self) -> bool:
        """Whether it is the default with a part changed, rather than another architecture."""
        return self.model["name"] == DEFAULT and self.name != DEFAULT and not self.control

    @property
    def has_encoder(self) -> bool:
        """Whether it has an encoder of timm's."""
        return "weights" in self.model

    @property
    def is_pretrained(self) -> bool:
        """Whether it begins with weights from a file."""
        return self.has_encoder and self.start.weights != "none"


def _loss(**terms: Any) -> str:
    # A mapping merges with the config's, so what stands there is taken out by name.
    return f"stages.{STAGE}.loss.mask={json.dumps({'bce': None, 'dice': None, **terms})}"


STEM_POOL = "model.stem_pool=true"
_HEADS = (
    "model.heads={levels: true, nonempty: true, image: true}",
    f"stages.{STAGE}.loss.heads={{levels: 0.1, nonempty: 0.1, image: 0.05}}",
)
ABLATIONS: dict[str, tuple[str, ...]] = {
    "no scSE": ("model.attention=none",),
    "scSE in the encoder too": ("model.encoder_attention=scse",),
    "no hypercolumn": ("model.hypercolumn=false",),
    "hypercolumn by concatenation": ("model.hypercolumn=concat",),
    "heads (levels, non-empty, image)": _HEADS,
    "loss: BCE": (_loss(bce=1),),
    "loss: Dice": (_loss(dice=1),),
    "loss: weighted BCE (balanced, borders)": (_loss(weighted={"balance": True, "border": 10}),),
    "loss: focal": (_loss(focal=1),),
    "loss: hard examples (below 0.7)": (_loss(bootstrapped={"below": 0.7}),),
    "loss: Jaccard": (_loss(jaccard=1),),
    "loss: Tversky": (_loss(tversky={"weight": 1, "alpha": 0.3, "beta": 0.7}),),
    "loss: boundary + BCE": (_loss(bce=1, boundary=0.1),),
    "loss: Lovász + BCE": (_loss(bce=1, lovasz={"weight": 1, "symmetric": True, "activation": "elu"}),),
    "loss: Lovász-softmax + BCE": (_loss(bce=1, lovasz_softmax=1),),
}
"""Name → overrides of the default's config. The centres, and the bootstrapped loss, have configs of their own."""


def systems(start: Start = RANDOM) -> list[System]:
    """All systems that begin so: the default first, then the other configs by name, then the ablations.

    Where one encoder with weights is given, its stem has no max-pool to compare. The default then stands there twice more with
    its own encoder from random weights, with and without that pool: also what systems without an encoder are to be held against.
    """
    names = sorted((path.stem for path in CONFIGS.glob("*.yaml")), key=lambda name: (name != DEFAULT, name))
    found = [System(name, f"{name}.yaml", start=start) for name in names]
    pool = {"stem pool": (STEM_POOL,)}
    for name, changes in (ABLATIONS if start.encoder else ABLATIONS | pool).items():
        found.append(System(f"{DEFAULT}, {name}", f"{DEFAULT}.yaml", changes, start))
    if start.encoder:
        own = f"{DEFAULT}, {found[0].model['encoder']}"
        found.append(System(own, f"{DEFAULT}.yaml", control=True))
        found.append(System(f"{own}, stem pool", f"{DEFAULT}.yaml", (STEM_POOL,), control=True))
    return found


def run_name(system: System) -> str:
    """The name as a folder's."""
    return "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in system.name).strip("-")


def settings(system: System, size: int, images: int, epochs: int = 1) -> list[str]:
    """Overrides that make a config's training as long as asked, on a square input.

    Args:
        size: pixels a side of the input.
        images: an epoch draws so many.
    """
    return [
        *(system.start.overrides() if system.has_encoder else []),
        f"input.size={size}",
        "input.fit=resize",
        "input.random_offset=false",
        f"sample.images={images}",
        f"stages.{STAGE}.epochs={epochs}",
        f"stages.{STAGE}.warmup=0",
        f"stages.{STAGE}.schedule=onecycle",
        "stages.lovasz.epochs=0",
        *system.overrides,
    ]


def chosen(names: Sequence[str], start: Start = RANDOM) -> list[System]:
    """The systems of these names, of folders or of configs; all if there are none.

    Raises:
        ValueError: a name that fits none.
    """
    known = systems(start)
    for name in names:
        if not any(_fits(system, name) for system in known):
            raise ValueError(f"no system is called {name!r}; use some of {', '.join(run_name(s) for s in known)}")
    return [system for system in known if not names or any(_fits(system, name) for name in names)]


def _fits(system: System, name: str) -> bool:
    return name in (system.name, run_name(system))
