"""An experiment is read from one YAML file and dotted overrides, and written back whole."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from pydantic import BaseModel, ValidationError

from segfold.errors import SegfoldError, shown
from segfold.models import MODELS
from segfold.paths import user_path
from segfold.schema import Settings, descend, is_choice, member, problems
from segfold.settings import Experiment
from segfold.yaml_file import parse_yaml, read_yaml

NOT_IDENTITY = ("validate", "predict", "machine", "minutes")
"""Top-level keys that do not change the weights; ``validate`` does where scores steer the training."""

_DEEPEST_PATH = 16
STAGE_ORDER = "stages (their order)"


def merge(base: Any, over: Any, place: Any = Experiment) -> Any:
    """``over`` laid on ``base``: mappings merge by key, anything else replaces; another choice replaces whole.

    Args:
        place: annotation of the settings that both are; it says where a builder is chosen.
    """
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return over
    place = member(place, {**base, **over})
    if is_choice(place) and set(over) - set(base):
        return over
    return {**base, **{name: merge(base.get(name), value, descend(place, name)) for name, value in over.items()}}


def lay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment's values with others laid on them: ``merge``, but another model takes over only what it knows.

    So ``model.name=linknet`` on a U-Net's config keeps the encoder and the image head, and leaves scSE behind.
    """
    old, new = base.get("model"), over.get("model")
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        before, after = (MODELS.get(str(values.get("name", old.get("name", "unet")))) for values in (old, new))
        if before and after and before is not after:
            base = {**base, "model": _shared(old, _arguments(before), _arguments(after))}
    merged: dict[str, Any] = merge(base, over)
    return merged


def _arguments(model: type[Any]) -> dict[str, Any]:
    return {name: argument.annotation for name, argument in inspect.signature(model).parameters.items()}


def _shared(values: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of one model that another has too. What the first does not know stays, to be refused by name."""
    kept = {}
    for name, value in values.items():
        if name not in before or after.get(name) == before[name]:
            kept[name] = value
        elif name in after and isinstance(value, Mapping) and _has_fields(before[name]) and _has_fields(after[name]):
            mine, others = (
                {key: field.annotation for key, field in part[name].model_fields.items()} for part in (before, after)
            )
            kept[name] = _shared(value, mine, others)
    return kept


def _has_fields(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def read_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """``["model.encoder=resnet50", "seed=1"]`` as one nested mapping; values are YAML.

    Raises:
        SegfoldError: an override is no ``key.sub=value``, or its value is not YAML.
    """
    result: dict[str, Any] = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        parts = path.split(".")
        if not equals or not all(parts) or len(parts) > _DEEPEST_PATH:
            raise SegfoldError(
                f"override {shown(override)}: expected key.sub=value, for instance model.encoder=resnet34"
            )
        value = parse_yaml(text, f"override {shown(override)}")
        for part in reversed(parts):
            value = {part: value}
        result = merge(result, value)
    return result


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Experiment of a YAML file, laid on the file that it ``extends`` (one level), with dotted overrides.

    Raises:
        SegfoldError: the file cannot be read, or a key or value is wrong (the nearest valid one is named).
    """
    values = read_yaml(path)
    if "extends" in values:
        name = values.pop("extends")
        if not isinstance(name, str):
            raise SegfoldError(f"{path}: extends is {shown(name)}; name one YAML file")
        parent = read_yaml(path.parent / user_path(name))
        if "extends" in parent:
            raise SegfoldError(f"{path}: extends a file that itself extends another; only one level is read")
        values = lay(parent, values)
    return check_experiment(lay(values, read_overrides(overrides)), str(path))


def check_experiment(values: Mapping[str, Any], source: str) -> Experiment:
    """Experiment of plain values. Raises SegfoldError with one line for all that is wrong."""
    try:
        return Experiment.model_validate(values)
    except ValidationError as error:
        raise SegfoldError(f"{source}: " + problems(error, Experiment, tuple(MODELS))) from None


def dump(settings: Settings) -> dict[str, Any]:
    """All settings as plain values, defaults included; what is not used is left out."""
    values: dict[str, Any] = _used(settings, settings.model_dump(mode="json", by_alias=True))
    return values


def _used(settings: Any, values: Any) -> Any:
    """``values`` of ``settings`` without what is null by default; a null that replaces a default has to be said."""
    if isinstance(settings, BaseModel):
        kept = {}
        for name, field in type(settings).model_fields.items():
            key = field.alias or name
            if values[key] is not None or field.default is not None:
                kept[key] = _used(getattr(settings, name), values[key])
        return kept
    if isinstance(settings, Mapping):
        return {key: _used(part, values[key]) for key, part in settings.items()}
    return values


def dump_yaml(experiment: Experiment) -> str:
    """YAML text of ``dump``; loading it gives the same experiment."""
    return OmegaConf.to_yaml(OmegaConf.create(dump(experiment)))


def identity(experiment: Experiment) -> dict[str, Any]:
    """Dotted path → value of every setting that changes the weights; the order of the stages stands under ``STAGE_ORDER``.

    Of ``folds`` a named file counts alone: it says how many folds there are, and no seed made it. Proposals count where a
    stage trains on them.
    """
    free = set(NOT_IDENTITY) - ({"validate"} if experiment.watches_scores else set())
    if all(stage.boxes is None or stage.boxes.of != "proposals" for stage in experiment.stages.values()):
        free.add("proposals")
    found = dict(dotted({key: value for key, value in dump(experiment).items() if key not in free}))
    if experiment.folds.file is not None:
        del found["folds.k"], found["folds.seed"]
    return {**found, STAGE_ORDER: list(experiment.stages)}


def differing_keys(old: Experiment, new: Experiment) -> list[str]:
    """Dotted paths at which two experiments would train different weights, sorted."""
    before, after = identity(old), identity(new)
    if set(before[STAGE_ORDER]) != set(after[STAGE_ORDER]):
        del before[STAGE_ORDER], after[STAGE_ORDER]  # stages that only one of them has are named by their settings
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def dotted(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted path and value of everything in nested mappings; an empty mapping is a value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
