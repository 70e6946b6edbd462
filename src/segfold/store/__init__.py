"""The probability store: what networks predict, by split and set of weights, one flat file each."""

from segfold.store.codes import HALF, to_codes, to_probability
from segfold.store.cost import Cost
from segfold.store.mean import MeanStore, Probabilities
from segfold.store.reader import ProbabilityStore, open_store
from segfold.store.shards import Shard, join_shards, remove_shards
from segfold.store.writer import StoreWriter

__all__ = [
    "HALF",
    "Cost",
    "MeanStore",
    "Probabilities",
    "ProbabilityStore",
    "Shard",
    "StoreWriter",
    "join_shards",
    "open_store",
    "remove_shards",
    "to_codes",
    "to_probability",
]
