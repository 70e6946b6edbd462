"""VGG16 as FCN and DeconvNet have it: pools that round up, its classifier as convolutions; and the weights of others for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import timm
import torch.nn.functional as F
from timm.models import adapt_input_conv
from torch import Tensor, nn

from segfold.errors import SegfoldError
from segfold.models.checkpoints import common_place, fill_from, read_tensors
from segfold.models.encoder_files import downloaded
from segfold.models.pixels import plain_input
from segfold.paths import user_path
from segfold.resize import Shape

VGGName = Literal["vgg16", "vgg16_bn"]
FC6_KERNEL = 7
FULL_WIDTH = 64
_CONVOLUTIONS = (2, 2, 3, 3, 3)
_NAMES = {
    "features.": "encoder.features.",
    "classifier.0.": "fc6.",
    "classifier.3.": "fc7.",
    "pre_logits.fc1.": "fc6.",
    "pre_logits.fc2.": "fc7.",
    **{name: name for name in ("encoder.features.", "fc6.", "fc7.")},
}
"""How the names of torchvision's, timm's and our own files begin, and how FCN's do."""


class Switch(NamedTuple):
    """Where a pool found what it gives.

    Attributes:
        places: N×C×h×w indices into each flattened plane of what was pooled.
        size: height and width of what was pooled.
    """

    places: Tensor
    size: Shape


class VGG16(nn.Module):
    """VGG16 (Simonyan and Zisserman, arXiv 1409.1556) up to its last pool, under torchvision's names.

    Args:
        name: with batch norms or without.
        in_channels: of the image.
        width: channels of the first stage; the others have 2, 4, 8 and 8 times as many.
        pad: border of the first convolution. 1 keeps the size.

    Attributes:
        channels: of the third, fourth and fifth pool.
    """

    def __init__(self, name: VGGName, in_channels: int, width: int, pad: int) -> None:
        super().__init__()
        self.input = plain_input(in_channels)
        self.channels = (4 * width, 8 * width, 8 * width)
        self.features = nn.Sequential()
        self._pools = []
        inputs = in_channels
        for count, outputs in zip(_CONVOLUTIONS, (width, 2 * width, *self.channels)):
            for _ in range(count):
                conv = nn.Conv2d(inputs, outputs, 3, padding=1 if len(self.features) else pad)
                start_plain(conv)
                norm = [nn.BatchNorm2d(outputs)] if name == "vgg16_bn" else []
                self.features.extend([conv, *norm, nn.ReLU(inplace=True)])
                inputs = outputs
            self._pools.append(len(self.features))
            self.features.append(nn.MaxPool2d(2, 2, ceil_mode=True))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Pixels in 0..255 to what the third, fourth and fifth pool give."""
        x, pooled = self.input(pixels), []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self._pools[2:]:
                pooled.append(x)
        return pooled

    def with_switches(self, pixels: Tensor) -> tuple[Tensor, list[Switch]]:
        """Pixels in 0..255 to what the fifth pool gives, and where each of the five found what it gives."""
        x, switches = self.input(pixels), []
        for number, layer in enumerate(self.features):
            if number in self._pools:
                size = (x.shape[2], x.shape[3])
                x, places = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
                switches.append(Switch(places, size))
            else:
                x = layer(x)
        return x, switches


def start_plain(conv: nn.Conv2d) -> None:
    """Weights that keep the variance of what goes forward through a ReLU, which no norm does here."""
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def hub_tensors(name: VGGName, in_channels: int) -> dict[str, Tensor]:
    """The whole of timm's pretrained classifier by its names.

    Raises:
        SegfoldError: the weights cannot be downloaded.
    """
    model = downloaded(name, lambda: timm.create_model(name, pretrained=True, in_chans=in_channels, num_classes=0))
    tensors: dict[str, Tensor] = model.state_dict()
    return tensors


def as_convolutions(read: Mapping[str, Tensor], in_channels: int, deepest: int) -> dict[str, Tensor]:
    """A VGG16 classifier's tensors under FCN's names, its first two linear layers as the convolutions that they are.

    Each row of the first, which sees the flattened deepest×7×7 feature, is a 7×7 filter; each of the second a 1×1.

    Args:
        read: a file's, perhaps all behind a common beginning. The last layer, of the classes, is left out.
        in_channels: of the image; the filters of three colours are summed for one channel, or repeated, as timm does it.
        deepest: channels of the trunk's last feature.
    """
    place = common_place(read, lambda name: name.startswith(tuple(_NAMES)))
    found = {}
    for whole, tensor in read.items():
        name = whole.removeprefix(place)
        begins = next((each for each in _NAMES if name.startswith(each)), None)
        if begins is not None and whole.startswith(place):
            found[_NAMES[begins] + name.removeprefix(begins)] = tensor
    first, linear = found.get("encoder.features.0.weight"), found.get("fc6.weight")
    if first is not None and first.ndim == 4 and first.shape[1] == 3:
        found["encoder.features.0.weight"] = adapt_input_conv(in_channels, first)
    if linear is not None and linear.ndim == 2 and linear.shape[1] == deepest * FC6_KERNEL**2:
        found["fc6.weight"] = linear.unflatten(1, (deepest, FC6_KERNEL, FC6_KERNEL))
    if "fc7.weight" in found and found["fc7.weight"].ndim == 2:
        found["fc7.weight"] = found["fc7.weight"][:, :, None, None]
    return found


def load_classifier(network: nn.Module, name: VGGName, weights: str, *, in_channels: int, width: int) -> None:
    """Fills ``network.encoder``, a VGG16, and the convolutions ``network.fc6`` and ``network.fc7`` where they fit.

    Args:
        weights: ``imagenet`` (timm's classifier), or a file of torchvision's or timm's VGG16, or of a network like this one.

    Raises:
        SegfoldError: weights that cannot be had or do not fit.
    """
    source: Path | str = f"timm's {name}" if weights == "imagenet" else user_path(weights)
    if isinstance(source, Path):
        read = read_tensors(source)
    elif width == FULL_WIDTH:
        read = hub_tensors(name, in_channels)
    else:
        raise SegfoldError(
            f"model.width is {width}, but timm's weights of {name} are {FULL_WIDTH} wide; "
            f"set model.weights=none or model.width={FULL_WIDTH}"
        )
    theirs = as_convolutions(read, in_channels, 8 * width)
    fill_from(network, theirs, source, needed=("encoder.features.",), also=("fc6.", "fc7."))
