"""The probability store: exact codes, images of any size, and no stale or damaged store is ever opened."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segfold.store.codes import to_codes, to_probability
from segfold.store.reader import open_store
from segfold.store.writer import StoreWriter
from store_samples import IDS, META, SHAPES, images, write

SOURCE = Path(__file__).parents[1] / "src"


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(st.sampled_from(["f2", "f4"]), (3,), elements={"min_value": 0, "max_value": 1}))
def test_codes_are_exact(values):
    expected = [floor(65535 * Fraction(float(value)) + Fraction(1, 2)) for value in values]
    assert to_codes(values).tolist() == expected


def test_codes_at_half_steps_in_both_precisions():
    """Values beside (k + 1/2) / 65535, where single precision rounds to the wrong side."""
    middle = ((np.arange(0, 65535, 7) + 0.5) / 65535).astype(np.float32)
    values = np.concatenate([np.nextafter(middle, np.float32(0)), middle, np.nextafter(middle, np.float32(1))])
    expected = [floor(65535 * Fraction(float(value)) + Fraction(1, 2)) for value in values]
    assert np.array_equal(to_codes(values), expected)
    in_single = np.floor(values * np.float32(65535) + np.float32(0.5))
    assert not np.array_equal(in_single, expected)  # the test can tell the difference
    assert to_codes(0.5) == 32768 and to_codes(0.0) == 0 and to_codes(1.0) == 65535


def test_codes_go_there_and_back_and_clip():
    every = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(to_codes(to_probability(every)), every)
    assert to_codes([-0.1, 1.1, np.inf]).tolist() == [0, 65535, 65535]
    with pytest.raises(ValueError, match="not a number"):
        to_codes([0.5, np.nan])
    for values in ([np.nan], [0.5, np.nan, 0.25]):
        with pytest.raises(ValueError, match="not a number"):
            to_codes(np.array(values, np.float32))


def test_codes_of_single_precision_are_those_of_double() -> None:
    """Around every half-way case, beyond 0 and 1, and of a view that is not in one piece."""
    halves = ((np.arange(65535) + 0.5) / 65535).astype(np.float32)
    near = [np.nextafter(halves, np.float32(to)) for to in (-1, 2)]
    beyond = np.array([-1, -0.0, 1.5, 1e30, -1e30, np.inf, -np.inf, 1e-40], np.float32)
    values = np.concatenate([halves, *near, beyond])
    assert np.array_equal(to_codes(values), to_codes(values.astype(np.float64)))
    plane = values[: 400 * 300].reshape(400, 300)
    assert np.array_equal(to_codes(plane[::3, 5:77]), to_codes(plane.astype(np.float64))[::3, 5:77])


def test_files_are_those_of_the_design(tmp_path):
    store = write(tmp_path, "oof")
    write(tmp_path, "test", seed=1)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(
        ["oof.u16", "oof.csv", "test.u16", "test.csv", "meta.json", "oof.lock", "test.lock"]
    )
    flat = np.fromfile(tmp_path / "oof.u16", "<u2")
    assert np.array_equal(flat, np.concatenate([to_codes(image).ravel() for image in images()]))
    lines = (tmp_path / "oof.csv").read_text().splitlines()
    assert lines[:3] == ["id,offset,channels,height,width", "1e1000,0,1,3,4", "00123,12,1,5,2"]
    assert store.meta == json.loads(json.dumps(META))


def test_images_of_any_size_come_back_by_id(tmp_path):
    write(tmp_path)
    store = open_store(tmp_path, "oof", META)
    assert store is not None and store.ids.tolist() == IDS and len(store) == 5
    for image_id, expected in zip(IDS, images()):
        row = store.rows[image_id]
        codes = store.codes(row)
        assert codes.dtype == np.uint16 and np.array_equal(codes, to_codes(expected))
        assert np.abs(store.probability(row) - expected).max() <= 0.5 / 65535 + 1e-7
    assert [image_id for image_id, _ in store] == IDS
    assert np.array_equal(store.codes(-1), store.codes(4))
    with pytest.raises(IndexError):
        store.codes(5)


def test_codes_may_be_given_as_they_are(tmp_path):
    codes = np.arange(12, dtype=np.uint16).reshape(1, 4, 3)[:, ::-1]
    with StoreWriter(tmp_path, "test", ["a"], [(1, 4, 3)], {}) as writer:
        assert writer.bytes_needed == 24
        writer.append("a", codes)
        assert np.array_equal(writer.finish().codes(0), codes)


def test_store_without_images(tmp_path):
    assert len(write(tmp_path, ids=[], shapes=[])) == 0


@pytest.mark.parametrize("key", list(META))
def test_stale_store_is_never_opened(tmp_path, key):
    write(tmp_path)
    assert open_store(tmp_path, "oof", META) is not None
    assert open_store(tmp_path, "oof", {**META, key: "other"}) is None
    assert open_store(tmp_path, "oof", {name: META[name] for name in META if name != key}) is None
    assert open_store(tmp_path, "oof", {**META, "more": 1}) is None
    assert open_store(tmp_path, "test", META) is None
    assert open_store(tmp_path, "oof", None) is not None


@pytest.mark.parametrize(
    "damage", ["cut", "longer", "codes of another run", "table", "no table", "no codes", "meta", "no meta"]
)
def test_damaged_store_is_not_opened_and_is_made_anew(tmp_path, damage):
    write(tmp_path)
    codes, table, meta = tmp_path / "oof.u16", tmp_path / "oof.csv", tmp_path / "meta.json"
    if damage == "cut":
        codes.write_bytes(codes.read_bytes()[:-2])
    elif damage == "longer":
        codes.write_bytes(codes.read_bytes() + b"00")
    elif damage == "codes of another run":  # as many, and of the same images
        write(tmp_path / "other", seed=1)
        codes.write_bytes((tmp_path / "other" / "oof.u16").read_bytes())
    elif damage == "table":
        table.write_text(table.read_text().replace("00123", "00124"))
    elif damage == "meta":
        meta.write_text("{")
    else:
        {"no table": table, "no codes": codes, "no meta": meta}[damage].unlink()
    assert open_store(tmp_path, "oof", META) is None
    write(tmp_path)
    assert open_store(tmp_path, "oof", META) is not None


def test_rewriting_keeps_the_old_store_until_the_new_one_is_whole(tmp_path):
    write(tmp_path, seed=0)
    write(tmp_path, "test", seed=5)
    new = {**META, "weights": "new"}
    with StoreWriter(tmp_path, "oof", IDS, SHAPES, new) as writer:
        for image_id, values in zip(IDS, images(1)):
            assert open_store(tmp_path, "oof", META) is not None
            writer.append(image_id, values)
        assert np.array_equal(open_store(tmp_path, "oof", META).codes(0), to_codes(images(0)[0]))
        writer.finish()
    assert open_store(tmp_path, "oof", META) is None
    assert np.array_equal(open_store(tmp_path, "oof", new).codes(0), to_codes(images(1)[0]))
    assert np.array_equal(open_store(tmp_path, "test", META).codes(0), to_codes(images(5)[0]))


@pytest.mark.parametrize("step", range(1, 5))
def test_kill_while_finishing_never_vouches_for_mixed_files(tmp_path, step, monkeypatch):
    """Stops after each rename of ``finish``: the old entry must not open the new codes."""
    write(tmp_path, seed=0)
    new = {**META, "weights": "new"}
    writer = StoreWriter(tmp_path, "oof", IDS, SHAPES, new, sync_seconds=1e9)
    writer.__enter__()
    for image_id, values in zip(IDS, images(1)):
        writer.append(image_id, values)
    writer._sync()
    renames, replace = [], Path.replace

    def stop_at(self, target):
        result = replace(self, target)
        renames.append(Path(target).name)
        if len(renames) == step:
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch:
        patch.setattr(writer, "_sync", lambda: None)
        patch.setattr(Path, "replace", stop_at)
        with pytest.raises(KeyboardInterrupt):
            writer.finish()
        writer.close()
    assert renames == ["meta.json", "oof.u16", "oof.csv", "meta.json"][:step]
    old, fresh = open_store(tmp_path, "oof", META), open_store(tmp_path, "oof", new)
    assert old is None and (fresh is not None) == (step == 4)
    assert np.array_equal(write(tmp_path, seed=1, meta=new).codes(3), to_codes(images(1)[3]))


def test_memory_stays_flat(tmp_path):
    """Writes and reads 80 MB; the process must not grow by a fifth of it."""
    code = f"""
import resource, numpy as np
from segfold.store.writer import StoreWriter
ids = [str(i) for i in range(80)]
image = np.zeros((1, 500, 1000), np.uint16)
def rss(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with StoreWriter({str(tmp_path)!r}, "test", ids, [image.shape] * 80, {{}}, sync_seconds=1e9) as writer:
    writer.append("0", image)
    before = rss()
    for i in ids[1:]:
        writer.append(i, image)
    store = writer.finish()
for _, codes in store: pass
print((rss() - before) // 1024)
"""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(answer.stdout) < 16
