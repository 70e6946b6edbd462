"""A large image predicted by tiles into a store, against the bare network on the same tiles, which lie in memory."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.large_images import experiment, large_split, make_competition
from benchmarks.measure import Effort, Row, interleave, rate, spread
from benchmarks.prediction import on_device
from benchmarks.tiles import NAME, TILE, wanted
from benchmarks.workload import gmacs
from segfold.data.images import ImageSet
from segfold.inference.networks import build_network
from segfold.inference.stored import store_predictions
from segfold.machine import Runtime, resolve
from segfold.store import ProbabilityStore, to_codes
from segfold.tasks import FOREGROUND

SIDE, BATCH = 2048, 4
NETWORK = "model={encoder: resnet34, decoder_channels: 64, finest_stride: 1}"
"""The encoder and the width of the decoder that are the defaults. Beside a lighter network, the milliseconds that are
added to a tile weigh more."""

TARGET = 0.95


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    side = effort.size(SIDE, 2 * TILE)
    make_competition(folder, NAME, test=[side])
    images = large_split(folder, NAME, "test")
    settings = (f"input.crop={TILE}", "predict.tiles.overlap=0", f"predict.batch_size={BATCH}")
    chosen = experiment(folder, NAME, *settings, NETWORK)
    runtime = resolve(chosen.machine)
    torch.manual_seed(0)
    network = on_device(build_network(chosen, 1, FOREGROUND), runtime)
    numbers = count()

    def ours() -> ProbabilityStore:
        place = wanted(folder, chosen, images, 0, f"round{next(numbers)}")
        return store_predictions(place, network, "none", "model", runtime)

    batches = ready(images, side, runtime)

    def peer() -> list[Tensor]:
        return bare(network, batches, runtime)

    check(ours(), peer(), side)
    times = interleave({"ours": ours, "peer": peer}, least=effort.least(3), seconds=effort.seconds(40))
    tiles = (side // TILE) ** 2
    ours_rate, bare_rate = (rate(tiles, times[name]) for name in ("ours", "peer"))
    how = (
        f"{side:,}² of 16 bits from the mapped cache, {tiles} tiles of {TILE}², {BATCH} at a time, {runtime.precision}, "
        f"{runtime.threads} threads; stored bit for bit what the bare network says"
    )
    added = f"{1000 * (1 / ours_rate - 1 / bare_rate):.1f} ms a tile are added to the network's {1000 / bare_rate:.0f}"
    unit = f"tiles/s, {gmacs(network, TILE, 1):.1f} GMACs"
    return [Row("tiles-network", ours_rate, bare_rate, unit, TARGET, notes=(how, spread(times), added))]


def ready(images: ImageSet, side: int, runtime: Runtime) -> list[Tensor]:
    """Batches of the tiles of the first image, from left to right and from top to bottom, as the network takes them."""
    whole = images.images[0].astype(np.float32) / 257
    tiles = [
        torch.from_numpy(np.ascontiguousarray(whole[top : top + TILE, left : left + TILE, 0]))[None]
        for top in range(0, side, TILE)
        for left in range(0, side, TILE)
    ]
    return [
        torch.stack(tiles[place : place + BATCH]).to(runtime.device, memory_format=torch.channels_last)
        for place in range(0, len(tiles), BATCH)
    ]


@torch.inference_mode()
def bare(network: nn.Module, batches: Sequence[Tensor], runtime: Runtime) -> list[Tensor]:
    """The logits of each batch, on the CPU."""
    with runtime.autocast():
        return [network(pixels).logits.cpu() for pixels in batches]


def check(store: ProbabilityStore, logits: Sequence[Tensor], side: int) -> None:
    """Asserts that the store holds what the bare network says, to the bit."""
    tiles = torch.cat(list(logits)).float().sigmoid().numpy()[:, 0]
    across = side // TILE
    whole = tiles.reshape(across, across, TILE, TILE).transpose(0, 2, 1, 3).reshape(side, side)
    wrong = int((store.codes(0)[0] != to_codes(whole)).sum())
    assert wrong == 0, f"{wrong} of {side * side} probabilities differ"
