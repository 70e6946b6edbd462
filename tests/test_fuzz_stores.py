"""Probability stores with damaged files: opened only if sound, and written on only from what is whole."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from fuzzing import TOKENS, WrongError, counts, fuzz, mutated, mutated_words, some
from segfold.errors import SegfoldError
from segfold.store.codes import to_codes
from segfold.store.reader import open_store
from segfold.store.writer import StoreWriter
from store_samples import IDS, META, SHAPES, images, write

EXPECTED = [to_codes(image) for image in images()]
ODD = (
    *TOKENS,
    "null",
    "[]",
    "{}",
    "true",
    '"x"',
    "-5",
    "1e2",
    "NaN",
    "Infinity",
    '"oof"',
    "meta",
    "bytes",
    '"a": 1',
    "[" * 100_000,
)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    if rng.random() < 0.5:
        return mutated(data, rng)
    return mutated_words(data.decode(), rng, ODD, some(rng, ["\n", ": ", ","])).encode("utf-8", "surrogatepass")


def resized(data: bytes, rng: np.random.Generator) -> bytes:
    """Another length: wrong codes of the right length are not to be seen without reading all of them."""
    change = some(rng, [-len(data), -1, -2, -20, 1, 2, 1000])
    return data[:change] if change < 0 else data + rng.bytes(change)


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about power cuts, and waiting for the disk would take minutes."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@counts
def test_finished_stores(count: int, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    write(folder)
    write(folder, "test", seed=1, shapes=SHAPES[::-1])
    good = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}

    def case(rng: np.random.Generator) -> None:
        shutil.rmtree(folder)
        folder.mkdir()
        files = dict(good)
        for _ in range(int(rng.integers(1, 3))):
            name = some(rng, ["meta.json", "meta.json", "oof.csv", "oof.u16"])
            match int(rng.integers(6)):
                case 0:
                    files[name] = good[some(rng, list(good))]
                case 1:
                    files.pop(name, None)
                case _:
                    files[name] = (resized if name == "oof.u16" else damaged)(good[name], rng)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        if rng.random() < 0.05:
            (folder / "oof.csv").unlink(missing_ok=True)
            (folder / "oof.csv").mkdir()
        store = open_store(folder, "oof", some(rng, [META, None]))
        if store is None:
            raise SegfoldError("not opened")
        found = list(store)
        if [name for name, _ in found] != IDS or not all(map(np.array_equal, [c for _, c in found], EXPECTED)):
            raise WrongError(f"opened with {[name for name, _ in found]}, {[codes.shape for _, codes in found]}")

    fuzz(count, "stores", case)


@counts
def test_stores_that_are_written_on(count: int, tmp_path: Path) -> None:
    """Whatever a kill or a disk has left: the end is the store, or one line."""
    folder = tmp_path / "none"
    with StoreWriter(folder, "oof", IDS, SHAPES, META, sync_seconds=0) as writer:
        for name, values in list(zip(IDS, images()))[:3]:
            writer.append(name, values)
    write(folder, "test", seed=1)
    good = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}
    assert json.loads(good["oof.part.json"])["images"] == 3

    def case(rng: np.random.Generator) -> None:
        shutil.rmtree(folder)
        folder.mkdir()
        for name, data in good.items():
            (folder / name).write_bytes(data)
        for name in rng.permutation(["oof.part.json", "oof.u16.part", "meta.json", "oof.lock"])[
            : int(rng.integers(1, 4))
        ]:
            if name == "oof.lock":
                (folder / name).write_bytes(rng.bytes(20))
            elif rng.random() < 0.1:
                (folder / name).unlink()
            else:
                (folder / name).write_bytes((resized if name == "oof.u16.part" else damaged)(good[name], rng))
        with StoreWriter(folder, "oof", IDS, SHAPES, META) as writer:
            for name, values in list(zip(IDS, images()))[writer.count :]:
                writer.append(name, values)
            store = writer.finish()
        if not all(map(np.array_equal, [codes for _, codes in store], EXPECTED)):
            raise WrongError("other codes")

    fuzz(count, "written on", case, refuses=False)
