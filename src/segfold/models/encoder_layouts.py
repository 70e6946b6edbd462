"""Other libraries' names of an encoder's tensors, brought to timm's: what is left of them is told apart by names and shapes.

Each layout takes a file's tensors and the names of a pyramid, and gives the tensors under timm's names, wherever in the file's
network they are; what it does not know keeps its name.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby

from torch import Tensor

Tensors = Mapping[str, Tensor]

# lukemelas' EfficientNet, which smp has, in the order of its forward pass.
_EFFICIENTNET = (
    *("_conv_stem", "_expand_conv", "_bn0", "_blocks", "_depthwise_conv", "_bn1"),
    *("_se_reduce", "_se_expand", "_project_conv", "_bn2", "_conv_head"),
)
_MOBILE = re.compile(r"(.*?)(?:features|_conv_stem|_bn0|_blocks|_conv_head|_bn1)\.")


def as_it_is(read: Tensors, ours: Iterable[str]) -> Tensors:
    """Timm, torchvision's and smp's ResNet, ResNeXt, VGG and DenseNet, Cadene's SENets, mmsegmentation's ResNet."""
    return read


def ungated(read: Tensors, ours: Iterable[str]) -> Tensors:
    """Our own encoders with attention: their stages stand beside the gates."""
    gated = {name.partition(".gate.")[0] for name in read if ".gate." in name}
    stages = {
        f"{stage}.stage.": f"{stage}." for stage in gated if any(name.startswith(f"{stage}.stage.") for name in read)
    }

    def renamed(name: str) -> str:
        start = next((start for start in stages if name.startswith(start)), "")
        return stages.get(start, "") + name.removeprefix(start)

    return {renamed(name): tensor for name, tensor in read.items()}


def deep_stem(read: Tensors, ours: Iterable[str]) -> Tensors:
    """MMSegmentation's ResNetV1c and V1d: the stem's three convolutions and the last norm are one sequence."""

    def renamed(name: str) -> str:
        name = re.sub(r"(^|\.)stem\.([01346])\.", r"\1conv1.\2.", name)
        return re.sub(r"(^|\.)stem\.7\.", r"\1bn1.", name)

    return {renamed(name): tensor for name, tensor in read.items()}


def mobile(read: Tensors, ours: Iterable[str]) -> Tensors:
    """Torchvision's EfficientNets and MobileNets, and smp's: their layers, in the order of their numbers, are timm's in its order."""
    mine = [layer for layer, _ in groupby(name.rpartition(".")[0] for name in ours)]
    if mine[:1] != ["conv_stem"]:
        return read
    theirs = sorted({name.rpartition(".")[0] for name in read if _MOBILE.match(name)}, key=_forward)
    same = dict(zip(theirs, mine))

    def renamed(name: str) -> str:
        layer, _, leaf = name.rpartition(".")
        return f"{same[layer]}.{leaf}" if layer in same else name

    return {renamed(name): tensor for name, tensor in read.items()}


def _forward(layer: str) -> list[tuple[int, str]]:
    """Sorts layers by the numbers in their names."""
    rank = {word: i for i, word in enumerate(_EFFICIENTNET)}
    parts = layer.split(".")
    return [(int(part), "") if part.isdecimal() else (rank[part], "") if part in rank else (0, part) for part in parts]


LAYOUTS: tuple[Callable[[Tensors, Iterable[str]], Tensors], ...] = (as_it_is, ungated, deep_stem, mobile)
"""From the plainest on."""
