"""How a trained fold predicts, and what it all runs on."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import StringConstraints, field_validator, model_validator

from segfold.data.geometry.symmetry import TRANSFORMS
from segfold.ranges import Count, Form
from segfold.schema import Settings

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

if TYPE_CHECKING:
    SymmetryName: TypeAlias = str
else:
    SymmetryName = Literal[tuple(TRANSFORMS)]


class Predict(Settings):
    """How a trained fold predicts.

    Attributes:
        weights: which of the training's weights predict; the mean of several is taken.
        tta: symmetries under which an image is predicted, to take the mean (test-time augmentation).
        batch_size: images at once.
    """

    weights: Annotated[tuple[WeightsName, ...], MinLen(1), MaxLen(1000)] = ("model",)
    tta: Annotated[tuple[SymmetryName, ...], MinLen(1), MaxLen(8)] = ("identity", "hflip")
    batch_size: Count = 64

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
    """

    device: DeviceName = "auto"
    workers: Annotated[int, Ge(0), Le(1024)] | Literal["auto"] = "auto"
    threads: Annotated[int, Ge(1), Le(4096)] | Literal["auto"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    progress: bool | Literal["auto"] = "auto"
