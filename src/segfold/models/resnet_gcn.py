"""ResNet-GCN: ResNet50 with large kernels in its last two stages, known to timm by name once this is imported.

No one has published its weights; a classifier that timm trains gives them, for ``model.weights=PATH``.
"""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn

_FORMS = {256: (5, 85), 512: (7, 128)}
"""By a quarter of a stage's channels: length of its kernels, and channels between its convolutions."""

default_cfgs = generate_default_cfgs(
    {
        "resnet50_gcn": {
            "num_classes": 1000,
            "input_size": (3, 224, 224),
            "pool_size": (7, 7),
            "crop_pct": 0.875,
            "interpolation": "bilinear",
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "first_conv": "conv1",
            "classifier": "fc",
        }
    }
)
"""timm looks here for what a model expects of its images: of this one what it expects of every ResNet."""


class GCNBottleneck(nn.Module):
    """ResNet's block with (1×k → k×1) + (k×1 → 1×k) in place of its 1×1 and 3×3, a norm and a ReLU after each convolution.

    Each convolution of a branch divides the axis along which it is long by the stride.

    Args:
        inplanes: channels of the input.
        planes: a quarter of those of the result; the stages of 256 and 512 are known.
        stride: 1 or 2.
        downsample: what brings the input to the shape of the result; None where it has it.
        cardinality: 1; here, as below, timm passes what its own blocks know.
        base_width: 64.
        reduce_first: 1.
        dilation: of all convolutions but a stage's first block's, which have ``first_dilation``.
        act_layer: in place of the ReLU.
        norm_layer: in place of batch norm.
        aa_layer: None.
        drop_block: behind the sum of the branches.
        drop_path: stochastic depth.
        device: of the tensors.
        dtype: of the tensors.

    Raises:
        ValueError: a variant of ResNet that this block has no form for.

    Reference:
        Peng et al., Large Kernel Matters, arXiv 1703.02719, figure 5 and table 11.
    """

    expansion = 4

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        cardinality: int = 1,
        base_width: int = 64,
        reduce_first: int = 1,
        dilation: int = 1,
        first_dilation: int | None = None,
        act_layer: type[nn.Module] = nn.ReLU,
        norm_layer: type[nn.Module] = nn.BatchNorm2d,
        aa_layer: type[nn.Module] | None = None,
        drop_block: type[nn.Module] | None = None,
        drop_path: nn.Module | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if (cardinality, base_width, reduce_first, aa_layer) != (1, 64, 1, None) or planes not in _FORMS:
            raise ValueError("ResNet-GCN has no groups, other widths, reduced first convolutions or anti-aliasing")
        kernel, middle = _FORMS[planes]
        outputs = planes * self.expansion
        where = {"device": device, "dtype": dtype}
        rate = first_dilation or dilation

        def long(inputs: int, vertical: bool) -> list[nn.Module]:
            pairs = ((kernel, 1), (stride, 1), (rate * (kernel // 2), 0), (rate, 1))
            size, step, padding, apart = (pair if vertical else pair[::-1] for pair in pairs)
            conv = nn.Conv2d(inputs, middle, size, step, padding, apart, bias=False, **where)
            return [conv, norm_layer(middle, **where), act_layer(inplace=True)]

        self.left = nn.Sequential(*long(inplanes, False), *long(middle, True))
        self.right = nn.Sequential(*long(inplanes, True), *long(middle, False))
        self.drop_block = nn.Identity() if drop_block is None else drop_block()
        self.conv3 = nn.Conv2d(middle, outputs, 1, bias=False, **where)
        self.bn3 = norm_layer(outputs, **where)
        self.drop_path = nn.Identity() if drop_path is None else drop_path
        self.downsample = nn.Identity() if downsample is None else downsample
        self.act3 = act_layer(inplace=True)

    def zero_init_last(self) -> None:
        """The block starts as the identity; timm calls this."""
        nn.init.zeros_(self.bn3.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """N×inplanes×H×W to N×4·planes×H/stride×W/stride."""
        found = self.bn3(self.conv3(self.drop_block(self.left(x) + self.right(x))))
        return self.act3(self.drop_path(found) + self.downsample(x))


@register_model
def resnet50_gcn(pretrained: bool = False, **settings: Any) -> nn.Module:
    """ResNet50-GCN of the paper's table 11, as timm makes its models."""
    blocks = (Bottleneck, Bottleneck, GCNBottleneck, GCNBottleneck)
    network: nn.Module = build_model_with_cfg(
        ResNet, "resnet50_gcn", pretrained, **{"block": blocks, "layers": (3, 4, 6, 3), **settings}
    )
    return network
