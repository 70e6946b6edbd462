"""Numbers that a model can be built with."""

from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Ge, Le, Lt, MaxLen, MinLen
from pydantic import AfterValidator

Channels = Annotated[int, Ge(1), Le(8192)]
HeadChannels = Annotated[int, Ge(0), Le(8192)]
Dropout = Annotated[float, Ge(0), Lt(1)]
Dilation = Annotated[int, Ge(1), Le(256)]
Parts = Annotated[tuple[Annotated[int, Ge(1), Le(64)], ...], MinLen(1), MaxLen(16)]
"""Each of some branches divides the side of a feature map by so much, or into so many."""


def _rates(options: Mapping[str, Any]) -> Mapping[str, Any]:
    for key, value in options.items():
        if key.endswith("_rate") and not (isinstance(value, int | float) and 0 <= value < 1):
            raise ValueError(f"{key} must be at least 0 and less than 1")
    return options


EncoderOptions = Annotated[dict[str, bool | int | float | str], AfterValidator(_rates)]
"""Further arguments of timm's ``create_model``, which takes any rate of dropping and fails in training."""
