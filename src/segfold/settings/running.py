"""How a trained fold predicts, and what it all runs on."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import AfterValidator, BeforeValidator, StringConstraints, field_validator, model_validator

from segfold.data.geometry.symmetry import TRANSFORMS
from segfold.data.geometry.tiles import Blend
from segfold.data.geometry.view import Pose, pose_of
from segfold.ranges import Count, Form, Size
from segfold.schema import Settings
from segfold.settings.boxes import PredictedBoxes

WeightsName = Annotated[
    str,
    StringConstraints(pattern=r"^(model|best|swa|snapshots|snapshot[1-9][0-9]{0,5})$"),
    Form("model, best, swa, snapshots, snapshot1, snapshot2, …"),
]
DeviceName = Annotated[  # on torch's "meta" a network would train without numbers
    str,
    StringConstraints(pattern=r"^(auto|(cpu|cuda|mps|xpu)(:[0-9]{1,2})?)$"),
    Form("auto, cpu, cuda, cuda:N, mps or xpu"),
]


class Tiles(Settings):
    """How an image is cut into overlapping tiles, which are predicted one by one.

    Attributes:
        size: height and width of a tile in pixels of the image, or one number for both; null: as ``input.crop``.
        overlap: least number of pixels that neighbours share; null: a quarter of the tile.
        blend: how tiles fade into each other: in a straight line over the overlap, as a bell over the whole tile, or not at
            all (``flat``: their mean).
    """

    size: Size | None = None
    overlap: Annotated[int, Ge(0), Le(16_384)] | None = None
    blend: Blend = "linear"


def _entry(value: Any) -> Any:
    """``{scale: 1.25, symmetry: hflip}`` as its name."""
    if not isinstance(value, Mapping):
        return value
    scale = value.get("scale")
    if set(value) - {"scale", "symmetry"} or isinstance(scale, bool) or not isinstance(scale, int | float):
        raise ValueError(
            f"found {dict(value)}: expected {{scale: 1.25}}, with symmetry: hflip or another one if need be"
        )
    return Pose(str(value.get("symmetry", "identity")), _usual(float(scale))).name


def _known(name: str) -> str:
    _usual(pose_of(name).scale)
    return name


def _usual(scale: float) -> float:
    if not 0.1 <= scale <= 10:
        raise ValueError(f"found a scale of {scale:g}: expected 0.1 to 10")
    return scale


ViewName = Annotated[
    str,
    BeforeValidator(_entry),
    AfterValidator(_known),
    Form(f"{', '.join(TRANSFORMS)}, or {{scale: 1.25}}"),
]


class Predict(Settings):
    """How a trained fold predicts.

    Attributes:
        weights: which of the training's weights predict; the mean of several is taken.
        tta: how often an image is predicted, to take the mean (test-time augmentation): under symmetries, and at other scales.
        tiles: images are predicted in overlapping parts; null: as a whole, or where ``input.crop`` is set with the defaults.
        boxes: images are predicted by proposals as well; null: as a whole, or by tiles, alone.
        values: what is merged where several predictions meet: probabilities, or the logits before them.
        merge: their mean, the largest, or the sum over boxes, of logits alone.
        batch_size: images, tiles or boxes at once; null: 64 images, or as many parts as have the pixels of 64 inputs of 128×128.
    """

    weights: Annotated[tuple[WeightsName, ...], MinLen(1), MaxLen(1000)] = ("model",)
    tta: Annotated[tuple[ViewName, ...], MinLen(1), MaxLen(64)] = ("identity", "hflip")
    tiles: Tiles | None = None
    boxes: PredictedBoxes | None = None
    values: Literal["probabilities", "logits"] = "probabilities"
    merge: Literal["mean", "max", "sum"] = "mean"
    batch_size: Count | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_gate(cls, values: Any) -> Any:
        """Configs of before recipes say ``gate``: 0 is dropped, and what else they say is refused."""
        if not isinstance(values, Mapping) or "gate" not in values:
            return values
        if values["gate"] not in (0, None):
            raise ValueError(
                "predict.gate is chosen by submit now, among the post steps; take it out, "
                f"or fix it with submit.py --gate {values['gate']}"
            )
        return {name: value for name, value in values.items() if name != "gate"}

    @model_validator(mode="after")
    def _sum_of_logits(self) -> "Predict":
        if self.merge == "sum" and self.values != "logits":
            raise ValueError(
                "predict.merge=sum adds up logits, and a sum of probabilities is none: set predict.values=logits, or "
                "predict.merge=mean"
            )
        return self

    @field_validator("tta")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("expected each transform once")
        return names


class Machine(Settings):
    """What concerns this machine only and may differ when a run goes on elsewhere.

    Attributes:
        device: what computes; ``auto``: a GPU of CUDA if there is one, else the CPU.
        workers: processes that prepare samples; 0: none beside the training, ``auto``: by the cores.
        threads: threads of the CPU; ``auto``: all cores, or a process's share of them.
        precision: number format of the network's forward pass; ``auto``: the fastest that the device has in hardware.
        compile: whether ``torch.compile`` runs first; ``auto``: where the training is long enough to gain by it.
        progress: whether a line shows progress; ``auto``: on a terminal.
        report: whether ``report.html`` of the run is written after each fold.
    """

    device: DeviceName = "auto"
    workers: Annotated[int, Ge(0), Le(1024)] | Literal["auto"] = "auto"
    threads: Annotated[int, Ge(1), Le(4096)] | Literal["auto"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    progress: bool | Literal["auto"] = "auto"
    report: bool = True
