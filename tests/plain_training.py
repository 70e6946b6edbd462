"""A plain loop of torch with its own network, loss and batches.

Of the product it takes the weights that the training begins with, and which images came in which batch.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segfold.training.loop import Loop
from small_project import fold_job, train

PLAIN = (
    "ema=null",
    "clip=null",
    "augment.hflip=null",
    "input.random_offset=false",
    "stages.lovasz.epochs=0",
    "model.dropout=0",
    "stages.warm.schedule=constant",
    "optimizer={sgd: {momentum: 0.9, weight_decay: 1.0e-4}}",
)
"""No average, no clipping, no chance, one stage at a constant rate: what is left is the option under test. SGD, because Adam
makes steps of full length of gradients that are rounding alone."""

SIDE, TOP, LEFT, HEIGHT, WIDTH = 32, 2, 3, 28, 26
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class PlainUNet(nn.Module):
    """A U-Net on timm's features: bilinear steps with skips, two convolutions each, a 1×1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = timm.create_model("test_resnet", features_only=True)
        *skips, below = self.encoder.feature_info.channels()
        self.decoder = nn.ModuleList()
        for skip in [*skips[::-1], 0]:
            self.decoder.append(nn.ModuleDict({"conv1": conv(below + skip, 8), "conv2": conv(8, 8)}))
            below = 8
        self.pixels = nn.ModuleDict({"levels": nn.ModuleList([nn.Conv2d(8, 1, 1)])})

    def forward(self, pixels: Tensor) -> Tensor:
        mean, std = (255 * torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        *skips, x = self.encoder((pixels.float() - mean) / std)
        for block, skip in zip(self.decoder, [*skips[::-1], None]):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = x if skip is None else torch.cat([x, skip], dim=1)
            x = block["conv2"](block["conv1"](x))
        return self.pixels["levels"][0](x)


def named(network: nn.Module) -> dict[str, Tensor]:
    """State of a plain network under the names that a run's weights file has."""
    return {name.replace("encoder.", "encoder.net."): tensor for name, tensor in network.state_dict().items()}


def bce_and_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Both by image, over the image without its border; then the mean over images."""
    return whole_bce_and_dice(*(x[:, :, TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH] for x in (logits, target)))


def whole_bce_and_dice(logits: Tensor, target: Tensor) -> Tensor:
    z, y = logits.flatten(1), target.flatten(1)
    p = z.sigmoid()
    dice = 1 - (2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1)
    return F.binary_cross_entropy_with_logits(z, y) + dice.mean()


def read(project: Path, name: str) -> tuple[Tensor, Tensor]:
    """An image and its mask from their PNG files, padded to the network's size by reflection and zeros."""
    folder = project / "data/small/train"
    image = cv2.imread(str(folder / "images" / f"{name}.png"))[:, :, ::-1]
    mask = cv2.imread(str(folder / "masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED) > 0
    border = (TOP, SIDE - TOP - HEIGHT, LEFT, SIDE - LEFT - WIDTH)
    image = cv2.copyMakeBorder(np.ascontiguousarray(image), *border, cv2.BORDER_REFLECT_101)
    mask = cv2.copyMakeBorder(mask.astype(np.float32), *border, cv2.BORDER_CONSTANT)
    return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask)[None]


def reference(
    job,  # type: ignore[no-untyped-def]
    optimizer_of: Callable[[nn.Module], torch.optim.Optimizer],
    rate: Callable[[int], float],
    before_epoch: Callable[[int, nn.Module], None] = lambda epoch, network: None,
    after_epoch: Callable[[int, nn.Module], None] = lambda epoch, network: None,
    after_step: Callable[[int, nn.Module], None] = lambda step, network: None,
    before_step: Callable[[nn.Module], None] = lambda network: None,
    loss: Callable[[Tensor, Tensor], Tensor] = bce_and_dice,
) -> dict[str, np.ndarray]:
    """The first stage of a trained job; ``rate`` gives the learning rate of a step."""
    torch.manual_seed(job.seed)
    first = job.network().state_dict()
    network = PlainUNet().to(memory_format=torch.channels_last)
    with torch.no_grad():
        for name, tensor in named(network).items():
            tensor.copy_(first[name])
    optimizer = optimizer_of(network)
    step = 0
    for epoch in range(job.stages[0].epochs):
        network.train()
        before_epoch(epoch, network)
        for image, target in epoch_batches(job, epoch):
            for group in optimizer.param_groups:
                group["lr"] = rate(step) * group.get("factor", 1.0)
            total = loss(network(image), target)
            optimizer.zero_grad()
            total.backward()
            before_step(network)
            optimizer.step()
            step += 1
            after_step(step, network)
        after_epoch(epoch, network)
    return {name: tensor.numpy().copy() for name, tensor in named(network).items()}


def epoch_batches(job, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:  # type: ignore[no-untyped-def]
    """The images that the training drew, read anew. Each is of the training rows and comes at most once an epoch."""
    steps = job.stages[0].steps
    drawn = DRAWN[str(job.folder.path)][epoch * steps : (epoch + 1) * steps]
    rows = [row for batch in drawn for row in batch]
    assert len(drawn) == steps and len(set(rows)) == len(rows) == steps * 4
    assert set(rows) <= set(np.flatnonzero(job.folds != job.fold).tolist())
    for batch in drawn:
        pairs = [read(job.home, str(job.images.ids[row])) for row in batch]
        image, target = (torch.stack(parts) for parts in zip(*pairs))
        yield image.to(memory_format=torch.channels_last), target


DRAWN: dict[str, list[list[int]]] = {}
"""Rows of each batch that a training took, by its folder."""


def trained(project: Path, run: str, *overrides: str):  # type: ignore[no-untyped-def]
    job = fold_job(project, *PLAIN, *overrides, run=run)
    drawn = DRAWN[str(job.folder.path)] = []
    step = Loop.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Loop, "step", lambda self, batch, *rest: drawn.append(batch["row"].tolist()) or step(self, batch, *rest)
        )
        train(job)
    return job


def close(found: dict[str, np.ndarray], plain: dict[str, np.ndarray], tolerance: float = 1e-4) -> bool:
    """Whether a weights file is what the plain loop ended with; of its own it has the normalisation alone."""
    assert found.keys() - plain.keys() == {"encoder.input.mean", "encoder.input.std"} and plain.keys() <= found.keys()
    return all(np.allclose(found[k], plain[k], rtol=tolerance, atol=tolerance) for k in plain)


def sgd(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), momentum=0.9, weight_decay=1e-4)
