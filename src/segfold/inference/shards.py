"""One process's share of a prediction, and what has become of the whole."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from torch import nn

from segfold.inference.manner import PredictionSettings
from segfold.inference.stored import StoredImages, predict_named, unit_starts, write_predictions
from segfold.machine import Runtime
from segfold.observer import SILENT, Observer
from segfold.store import Shard, StoreWriter, open_store, remove_shards
from segfold.store.shards import held, list_digest, shares

THERE, JOINED, PREDICTED = "was there", "joined", "predicted"
_SHOWN = 6


class WeightsFile(NamedTuple):
    """A named set of weights, and the sha256 of its file."""

    name: str
    digest: str


@dataclass(frozen=True)
class ShardedImages:
    """Some images of which shards are to be predicted with a set of weights.

    Attributes:
        whole: all of them.
        starts: places among them at which those begin that are predicted together.
    """

    whole: StoredImages
    weights: WeightsFile
    starts: np.ndarray
    count: int

    def part(self, shard: Shard) -> StoredImages:
        """The images of a shard; none where there are fewer units than shards."""
        return replace(self.whole, rows=self.whole.rows[self._bounds[shard.number - 1] : self._bounds[shard.number]])

    @cached_property
    def _bounds(self) -> np.ndarray:
        shapes = self.whole.images.images.shapes[self.whole.rows]
        return shares(self.count, self.starts, shapes[:, :2].prod(axis=1))

    def writer(self, shard: Shard, starts: np.ndarray) -> StoreWriter:
        """Of a shard's store."""
        part = self.part(shard)
        folder = shard.folder(self.whole.place(self.weights.name), self.whole.split)
        return StoreWriter(folder, self.whole.split, part.ids, part.shapes, self._meta(shard), starts=starts)

    def _meta(self, shard: Shard) -> dict[str, object]:
        return shard.meta(self.whole.meta(self.weights.digest), self._listed)

    @cached_property
    def _listed(self) -> str:
        return list_digest(self.whole.ids)

    def finished(self, shard: Shard) -> bool:
        """Whether all of a shard's images are predicted."""
        part = self.part(shard)
        if not len(part.rows):
            return True
        store = open_store(
            shard.folder(self.whole.place(self.weights.name), self.whole.split), self.whole.split, self._meta(shard)
        )
        return store is not None and np.array_equal(store.ids, part.ids)

    def state(self, shard: Shard) -> str:
        """Of a shard that is finished, for people: which others are not."""
        others = [Shard(number, self.count) for number in range(1, self.count + 1) if number != shard.number]
        missing = [str(other.number) for other in others if not self.finished(other)]
        text = f"shard {shard} {'done' if len(self.part(shard).rows) else 'is empty'}"
        if missing:
            text += f", waits for {', '.join(missing[:_SHOWN])}"
        return text + (f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")


def predict_missing(
    wanted: StoredImages,
    weights: WeightsFile,
    network_of: Callable[[StoredImages], nn.Module],
    runtime: Runtime,
    observer: Observer = SILENT,
    shard: Shard | None = None,
) -> tuple[int, str]:
    """Predict images into the fold's store, or a shard of them into its own, unless they are there already.

    Args:
        network_of: the network with these weights, on the runtime's device, for some images; not called for what is there.

    Returns:
        How many images this was about, and what has become of their store, for people.
    """
    name, digest = weights
    if wanted.stored(digest, name) is not None:
        remove_shards(wanted.place(name), wanted.split)
        return len(wanted.rows), THERE
    if wanted.joined(digest, name, observer) is not None:
        return len(wanted.rows), JOINED
    if shard is None:
        predict_named(wanted, {name: digest}, lambda _: network_of(wanted), runtime, observer)
        return len(wanted.rows), PREDICTED
    manner = PredictionSettings.of(wanted.experiment, runtime)
    sharded = ShardedImages(wanted, weights, unit_starts(wanted, manner), shard.count)
    part = sharded.part(shard)
    if not sharded.finished(shard):
        network = network_of(part).eval()
        with ExitStack() as stack:
            with held(wanted.place(name)):  # so that nobody who joins others takes this one for left over
                writer = stack.enter_context(sharded.writer(shard, unit_starts(part, manner)))
            writer.finish(write_predictions(writer, part, network, name, manner, observer))
    # Who finished a shard at the same moment may have joined them all.
    if wanted.joined(digest, name, observer) is not None or wanted.stored(digest, name) is not None:
        return len(part.rows), JOINED
    return len(part.rows), sharded.state(shard)
