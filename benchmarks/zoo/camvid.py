"""CamVid: decoders on one small encoder, and networks that can only begin with random weights, all trained alike."""

from benchmarks.zoo.systems import HOME, RANDOM, Comparison, Start, System
from segfold.resize import Shape

CONFIG = "camvid-lite0.yaml"
"""Augmentation, loss, batch size and average of all systems; its model is the default."""

DEFAULT = "unet"
STAGE, OTHER_STAGE = "all", "mean"
"""The one stage that is trained, and the one that is left out."""

IMAGE = (360, 480)
"""Height and width of CamVid's images: as large an input pads them, a smaller one is what they are stretched to."""

LITE0, LITE2, VGG = "tf_efficientnet_lite0", "tf_efficientnet_lite2", "vgg16_bn"
_AUXILIARY = ("model.heads.auxiliary=true", f"stages.{STAGE}.loss.heads.auxiliary={{weight: 0.4, over: all}}")
# On so small images a border of 100 would be most of what the network looks at; 75 is enough around all of their pixels.
_FCN_8S = ("model.name=fcn", "model.fc_width=512", "model.pad=75")
ENCODERS: dict[str, tuple[str, tuple[str, ...]]] = {
    DEFAULT: (LITE0, ()),
    "unet, lite2": (LITE2, ()),
    "fcn head at stride 8": (LITE0, ("model.name=fcn_dilated",)),
    "fcn-8s' skips": (LITE0, ("model.name=fcn_skips",)),
    "gcn": (LITE0, ("model.name=gcn", "model.kernel=map", "model.map_side=96")),
    "linknet": (LITE0, ("model.name=linknet",)),
    "fcn-8s, vgg16-bn": (VGG, _FCN_8S),
}
"""Name → encoder, whose weights come from a file, and the model's settings."""

FROM_RANDOM: dict[str, tuple[str, ...]] = {
    "unet-s5-d16": ("model.name=unet_s5_d16", "model.weights=none", *_AUXILIARY),
    "unet-original": ("model.name=unet_original",),
    "fcn-r50-d8": ("model.name=fcn_dilated", "model.encoder=resnet50c", "model.weights=none", *_AUXILIARY),
    "fc-densenet56": (
        "model.name=fc_densenet",
        "model.layers=[4, 4, 4, 4, 4]",
        "model.bottleneck=4",
        "model.growth=12",
    ),
    "fc-densenet103": ("model.name=fc_densenet",),
}
"""Name → settings of models for which there are no weights here."""


def systems(start: Start = RANDOM) -> list[System]:
    """All systems that begin so; what lacks its encoder's file says so."""
    found = []
    for name, (encoder, changes) in ENCODERS.items():
        weights = start.of(encoder)
        missing = "" if weights else f"no weights of {encoder}: give their file, or its folder, by weights=PATH"
        overrides = (*changes, f"model.encoder={encoder}", f"model.weights={weights or 'none'}")
        found.append(System(name, CONFIG, overrides, pretrained=True, missing=missing))
    return [*found, *(System(name, CONFIG, changes) for name, changes in FROM_RANDOM.items())]


def common(size: Shape, images: int, epochs: int) -> list[str]:
    """Overrides of any system: one stage at one size."""
    whole = all(side >= of_image for side, of_image in zip(size, IMAGE))
    return [
        f"input.size={list(size)}",
        f"input.fit={'pad' if whole else 'resize'}",
        f"sample.images={images}",
        f"stages.{STAGE}.epochs={epochs}",
        f"stages.{OTHER_STAGE}.epochs=0",
    ]


CAMVID = Comparison(
    competition="camvid",
    command="make zoo competition=camvid",
    results=HOME / "benchmarks" / "zoo-camvid.json",
    default=DEFAULT,
    systems=systems,
    common=common,
    size=(96, 128),
    minutes=10.0,
    minutes_random=3.0,
    batch=4,
)
