"""What stands between a U-Net's encoder and its decoder, by name.

A centre is a function of the channels that come in, with its settings as keyword-only arguments, listed in
``CENTRES``. Where it has ``pool``, that halves the size at the end: the decoder then begins one scale deeper, and
its first block can see the encoder's deepest feature beside the centre's result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import MaxLen, MinLen
from torch import nn

from segfold.errors import SegfoldError
from segfold.models.blocks import conv_bn, conv_bn_relu
from segfold.models.dblock import DBlock
from segfold.models.object_context import AspOC, BaseOC, PyramidOC, conv_abn
from segfold.models.pyramid import FeaturePyramidAttention, PyramidPooling
from segfold.models.ranges import Channels, Dilation, Dropout, Parts
from segfold.schema import build

Dilations = Annotated[tuple[Dilation, ...], MinLen(1), MaxLen(16)]


@dataclass(frozen=True)
class Centre:
    """A centre and what the decoder has to know of it.

    Attributes:
        module: N×inputs×H×W to N×channels×H×W, or to half the height and width.
        channels: of its result.
        halves: whether it halves the size.
        drawn_last: its first weights are drawn after those of the rest of the network.
    """

    module: nn.Module
    channels: int
    halves: bool = False
    drawn_last: bool = False


def none(inputs: int) -> Centre:
    """The encoder's deepest feature goes to the decoder as it is."""
    return Centre(nn.Identity(), inputs)


PLAIN_CHANNELS = (512, 256)


def plain(inputs: int, channels: tuple[int, int] = PLAIN_CHANNELS, bias: bool = False) -> Centre:
    """Two conv-BN-ReLU and a max-pool, as in the fourth place of TGS salt (SeuTao)."""
    hidden, outputs = channels
    module = nn.Sequential(conv_bn_relu(inputs, hidden, bias), conv_bn_relu(hidden, outputs, bias), nn.MaxPool2d(2))
    return Centre(module, outputs, halves=True, drawn_last=True)


def dblock(inputs: int, *, dilations: Dilations = (1, 2, 4), channels: Channels = 512, pool: bool = False) -> Centre:
    """D-LinkNet's dilated block; a feature of more than ``channels`` is first reduced to them by 1×1-BN-ReLU.

    Args:
        inputs: channels that come in.
        dilations: dilations of the 3×3 convolutions in turn, in positions of the map.
        channels: most channels of the block.
        pool: a 2×2 max-pool behind it, so that the decoder begins one scale deeper.
    """
    narrow, width = _narrow(inputs, channels)
    return _pooled([*narrow, DBlock(width, dilations)], width, pool)


def base_oc(
    inputs: int, *, channels: Channels = 512, scales: Parts = (1,), dropout: Dropout = 0.05, pool: bool = True
) -> Centre:
    """OCNet's 3×3 to ``channels`` and base-OC, after the ninth place of TGS salt (tugstugi).

    There the result was also the deepest skip and what the image head saw; here both see the encoder's own feature.

    Args:
        inputs: channels that come in.
        channels: channels of the attention and of its result.
        scales: attention on the map made smaller by each of these; the contexts are summed.
        dropout: share of the result's channels dropped in training.
        pool: a 2×2 max-pool behind it, so that the decoder begins one scale deeper.
    """
    return _pooled([conv_abn(inputs, channels, 3), BaseOC(channels, scales, dropout)], channels, pool)


def pyramid_oc(
    inputs: int, *, channels: Channels = 512, sizes: Parts = (1, 2, 3, 6), dropout: Dropout = 0.05, pool: bool = True
) -> Centre:
    """OCNet's 3×3 to ``channels`` and pyramid-OC: attention within parts of the map, ``sizes`` a side.

    Args:
        inputs: channels that come in.
        channels: channels of each attention and of the result.
        sizes: parts a side of the map, for each attention.
        dropout: share of the result's channels dropped in training.
        pool: a 2×2 max-pool behind it, so that the decoder begins one scale deeper.
    """
    return _pooled([conv_abn(inputs, channels, 3), PyramidOC(channels, sizes, dropout)], channels, pool)


