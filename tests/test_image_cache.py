"""The image cache: a second load decodes nothing, and no stale or damaged cache is ever used."""

import errno
import multiprocessing
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segfold.data import cache, images, source
from segfold.data.images import PixelStore, load_split
from segfold.errors import SegfoldError
from segfold.layouts import decode
from segfold.layouts.decode import read_image, read_mask
from tiny_competition import TINY, write_image, write_tables, write_tiny


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_tiny(tmp_path / "data" / "tiny")
    return tmp_path


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, **how: object) -> np.ndarray:
        raise AssertionError(f"{path} was decoded again")

    monkeypatch.setattr(decode, "read_image", fail)


def test_second_load_decodes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_split(TINY, "train", home)
    no_decoding(monkeypatch)
    second = load_split(TINY, "train", home)
    assert first.fingerprint == second.fingerprint
    np.testing.assert_array_equal(first.images[3], second.images[3])


@pytest.mark.parametrize("changed", ["image", "mask", "removed", "added", "rle"])
def test_a_changed_source_is_decoded_anew(home: Path, changed: str) -> None:
    root = home / "data" / "tiny"
    masks, image = root / "train" / "masks", root / "train" / "images" / "0b.png"
    if changed == "rle":
        shutil.rmtree(masks)
    before = load_split(TINY, "train", home)
    if changed == "image":
        write_image(image, 255 - read_image(image))
    elif changed == "mask":
        write_image(masks / "0b.png", 1 - read_mask(masks / "0b.png"))
    elif changed == "removed":
        image.unlink()
    elif changed == "added":
        for folder in (image.parent, masks):
            shutil.copy(folder / "0b.png", folder / "new.png")
        with (root / "depths.csv").open("a") as table:
            table.write("new,1\n")
    else:
        assert before.masks is not None
        write_tables(root, {name: 1 - mask for name, mask in zip(before.ids, before.masks)})
    after = load_split(TINY, "train", home)
    assert after.fingerprint != before.fingerprint
    assert len(after) == {"removed": 4, "added": 6}.get(changed, 5)
    # Only the newest cache stays.
    assert len(list((root / "cache").glob("train-*"))) == 1


def test_what_does_not_matter_keeps_the_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_split(TINY, "train", home)
    no_decoding(monkeypatch)
    root = home / "data" / "tiny"
    os.utime(root / "train.csv")  # masks come from files
    (root / "train" / "images" / "._0b.png").write_bytes(b"x")
    (root / "train" / "images" / "Thumbs.db").write_bytes(b"x")
    assert len(load_split(TINY, "train", home)) == 5


@pytest.mark.parametrize(
    "setting", [{"exif": "turn"}, {"white": 255}, {"mask_threshold": 1}, {"mask_palette": "indices"}]
)
def test_what_changes_how_files_are_read_has_a_cache_of_its_own(home: Path, setting: dict) -> None:
    root, other = home / "data" / "tiny", TINY.model_copy(update=setting)
    of_masks = "mask" in next(iter(setting))
    for split in ("train", "test"):
        same = source.find_source(TINY, split, root).key == source.find_source(other, split, root).key
        assert same == (of_masks and split == "test")


def test_fingerprint_sees_ids_shapes_pixels_and_masks(home: Path) -> None:
    root = home / "data" / "tiny"
    first = load_split(TINY, "test", home).fingerprint
    (root / "test" / "images" / "zz.png").rename(root / "test" / "images" / "zy.png")
    with (root / "depths.csv").open("a") as table:
        table.write("zy,1\n")
    renamed = load_split(TINY, "test", home).fingerprint
    picture = read_image(root / "test" / "images" / "zy.png")
    write_image(root / "test" / "images" / "zy.png", picture.reshape(picture.shape[1], picture.shape[0], 3))
    reshaped = load_split(TINY, "test", home).fingerprint
    assert len({first, renamed, reshaped}) == 3


@pytest.mark.parametrize("name", ["images.bin", "masks.bin", "index.json"])
def test_a_damaged_cache_is_built_again(home: Path, name: str) -> None:
    before = load_split(TINY, "train", home)
    (folder,) = (home / "data" / "tiny" / "cache").glob("train-*")
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-7])
    assert load_split(TINY, "train", home).fingerprint == before.fingerprint
    assert (folder / name).read_bytes() == whole


