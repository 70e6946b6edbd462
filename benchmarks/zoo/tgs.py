"""TGS salt: every config of ``configs/zoo``, and the zoo's U-Net with one part changed."""

import json
from dataclasses import replace
from typing import Any

from benchmarks.zoo.systems import CONFIGS, HOME, RANDOM, Comparison, Start, System
from segfold.config import load_experiment
from segfold.resize import Shape

COMPETITION = "tgs-salt"
FOLDER = "zoo"
DEFAULT = "unet"
"""The system that the ablations change, and the name of its model."""

ON_OTHERS = {"fcn-r50-d8": "fcn-d8"}
"""Configs that are called after their encoder, and what they are called on another one."""

STAGE = "warm"
"""The one stage that is trained; minutes are too short for two."""


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
    What is called after its encoder stands there with both.
    """
    names = sorted(_names(), key=lambda name: (name != DEFAULT, name))
    found = [_system(name, start) for name in names]
    default = found[0]
    if start.encoder:
        found = [replace(system, name=ON_OTHERS.get(system.name, system.name)) for system in found]
        found += [_system(name, RANDOM) for name in names if name in ON_OTHERS]
    pool = {"stem pool": (STEM_POOL,)}
    for name, changes in (ABLATIONS if start.encoder else ABLATIONS | pool).items():
        changed = replace(default, name=f"{DEFAULT}, {name}", overrides=(*default.overrides, *changes), ablation=True)
        found.append(changed)
    if start.encoder:
        control = _system(DEFAULT, RANDOM)
        own = f"{DEFAULT}, {load_experiment(default.path).model.model_dump()['encoder']}"
        found.append(replace(control, name=own))
        found.append(replace(control, name=f"{own}, stem pool", overrides=(*control.overrides, STEM_POOL)))
    return found


def _names() -> list[str]:
    """Of the configs that are of this competition: published recipes for other data stand beside them."""
    paths = (CONFIGS / FOLDER).glob("*.yaml")
    return [path.stem for path in paths if load_experiment(path).competition == COMPETITION]


def _system(name: str, start: Start) -> System:
    config = f"{FOLDER}/{name}.yaml"
    model = load_experiment(CONFIGS / config).model.model_dump()
    ablation = model["name"] == DEFAULT and name != DEFAULT
    if not model.get("encoder"):
        return System(name, config, ablation=ablation, encoder=start.encoder)
    overrides = [f"model.weights={start.weights}"]
    if start.encoder:
        overrides.append(f"model.encoder={start.encoder}")
        if "stem_pool" in model:  # not every encoder has a max-pool in its stem that could be left out
            overrides.append(STEM_POOL)
    return System(name, config, tuple(overrides), start.weights != "none", ablation, start.encoder)


def common(size: Shape, images: int, epochs: int) -> list[str]:
    """Overrides of any system: one stage, one cycle, and an input without borders."""
    return [
        f"input.size={list(size)}",
        "input.fit=resize",
        "input.random_offset=false",
        f"sample.images={images}",
        f"stages.{STAGE}.epochs={epochs}",
        f"stages.{STAGE}.warmup=0",
        f"stages.{STAGE}.schedule=onecycle",
        "stages.lovasz.epochs=0",
    ]


TGS = Comparison(
    competition=COMPETITION,
    command="make zoo",
    results=HOME / "benchmarks" / "zoo.json",
    default=DEFAULT,
    systems=systems,
    common=common,
    size=(64, 64),
    minutes=4.0,
    minutes_random=4.0,
    batch=16,
)
