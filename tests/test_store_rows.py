"""Images that are written strip by strip and read row by row: the bytes of whole ones, in memory of a strip."""

import itertools
import tracemalloc

import numpy as np
import pytest

from segfold.errors import SegfoldError
from segfold.store import writer as store_writer
from segfold.store.codes import to_codes
from segfold.store.mean import MeanStore
from segfold.store.reader import open_store
from segfold.store.writer import StoreWriter
from store_samples import IDS, META, images, write

SHAPES = [(1, 30, 4), (3, 17, 5), (2, 1, 1), (1, 7, 7), (4, 40, 3)]
LOGITS = [[0.5, -1.25], [3.0, 2.0], [-0.0, 7.5], [1e-3, -9.0], [4.0, 4.0]]


def cuts(rng, height):
    """Tops of strips of random heights, and the image's own height at the end."""
    inner = np.flatnonzero(rng.random(height - 1) < 0.3) + 1
    return [0, *inner.tolist(), height]


def strips(rng, values):
    tops = cuts(rng, values.shape[1])
    return [(top, values[:, top:bottom]) for top, bottom in itertools.pairwise(tops)]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16])
def test_strips_make_the_bytes_of_whole_images(tmp_path, monkeypatch, seed, dtype):
    """Whatever the strips' heights, and however few of their values are converted at once."""
    rng = np.random.default_rng(seed)
    values = [(image * (65535 if dtype == np.uint16 else 1)).astype(dtype) for image in images(seed, SHAPES)]
    with StoreWriter(tmp_path / "whole", "oof", IDS, SHAPES, META) as writer:
        for image_id, image, logits in zip(IDS, values, LOGITS):
            writer.append(image_id, image, logits)
        writer.finish()
    monkeypatch.setattr(store_writer, "_VALUES", [1, 7, 16, 1 << 19][seed])
    with StoreWriter(tmp_path / "strips", "oof", IDS, SHAPES, META) as writer:
        for image_id, image, logits in zip(IDS, values, LOGITS):
            for top, rows in strips(rng, image):
                writer.append_rows(image_id, top, rows)
            writer.close_image(image_id, logits)
        store = writer.finish()
    assert files(tmp_path / "strips") == files(tmp_path / "whole")
    flat = np.concatenate([(image if dtype == np.uint16 else to_codes(image)).reshape(-1) for image in values])
    assert (tmp_path / "strips" / "oof.u16").read_bytes() == flat.astype("<u2").tobytes()
    assert store.image_logits.tolist() == np.float32(LOGITS).tolist()


def test_a_stop_inside_an_image_loses_that_image_only(tmp_path):
    values = images(0, SHAPES)
    with StoreWriter(tmp_path, "oof", IDS, SHAPES, META) as writer:
        writer.append(IDS[0], values[0])
        writer.append_rows(IDS[1], 0, values[1][:, :9])
    with StoreWriter(tmp_path, "oof", IDS, SHAPES, META) as writer:
        assert writer.count == 1
        writer.append_rows(IDS[1], 0, values[1][:, :4])  # in other strips
        writer.append_rows(IDS[1], 4, values[1][:, 4:])
        writer.close_image(IDS[1])
        for image_id, image in list(zip(IDS, values))[2:]:
            writer.append(image_id, image)
        store = writer.finish()
    assert all(np.array_equal(store.codes(row), to_codes(image)) for row, image in enumerate(values))


def test_strips_that_do_not_follow_are_refused(tmp_path):
    values = images(0, SHAPES)
    with StoreWriter(tmp_path, "oof", IDS, SHAPES, META) as writer:
        with pytest.raises(ValueError, match="rows from 3, expected from 0"):
            writer.append_rows(IDS[0], 3, values[0][:, 3:])
        writer.append_rows(IDS[0], 0, values[0][:, :9])
        with pytest.raises(ValueError, match="rows from 8, expected from 9"):
            writer.append_rows(IDS[0], 8, values[0][:, 8:])
        with pytest.raises(ValueError, match="expected from 9"):
            writer.append(IDS[0], values[0])
        with pytest.raises(ValueError, match="9 rows of 30"):
            writer.close_image(IDS[0])
        with pytest.raises(ValueError, match="not the next"):
            writer.append_rows(IDS[1], 0, values[1])
        for wrong in (values[0][:, :, :3], values[0][:, :22], values[0][0], np.zeros((2, 3, 4))):
            with pytest.raises(ValueError, match="shape"):
                writer.append_rows(IDS[0], 9, wrong)
        spoilt = values[0][:, 9:].copy()
        spoilt[0, 20, 3] = np.nan
        with pytest.raises(SegfoldError, match=r"1e1000.*not a number"):
            writer.append_rows(IDS[0], 9, spoilt)
        writer.append_rows(IDS[0], 9, values[0][:, 9:])  # over what came before the number that was none
        writer.close_image(IDS[0])
        assert writer.count == 1


