"""A network without padding on a large image: by tiles that share their margins, against the whole image with its border."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.large_images import large_split, make_competition
from benchmarks.measure import Effort, Row, interleave, rate, spread
from benchmarks.prediction import on_device
from benchmarks.workload import gmacs
from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.view import Tiling
from segfold.data.images import ImageSet
from segfold.inference.manner import PredictionSettings
from segfold.inference.predict import predict
from segfold.machine import Runtime, resolve
from segfold.models import build_model, margin_of, sides_of
from segfold.settings import Machine

NAME = "valid"
SIDE, TILE, OVERLAP = 1536, 572, 4
"""Tiles of the paper's size say something of 388 pixels a side and begin every 384."""

MODEL, WIDTH = "unet_original", 16
CLOSE = 1e-5
"""By how much a probability of tiles may differ from the whole image's, both in float32."""

SHARE = 0.9
"""Tiles may lose a tenth beside what they compute twice."""


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    side = effort.side(SIDE, 512)
    make_competition(folder, NAME, test=[side])
    images = large_split(folder, NAME, "test")
    runtime = resolve(Machine())
    torch.manual_seed(0)
    network = on_device(build_model(MODEL, 1, 1, width=effort.size(WIDTH, 2)), runtime)
    nn.init.normal_(network.get_parameter("last.weight"))  # so that probabilities are not all near one half

    def ours(how: Runtime = runtime) -> np.ndarray:
        (found,) = predict(network, images, np.array([0]), by_tiles(how))
        return found.planes[0]

    def peer(how: Runtime = runtime) -> np.ndarray:
        return whole(network, images, how)

    exact = replace(runtime, precision="fp32")
    apart = float(np.abs(ours(exact) - peer(exact)).max())
    assert apart <= CLOSE, f"tiles are {apart:.1e} apart from the whole image"
    ours(), peer()
    times = interleave({"ours": ours, "peer": peer}, least=effort.least(3), seconds=effort.seconds(40))
    tiles = len(by_tiles(runtime).plan.views((side, side)))
    share = (input_side(side) / TILE) ** 2 / tiles
    how = (
        f"{side:,}² of 16 bits, {tiles} tiles of {TILE}² that say something of {TILE - 2 * margin()}², one at a time, "
        f"{runtime.precision}, {runtime.threads} threads; probabilities in fp32 within {apart:.0e}"
    )
    seen = f"tiles see {1 / share:.2f} times the whole image's pixels, {gmacs(network, TILE, 1):.1f} GMACs a tile"
    tiled, at_once = (rate(1, times[name]) for name in ("ours", "peer"))
    unit, notes = f"images/s of {side:,}²", (how, spread(times), seen)
    return [Row("overlap-tiles", tiled, at_once, unit, round(SHARE * share, 3), notes=notes)]


def margin() -> int:
    """Of the network, in pixels."""
    return margin_of(MODEL, {})


def by_tiles(runtime: Runtime) -> PredictionSettings:
    """Tiles of which neighbours share little more than their margins."""
    sizing = Sizing(TILE, TILE, margin=margin())
    return PredictionSettings(sizing, runtime, batch_size=1, tiles=Tiling((TILE, TILE), OVERLAP))


def input_side(side: int) -> int:
    """The least that the network takes and that an image of this side lies in, with a margin around it."""
    smallest, step = sides_of(MODEL, {})
    return smallest + max(0, -(-(side + 2 * margin() - smallest) // step)) * step


@torch.inference_mode()
def whole(network: nn.Module, images: ImageSet, runtime: Runtime) -> np.ndarray:
    """H×W probabilities of the first image, mirrored at its edges, in one pass."""
    pixels = images.images[0][..., 0].astype(np.float32) / 257
    side = len(pixels)
    more = input_side(side) - side - margin()
    bordered = torch.from_numpy(np.pad(pixels, (margin(), more), mode="reflect"))[None, None].to(runtime.device)
    with runtime.autocast():
        logits = network(bordered).logits
    return logits.float().sigmoid()[0, 0, :side, :side].cpu().numpy()
