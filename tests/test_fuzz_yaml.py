"""Experiments, competitions and overrides with anything wrong in them: refused, or read as they are written."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fuzzing import TOKENS, WrongError, counts, fuzz, mutated, mutated_words, some
from segfold.competition import load_competition
from segfold.config import check_experiment, dump, dump_yaml, load_experiment
from segfold.errors import SegfoldError
from segfold.settings import Experiment
from small_project import COMPETITION, EXPERIMENT, ROOT

SIMPLE = ("0", "1", "2", "-1", "0.5", "1e-3", "1.0e-3")
NUMBERS = (*SIMPLE, "1e3", "1e400", "-0.0", ".inf", ".nan", "010", "0x10", "1_0", "1:30")
FORMS = (
    "9" * 400,
    "[1, 2]",
    "{a: 1}",
    "{weight: 2}",
    "[image, y]",
    "unet",
    "resnet34",
    "model",
    "swa",
    "seed: 1",
    "  x: 1",
)
ODD = (*TOKENS, *NUMBERS, *FORMS)


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from leaves(value, path)
        else:
            yield path, value


def check_values(given: Mapping[str, Any], experiment: Experiment, where: str) -> None:
    """Each number and truth that PyYAML reads in a file is what the experiment holds at that path."""
    held = dict(leaves(dump(experiment)))
    for path, value in leaves(given):
        if isinstance(value, bool | int | float) and path in held and not held[path] == value:
            raise WrongError(f"{where}: {path} is {value!r}, read as {held[path]!r}")


def check_again(experiment: Experiment, folder: Path) -> None:
    """What is written of an experiment reads as the same."""
    (folder / "again.yaml").write_text(dump_yaml(experiment))
    held = dict(leaves(dump(experiment)))
    for again in (load_experiment(folder / "again.yaml"), check_experiment(dump(experiment), "")):
        found = dict(leaves(dump(again)))
        changed = {key: (held.get(key), found.get(key)) for key in held | found if held.get(key) != found.get(key)}
        if again != experiment or changed:
            raise WrongError(f"dumped and loaded anew, this has changed: {changed}")


def plain_yaml(text: str) -> Mapping[str, Any]:
    """What PyYAML's safe loader makes of a file; nothing where it refuses, or where it takes 1e-3 for text."""
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) and "extends" not in values else {}


@counts
def test_experiment_files(count: int, tmp_path: Path) -> None:
    texts = [EXPERIMENT, *((ROOT / "configs" / f"{name}.yaml").read_text() for name in ("quick", "unet-resnet34"))]
    path = tmp_path / "e.yaml"

    def case(rng: np.random.Generator) -> None:
        text = some(rng, texts)
        if rng.random() < 0.3:
            path.write_bytes(mutated(text.encode(), rng))
        else:
            changed = mutated_words(text, rng, ODD, some(rng, ["\n", ": ", ", "]))
            path.write_bytes(changed.encode("utf-8", "surrogatepass"))
        experiment = load_experiment(path)
        check_values(plain_yaml(path.read_text()), experiment, repr(path.read_text()))
        check_again(experiment, tmp_path)

    fuzz(count, "experiments", case)


def same_number(text: str, held: Any) -> bool:
    """Whether an override of one number gave that number."""
    try:
        return float(text) == float(held)
    except (TypeError, ValueError):
        return True


@counts
def test_overrides(count: int, tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(EXPERIMENT)
    plain = load_experiment(path)
    paths = [
        *(name for name, _ in leaves(dump(plain))),
        "stages.warm",
        "model",
        "augment.hflip",
        "stages.new.epochs",
        "swa",
        "ema",
    ]

    def case(rng: np.random.Generator) -> None:
        overrides = []
        for _ in range(int(rng.integers(1, 4))):
            key = some(rng, paths)
            if rng.random() < 0.2:
                key = mutated_words(key, rng, ODD, ".")
            overrides.append(f"{key}={some(rng, ODD)}" if rng.random() < 0.95 else key)
        experiment = load_experiment(path, overrides)
        held = dict(leaves(dump(experiment)))
        for override in overrides[-1:]:
            key, _, text = override.partition("=")
            if text in SIMPLE and key in held and not same_number(text, held[key]):
                raise WrongError(f"{overrides}: {key} is {held[key]!r}")
        if rng.random() < 0.3:  # it takes most of the time
            check_again(experiment, tmp_path)

    fuzz(count, "overrides", case)


@counts
def test_competition_files(count: int, tmp_path: Path) -> None:
    texts = [COMPETITION, *(file.read_text() for file in sorted((ROOT / "configs" / "competitions").glob("*.yaml")))]
    path = tmp_path / "c.yaml"

    def case(rng: np.random.Generator) -> None:
        text = some(rng, texts)
        if rng.random() < 0.3:
            path.write_bytes(mutated(text.encode(), rng))
        else:
            changed = mutated_words(text, rng, ODD, some(rng, ["\n", ": ", ", "]))
            path.write_bytes(changed.encode("utf-8", "surrogatepass"))
        competition = load_competition(str(path))
        held = dict(leaves(competition.model_dump(mode="json", by_alias=True)))
        for key, value in leaves(plain_yaml(path.read_text())):
            if key not in held or (held[key] != value and not isinstance(value, list)):
                raise WrongError(f"{path.read_text()!r}: {key} is {value!r}, read as {held.get(key)!r}")
        for part in competition.layout.parts(competition.classes):
            inside = (tmp_path / "data" / part.pattern.text).resolve()
            if tmp_path / "data" not in inside.parents:
                raise WrongError(f"{part.label!r} leaves the data folder")

    fuzz(count, "competitions", case)


def test_an_override_that_is_refused_says_why(tmp_path: Path) -> None:
    """The fuzz would also pass if everything were refused for one reason."""
    path = tmp_path / "e.yaml"
    path.write_text(EXPERIMENT)
    said = set()
    for override in ("seed=x", "sed=1", "seed", "seed=[", "model.encoder.x=1"):
        try:
            load_experiment(path, [override])
        except SegfoldError as error:
            said.add(str(error).removeprefix(str(path)))
    assert len(said) == 5