def test_large_sets_are_mapped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = load_split(TINY, "train", home)
    monkeypatch.setattr(images, "IN_MEMORY", 0)
    large = load_split(TINY, "train", home)
    assert isinstance(large.images._buffer.base, np.memmap) or isinstance(large.images._buffer, np.memmap)
    sent = pickle.dumps(large.images)
    assert len(sent) < large.images.shapes.prod(axis=1).sum()  # the file is mapped anew, not copied
    for one, other, again in zip(small.images, large.images, pickle.loads(sent)):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, again)
    with pytest.raises(ValueError, match="read-only"):
        large.images[0][:] = 0


def test_a_small_set_is_not_copied_to_each_worker(home: Path) -> None:
    """Loaders' workers are sent their data set wherever they are not forked, as on macOS."""
    data = load_split(TINY, "train", home)
    sent = pickle.dumps(data.masks), pickle.dumps(data.images)
    assert not any(store[row].tobytes() in message for store in (data.images,) for row in range(5) for message in sent)
    for one, again in zip(data.images, pickle.loads(sent[1])):
        np.testing.assert_array_equal(one, again)
    # Where the cache has been made anew since, the pixels go along.
    shutil.rmtree(home / "data" / "tiny" / "cache")
    for one, again in zip(data.images, pickle.loads(pickle.dumps(data.images))):
        np.testing.assert_array_equal(one, again)


def test_data_that_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says where the cache can go, and it goes there; two data folders of one name do not disturb each other."""
    make_folder = Path.mkdir

    def read_only(self: Path, *arguments: Any, **options: Any) -> None:
        if self.is_relative_to(home / "data"):
            raise OSError(errno.EROFS, "Read-only file system", str(self))
        make_folder(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(SegfoldError, match=r"cache \(Read-only file system\).*SEGFOLD_CACHE"):
        load_split(TINY, "train", home)
    monkeypatch.setenv("SEGFOLD_CACHE", str(home / "else" / "where"))
    first = load_split(TINY, "train", home)
    assert not (home / "data/tiny/cache").exists()
    other = home / "other"
    shutil.copytree(home / "data", other / "data")
    load_split(TINY, "train", other)
    assert len(list((home / "else/where").glob("tiny-*/train-*"))) == 2
    monkeypatch.setattr(cache, "_build", lambda *_: pytest.fail("decoded again"))
    assert load_split(TINY, "train", home).fingerprint == first.fingerprint


def test_store_indexing() -> None:
    store = PixelStore(np.arange(10, dtype=np.uint8), np.array([[2, 2, 1], [2, 3, 1]]), masks=True)
    assert store[-1].tolist() == [[4, 5, 6], [7, 8, 9]]
    assert [mask.shape for mask in store[:]] == [(2, 2), (2, 3)]
    assert store[np.int64(0)].tolist() == [[0, 1], [2, 3]]
    with pytest.raises(IndexError):
        store[2]
    with pytest.raises(ValueError, match="10 values"):
        PixelStore(np.arange(10, dtype=np.uint8), np.array([[2, 2, 1]]))


def _load(home: Path, start: object, results: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    results.put(load_split(TINY, "train", home).fingerprint)  # type: ignore[attr-defined]


def test_two_processes_at_once(home: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_load, args=(home, start, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert found == [load_split(TINY, "train", home).fingerprint] * 2
    assert len(list((home / "data" / "tiny" / "cache").glob("*"))) == 1


def test_a_cache_that_another_process_finished_is_taken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file system has no locks, a second builder finds the first one's folder in its way."""
    load_split(TINY, "train", home)
    (folder,) = (home / "data" / "tiny" / "cache").glob("train-*")
    away = folder.rename(home / "away")
    build = cache._build

    def slow_build(made_of: source.Source, part: Path) -> dict:
        index = build(made_of, part)
        if not folder.exists():
            shutil.copytree(away, folder)
        return index

    monkeypatch.setattr(cache, "_build", slow_build)
    monkeypatch.setattr(shutil, "rmtree", lambda path, ignore_errors=False: None)
    assert len(load_split(TINY, "train", home)) == 5


def test_a_killed_builder_leaves_nothing_for_ever(home: Path) -> None:
    rest = home / "data" / "tiny" / "cache" / ".train-0123456789abcdef-1.part"
    rest.mkdir(parents=True)
    (rest / "images.bin").write_bytes(b"x")
    load_split(TINY, "train", home)
    assert not rest.exists()
