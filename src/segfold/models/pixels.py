"""A network's input: checked, and normalised where no pretrained encoder does that."""

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from segfold.errors import SegfoldError
from segfold.models.input import InputLayer, channel_statistics
from segfold.resize import Shape


def plain_input(in_channels: int) -> InputLayer:
    """The input layer of a network that starts from random weights: ImageNet's mean and deviation."""
    mean, std = (channel_statistics(values, in_channels) for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    return InputLayer(mean, std)


def check_pixels(
    pixels: Tensor, in_channels: int, stride: int = 1, only_size: int | None = None, smallest: int = 1
) -> None:
    """Refuses images that a network cannot take.

    Args:
        pixels: N×C×H×W.
        in_channels: that the network was built for.
        stride: height and width must be multiples of it.
        only_size: the one height and width that the encoder takes, if there is but one.
        smallest: least height and width.

    Raises:
        SegfoldError: other channels, or a size that does not fit.
    """
    channels, height, width = pixels.shape[1:]
    if channels != in_channels:
        raise SegfoldError(f"the network was built for {in_channels} channels, but the images have {channels}")
    found = f"the network's input is {height}×{width}, but"
    if only_size is not None and (height, width) != (only_size, only_size):
        raise SegfoldError(
            f"{found} this encoder takes {only_size}×{only_size} only; "
            "change input.size or set model.encoder_options.img_size"
        )
    if height % stride or width % stride:
        raise SegfoldError(
            f"{found} height and width must be multiples of {stride}; change input.size or the stage's size"
        )
    if min(height, width) < smallest:
        raise SegfoldError(
            f"{found} height and width must be at least {smallest}; change input.size or the stage's size"
        )


def check_sides(shape: Shape, smallest: int, step: int) -> None:
    """Refuses an input of which a side is not ``smallest`` and a multiple of ``step`` more.

    Args:
        shape: height and width.

    Raises:
        SegfoldError: names the nearest sides that would do.
    """
    instead = []
    for side in dict.fromkeys(shape):
        below = side - (side - smallest) % step
        near = [below, below + step] if below >= smallest else [smallest]
        if side not in near:
            instead.append(f"{' or '.join(map(str, near))} instead of {side}")
    if instead:
        sides = f"{smallest} at least" if step == 1 else f"{smallest} and multiples of {step} more"
        raise SegfoldError(
            f"the network's input is {shape[0]}×{shape[1]}, but height and width must be {sides}: "
            f"{', '.join(instead)}; change input.size or the stage's size"
        )
