"""Images predicted by their proposals, against the network's forward pass alone, and against a loop over the boxes."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch import nn

from benchmarks.measure import Effort, Row, interleave, rate, spread
from benchmarks.peers import box_by_box
from benchmarks.prediction import on_device
from benchmarks.workload import gmacs
from segfold.data.geometry.boxes import BestBoxes
from segfold.data.geometry.sizing import Sizing
from segfold.data.images import ImageSet
from segfold.data.pixel_store import PixelStore
from segfold.data.proposals import Proposals
from segfold.inference.manner import USUAL_PIXELS, PredictionSettings
from segfold.inference.predict import predict
from segfold.machine import Runtime, resolve
from segfold.models import build_model
from segfold.resize import Shape
from segfold.settings import Machine
from segfold.settings.boxes import PredictedBoxes
from segfold.settings.boxes import Proposals as ProposalSettings
from segfold.tasks import Multiclass

SHAPE = 375, 500
IMAGES, BOXES, CLASSES = 2, 50, 21
SIZE = 128
NETWORK = {"width": 32, "fc_width": 512, "fc_kernel": 4, "weights": "none"}
SMOOTH = {"encoder": "resnet18", "weights": "none", "decoder_channels": 8}
"""Of the U-Net that the loop's probabilities are compared by: where a DeconvNet's pools find two values alike, the rounding of
larger batches moves its answer by pixels."""
QUICK = {"width": 2, "fc_width": 8, "fc_kernel": 2, "weights": "none"}

OF_LIMIT, OF_LOOP = 0.8, 1.0
CLOSE = 1e-4
"""By how much a probability of the U-Net may differ from the loop's, both in float32."""


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    size, count = effort.size(SIZE, 64), effort.size(IMAGES, 2)
    best = BestBoxes(**PredictedBoxes(count=effort.size(BOXES, 4)).model_dump())
    images, runtime = scenes(count), resolve(Machine())
    source = Proposals(images, ProposalSettings().search)
    source.prepare(range(count))
    torch.manual_seed(0)
    settings = QUICK if effort.quick else NETWORK
    network, smooth = (
        on_device(settled(build_model(name, 3, CLASSES, **chosen), images, size), runtime)
        for name, chosen in (("deconvnet", settings), ("unet", SMOOTH))
    )
    windows = [best.windows(source.of(row)[0], SHAPE) for row in range(count)]
    inputs = sum(1 + len(each) for each in windows)
    batch = USUAL_PIXELS // size**2
    manner = PredictionSettings(
        Sizing(size, size, "resize", "zero"), runtime, batch_size=batch, values="logits", merge="max", boxes=best
    )

    def ours(model: nn.Module = network, how: Runtime = runtime) -> list[np.ndarray]:
        found = predict(model, images, np.arange(count), replace(manner, runtime=how), boxes=source)
        return [each.planes for each in found]

    def peer(model: nn.Module = network, how: Runtime = runtime) -> list[np.ndarray]:
        return [box_by_box.predict(model, images.images[row], windows[row], size, how) for row in range(count)]

    limit = partial(forward, network, inputs, batch, size, runtime)
    exact = replace(runtime, precision="fp32")
    apart = max(
        float(np.abs(one - other).max()) for one, other in zip(ours(smooth, exact), peer(smooth, exact), strict=True)
    )
    assert apart <= CLOSE, f"probabilities are {apart:.1e} apart from the loop's"
    ours(), peer(), limit()
    times = interleave({"ours": ours, "peer": peer, "limit": limit}, least=effort.least(3), seconds=effort.seconds(120))
    mine, loop, alone = (rate(count, times[name]) for name in ("ours", "peer", "limit"))
    unit = f"images/s of {SHAPE[0]}×{SHAPE[1]}, {inputs / count:.0f} inputs of {size}² each"
    how = (
        f"DeconvNet of width {settings['width']}, {CLASSES} classes, {gmacs(network, size):.2f} GMACs an input, "
        f"{runtime.precision}, {runtime.threads} threads, {batch} inputs at once; a U-Net's probabilities in fp32 within {apart:.0e}"
    )
    return [
        Row("boxes-forward", mine, alone, unit, OF_LIMIT, notes=(how, spread(times, peer="limit"))),
        Row("boxes-loop", mine, loop, unit, OF_LOOP, notes=(spread(times),)),
    ]


@torch.inference_mode()
def forward(network: nn.Module, inputs: int, batch: int, size: int, runtime: Runtime) -> None:
    """The network alone on so many inputs, and its logits on the CPU."""
    for first in range(0, inputs, batch):
        pixels = torch.zeros(min(batch, inputs - first), 3, size, size, dtype=torch.uint8, device=runtime.device)
        with runtime.autocast():
            network(pixels.contiguous(memory_format=torch.channels_last))


@torch.no_grad()
def settled(network: nn.Module, images: ImageSet, size: int) -> nn.Module:
    """With the batch norms' statistics of the images, without which all logits of a fresh network are alike."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
    sizing = Sizing(size, size, "resize")
    seen = [torch.from_numpy(sizing.image(image)).permute(2, 0, 1) for image in images.images]
    network.train()
    network(torch.stack(seen))
    return network.eval()


def scenes(count: int, shape: Shape = SHAPE) -> ImageSet:
    """Pictures of discs and rectangles of many sizes on a rough ground, seeded."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        image = cv2.GaussianBlur(rng.normal(110, 25, (*shape, 3)).astype(np.float32), (0, 0), 2)
        for _ in range(12):
            colour = tuple(map(float, rng.integers(20, 235, 3)))
            row, column = (int(rng.integers(side)) for side in shape)
            half = int(rng.integers(8, 90))
            if rng.random() < 0.5:
                cv2.circle(image, (column, row), half, colour, -1)
            else:
                corner = column + half, row + int(half * rng.uniform(0.4, 1.6))
                cv2.rectangle(image, (column - half, row - half), corner, colour, -1)
        found.append(image.clip(0, 255).astype(np.uint8))
    ids = np.array([f"{number:03}" for number in range(count)], object)
    return ImageSet(
        ids=ids,
        images=PixelStore(
            np.concatenate([image.ravel() for image in found]), np.array([image.shape for image in found])
        ),
        masks=None,
        extra=pd.DataFrame(index=ids),
        fingerprint="",
        coverage=np.full(count, np.nan),
        groups=None,
        constant=np.zeros(count, bool),
        task=Multiclass([f"class {number}" for number in range(CLASSES)]),
    )
