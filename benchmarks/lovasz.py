"""The Lovász hinge, forward and backward, on one thread in float32."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import Effort, Row, interleave, rate, spread
from benchmarks.peers import smp_lovasz
from segfold.demo.synthetic import areas_of, draw_mask
from segfold.losses import Lovasz

IMAGES, SIDE = 16, 128
ROUNDS = 21
CPU_TARGET, GPU_TARGET = 2.5, 4.0


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    found = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, per_image in (("lovasz", True), ("lovasz-batch", False)):
        found.append(_row(name, torch.device("cpu"), per_image, CPU_TARGET, effort))
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        found.append(_row("lovasz-gpu", torch.device("cuda"), True, GPU_TARGET, effort))
    else:
        print("lovasz-gpu: n/a here, no GPU")
    return found


def batch(device: torch.device, images: int = IMAGES) -> tuple[Tensor, Tensor]:
    """Normal logits, nearly all of which the loss must sort, and masks of salt; N×1×H×W float32."""
    rng = np.random.default_rng(0)
    areas, _ = areas_of(images, rng)
    drawn = [cv2.resize(draw_mask(rng, int(area)), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) for area in areas]
    masks = torch.from_numpy(np.stack(drawn)[:, None].astype(np.float32))
    logits = torch.from_numpy(rng.standard_normal(masks.shape).astype(np.float32))
    return logits.to(device), masks.to(device)


def forward_backward(logits: Tensor, masks: Tensor, per_image: bool) -> Tensor:
    """Ours: the loss; leaves its gradient in ``logits.grad``."""
    loss = Lovasz(per_image=per_image)
    value = loss.value(loss.sums(logits, masks))
    value.backward()
    return value.detach()


def check(logits: Tensor, masks: Tensor, per_image: bool) -> None:
    """Asserts that loss and gradient are the peer's."""
    outcomes = []
    for function in (forward_backward, smp_lovasz.forward_backward):
        z = logits.clone().requires_grad_()
        outcomes.append((function(z, masks, per_image), z.grad))
    for mine, theirs in zip(*outcomes):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)


def _row(name: str, device: torch.device, per_image: bool, target: float, effort: Effort) -> Row:
    logits, masks = batch(device)
    check(logits, masks, per_image)

    def run(function: Callable[[Tensor, Tensor, bool], Tensor]) -> Callable[[], None]:
        def once() -> None:
            function(logits.detach().requires_grad_(), masks, per_image)
            if device.type == "cuda":
                torch.cuda.synchronize()

        return once

    things = {"ours": run(forward_backward), "peer": run(smp_lovasz.forward_backward)}
    for thing in things.values():
        thing()
    times = interleave(things, least=effort.least(ROUNDS), seconds=effort.seconds(2))
    return Row(
        name,
        rate(1, times["ours"]),
        rate(1, times["peer"]),
        f"batches/s of {IMAGES}×{SIDE}²",
        target,
        notes=(spread(times),),
    )
