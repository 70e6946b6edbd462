"""Every config, made so small that it trains in seconds on a VOC folder that is made here; nothing but sizes changes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from competition_sets import discs, picture, save, table
from segfold.competition import load_competition
from segfold.config import check_experiment, dump, load_experiment
from segfold.models import margin_of
from segfold.settings import Experiment
from test_comparison_models import ENCODER, SMALL

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
PATHS = sorted(path for folder in ("", "zoo", "papers") for path in (CONFIGS / folder).glob("*.yaml"))

TRAIN, VALIDATION, TEST = 8, 4, 3
SHAPE = (44, 60)
CLASSES = ("background", "car", "pedestrian")
WHOLE, CROP, STRIDE = 64, 32, 32
"""Sides of the input for whole images and for crops, and what they are multiples of."""

MODELS: dict[str, Mapping[str, Any]] = {
    **SMALL,
    "unet": {**ENCODER, "decoder_channels": 8, "head_channels": 8},
    "fcn": {name: value for name, value in SMALL["fcn"].items() if name != "encoder"},
}
MACHINE = {"device": "cpu", "precision": "fp32", "compile": False, "threads": 1, "workers": 0, "progress": False}


def name_of(path: Path) -> str:
    """A config's path below ``configs``, for a test's name."""
    return path.relative_to(CONFIGS).with_suffix("").as_posix().replace("/", "-")


def make_home(home: Path) -> Path:
    """A working folder with two competitions in VOC's folders: ``classes``, and ``binary``, whose masks know one class only.

    A quarter of the images are empty.
    """
    rng = np.random.default_rng(0)
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number in range(TRAIN + VALIDATION + TEST):
        split = "train" if number < TRAIN else "val" if number < TRAIN + VALIDATION else "test"
        name = f"2007_{number:06d}"
        lists[split].append(name)
        objects = discs(rng, 0 if number % 4 == 3 else 5 + number % 3, SHAPE)
        indices = np.where(objects > 0, 1 + objects % 2, 0).astype(np.uint8)
        pixels = picture(rng, np.stack([indices == 1, indices == 2]))
        for task, masks in (("classes", indices), ("binary", (objects > 0).astype(np.uint8))):
            root = home / "data" / task
            save(root / "JPEGImages" / f"{name}.jpg", pixels, quality=95)
            if split != "test":
                save(root / "SegmentationClass" / f"{name}.png", masks, palette=True)
                save(root / "SegmentationObject" / f"{name}.png", objects.astype(np.uint8), palette=True)
    for task, lines in (
        ("classes", ["task: multiclass", f"classes: [{', '.join(CLASSES)}]", "background: 0", "metric: miou"]),
        ("binary", ["task: binary", "classes: [disc]", "metric: dice", "mask_palette: indices"]),
    ):
        for split, names in lists.items():
            path = home / "data" / task / "ImageSets" / "Segmentation" / f"{split}.txt"
            table(path, names[0], names[1:])
        path = home / "configs" / "competitions" / f"{task}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = [f"name: {task}", "title: Made", "layout: voc", "void: 255", "submission: {form: png}", *lines]
        path.write_text("\n".join(text) + "\n")
    return home


def shrunk(path: Path) -> Experiment:
    """The experiment of a config, with its stages, loss, optimiser, augmentation and parts of the model as they are."""
    experiment = load_experiment(path)
    values = dump(experiment)
    exclusive = load_competition(experiment.competition, ROOT).task.exclusive
    values["competition"] = f"configs/competitions/{'classes' if exclusive else 'binary'}.yaml"
    own = values["model"]
    own |= {name: value for name, value in MODELS[own["name"]].items() if name in own}
    _shrink_sizes(values)
    for stage in values["stages"].values():
        _shrink_stage(stage, alone=len(values["stages"]) == 1)
    for settings in (values, values["predict"], *values["stages"].values()):
        if "batch_size" in settings:
            settings["batch_size"] = 4
    values["accumulate"] = min(values["accumulate"], 2)
    values["validate"]["every"] = 1
    return check_experiment({**values, "machine": MACHINE}, str(path))


def eight_images(path: Path, rate: float) -> Experiment:
    """The shrunk experiment's network and first loss, for thirty steps on the eight images as they are."""
    values = dump(shrunk(path))
    name, stage = next(iter(values["stages"].items()))
    for settings in stage["loss"]["mask"].values():
        settings |= {"warmup": 0} if "warmup" in settings else {}  # a loss that changes says nothing of what was learnt
    alone = {"epochs": 30, "lr": rate, "schedule": "constant", "loss": stage["loss"]}
    for key in ("ema", "swa", "augment", "init", "predict", "accumulate", "best", "encoder_lr"):
        values.pop(key, None)
    values |= {"stages": {name: alone}, "optimizer": "adamw", "batch_size": TRAIN, "ema": None, "clip": 5.0}
    values |= {"sample": {"images": TRAIN}, "validate": {"every": 1000}}
    return check_experiment(values, str(path))


def _shrink_sizes(values: dict[str, Any]) -> None:
    """All sizes by one factor, to multiples of what encoders need; the input of a network with a margin has that around it."""
    sizes = values["input"]
    side, others = (CROP, "crop") if "crop" in sizes else (WHOLE, "size")
    model = dict(values["model"])
    margins = 2 * margin_of(model.pop("name"), model)
    factor = side / np.max(sizes[others])

    def scaled(size: Any) -> Any:
        if isinstance(size, int):
            return max(1, round(size * factor / STRIDE)) * STRIDE + margins
        return [scaled(each) for each in size]

    for settings in (sizes, *values["stages"].values(), values["predict"].get("tiles") or {}):
        settings |= {key: scaled(settings[key]) for key in ("size", "crop", "resize") if key in settings}
    for stage in values["stages"].values():
        if (stage.get("boxes") or {}).get("resize"):
            stage["boxes"]["resize"] = round(stage["boxes"]["resize"] * factor)
    for settings in (values, *values["stages"].values()):
        if "images" in settings.get("sample", {}):
            settings["sample"]["images"] = TRAIN
    if boxes := values["predict"].get("boxes"):
        boxes["count"] = min(boxes["count"], 3)
    if tiles := values["predict"].get("tiles"):
        tiles |= {"overlap": round(tiles["overlap"] * factor)} if "overlap" in tiles else {}


def _shrink_stage(stage: dict[str, Any], alone: bool) -> None:
    """One epoch, two where it is the only stage, two cycles where it has cycles."""
    for schedule in stage["schedule"].values():
        if "cycles" in schedule:
            schedule["cycles"] = min(schedule["cycles"], 2)
    cycles = max(schedule.get("cycles", 1) for schedule in stage["schedule"].values())
    if stage["epochs"]:
        stage["epochs"] = 2 if alone else cycles
    stage["warmup"] = 0
    stage["freeze_encoder"] = min(stage["freeze_encoder"], 1)
    for settings in stage["loss"]["mask"].values():
        if weights := settings.get("class_weights"):
            settings["class_weights"] = {name: weight for name, weight in weights.items() if name in CLASSES}