def asp_oc(
    inputs: int,
    *,
    channels: Channels = 256,
    dilations: Annotated[tuple[Dilation, ...], MaxLen(16)] = (2, 4, 6),
    dropout: Dropout = 0.1,
    pool: bool = True,
) -> Centre:
    """OCNet's 3×3 and ASP-OC, ``channels`` a branch and twice as many of the result.

    A U-Net's deepest map has 4 to 16 positions a side, where the published dilations 12, 24, 36 see only padding.

    Args:
        inputs: channels that come in.
        channels: channels of each branch, half of the result's.
        dilations: dilations of the 3×3 branches, in positions of the map.
        dropout: share of the result's channels dropped in training.
        pool: a 2×2 max-pool behind it, so that the decoder begins one scale deeper.
    """
    wide = 2 * channels
    return _pooled([conv_abn(inputs, wide, 3), AspOC(wide, channels, dilations, dropout)], wide, pool)


def psp(inputs: int, *, bins: Parts = (1, 2, 3, 6), channels: Channels = 256, pool: bool = False) -> Centre:
    """Pyramid pooling and a 3×3 to ``channels``, as in the fifteenth place of TGS salt (adam9500370).

    Args:
        inputs: channels that come in.
        bins: cells a side of each grid of means.
        channels: channels of the result.
        pool: a 2×2 max-pool behind it, so that the decoder begins one scale deeper.
    """
    pooling = PyramidPooling(inputs, bins)
    fuse = conv_bn(pooling.outputs, channels, 3, nn.ReLU(inplace=True))
    return _pooled([pooling, fuse], channels, pool)


def fpa(inputs: int, *, channels: Channels = 256, width: Channels = 512, pool: bool = True) -> Centre:
    """Feature pyramid attention, as in the first place of TGS salt (phalanx).

    Args:
        inputs: channels that come in.
        channels: channels of the result.
        width: most channels inside the block, to which a feature of more is first reduced by 1×1-BN-ReLU: the
            block's weights grow with the square of its width (13.6 million at 512, 161 million at the 2048 of the
            larger encoders).
        pool: a 2×2 max-pool behind it, so that the decoder begins one scale deeper.
    """
    narrow, inside = _narrow(inputs, width)
    return _pooled([*narrow, FeaturePyramidAttention(inside, channels)], channels, pool)


CENTRES: dict[str, Callable[..., Centre]] = {
    "none": none,
    "plain": plain,
    "dblock": dblock,
    "base_oc": base_oc,
    "pyramid_oc": pyramid_oc,
    "asp_oc": asp_oc,
    "psp": psp,
    "fpa": fpa,
}

CentreChoice = str | Mapping[str, Mapping[str, Any] | None]
"""A centre's name, or its name with its settings; names with ``None`` are not used."""


def build_centre(centre: CentreChoice, inputs: int, channels: tuple[int, int], bias: bool) -> Centre:
    """The chosen centre for ``inputs`` channels; ``channels`` and ``bias`` are those of ``plain``.

    Raises:
        SegfoldError: no or several names, or one that is not in ``CENTRES``; ``channels`` for a centre that does not
            read them.
    """
    chosen = {centre: {}} if isinstance(centre, str) else {k: v for k, v in centre.items() if v is not None}
    known = ", ".join(CENTRES)
    if len(chosen) != 1:
        raise SegfoldError(f"model.centre names {len(chosen)} centres ({', '.join(chosen)}); name one of {known}")
    name, settings = next(iter(chosen.items()))
    if name not in CENTRES:
        raise SegfoldError(f"model.centre is {name!r}; it must be one of {known}")
    if name == "plain":
        return plain(inputs, channels, bias)
    if tuple(channels) != PLAIN_CHANNELS:
        raise SegfoldError(
            f"model.centre_channels is for centre plain, but the centre is {name}; leave it out, or see the settings of {name}"
        )
    return build(f"model.centre.{name}", CENTRES[name], settings or {}, inputs)


def _narrow(inputs: int, width: int) -> tuple[list[nn.Module], int]:
    """What brings ``inputs`` channels down to ``width``, if they are more, and how many there are then."""
    if inputs <= width:
        return [], inputs
    return [conv_bn(inputs, width, 1, nn.ReLU(inplace=True))], width


def _pooled(parts: list[nn.Module], channels: int, pool: bool) -> Centre:
    module = nn.Sequential(*parts, *([nn.MaxPool2d(2)] if pool else []))
    return Centre(module, channels, halves=pool)