def test_a_resumed_prediction_begins_where_images_begin_that_go_together(tmp_path):
    arguments = {"ids": IDS, "shapes": SHAPES, "meta": META, "sync_seconds": 0.0, "starts": [0, 1, 4]}
    for stop, begins in [(1, 0), (3, 1), (4, 1), (5, 4)]:
        with StoreWriter(tmp_path, "oof", **arguments) as writer:
            assert writer.count == begins
            for image_id, values in list(zip(IDS, images(0, SHAPES)))[begins:stop]:
                writer.append(image_id, values)
    with StoreWriter(tmp_path, "oof", **arguments) as writer:
        assert writer.count == len(IDS) == 5
    for wrong in ([], [1, 2], [0, 2, 2], [0, 3, 1]):
        with pytest.raises(ValueError, match="predicted together"):
            StoreWriter(tmp_path, "oof", **{**arguments, "starts": wrong})


def test_rows_that_are_read_are_those_of_the_whole(tmp_path):
    stores = [write(tmp_path / str(seed), seed=seed, shapes=SHAPES) for seed in range(3)]
    rng = np.random.default_rng(0)
    for store in (*stores, MeanStore(stores)):
        for row, (_, height, _) in enumerate(SHAPES):
            whole = store.codes(row)
            for _ in range(6):
                top, bottom = sorted(rng.integers(0, height + 1, 2).tolist())
                found = store.code_rows(row, top, bottom)
                assert found.dtype == np.uint16 and np.array_equal(found, whole[:, top:bottom])
            assert np.array_equal(store.code_rows(row - len(SHAPES), 0, height), whole)
    for top, bottom in ((-1, 2), (3, 2), (0, 31)):
        with pytest.raises(IndexError, match="of 30"):
            stores[0].code_rows(0, top, bottom)
    with (tmp_path / "0" / "oof.u16").open("r+b") as file:
        file.truncate(2 * 30 * 4 - 2)
    store = stores[0]
    assert len(store.code_rows(0, 0, 29)) == 1
    with pytest.raises(SegfoldError, match="ends inside image 1e1000"):
        store.code_rows(0, 29, 30)


def test_a_large_image_needs_the_memory_of_a_strip(tmp_path):
    """2 × 4,096 × 2,048 probabilities: 128 MB as they are converted, of which 4 are there at a time."""
    shape, strip = (2, 4096, 2048), np.random.default_rng(0).random((2, 2048, 2048), np.float32)
    with StoreWriter(tmp_path, "oof", ["a"], [shape], META) as writer:
        tracemalloc.start()
        try:
            for top in (0, 2048):
                writer.append_rows("a", top, strip)
            writer.close_image("a")
            store = writer.finish()
            assert np.array_equal(store.code_rows(0, 4032, 4096), to_codes(strip[:, 1984:]))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 24e6
    assert open_store(tmp_path, "oof", META) is not None


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [3, 0, 1, 2, 2, 4], [2], []])
def test_several_images_are_read_as_one_by_one(tmp_path, rows):
    stores = [write(tmp_path / str(seed), seed=seed) for seed in range(3)]
    for store in (stores[0], MeanStore(stores)):
        each = [store.codes(row).ravel() for row in rows]
        found = store.codes_of(rows)
        assert found.dtype == np.uint16 and np.array_equal(found, np.concatenate([np.empty(0, np.uint16), *each]))


def test_several_images_of_a_file_that_is_cut_are_refused(tmp_path):
    store = write(tmp_path)
    with store.path.open("r+b") as file:
        file.truncate(store.path.stat().st_size - 2)
    assert store.codes_of([0, 1]).size == 22
    for rows in ([0, 4], range(5)):
        with pytest.raises(SegfoldError, match="ends inside image NA"):
            store.codes_of(list(rows))
