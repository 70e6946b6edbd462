"""Proposals of a set: found once, kept whole or not at all, whoever else finds them at the same time."""

import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from segfold.data import proposals as module
from segfold.data.edge_boxes import ProposalSettings, edge_boxes
from segfold.data.images import ImageSet
from segfold.data.pixel_store import PixelStore
from segfold.data.proposals import Proposals
from segfold.files import append_line, read_lines
from segfold.settings import Proposals as Settings
from small_images import image_set

COUNT = 20  # more than a file holds
SEARCH = Settings(count=40).search
FORK = multiprocessing.get_context("fork")


def blocks(count: int = COUNT) -> list[np.ndarray]:
    """A bright block each, at another place."""
    images = []
    for i in range(count):
        image = np.zeros((40, 50, 1), np.uint8)
        image[5 : 20 + i % 10, 4 + i : 24 + i] = 200
        images.append(image)
    return images


def written(folder: Path) -> ImageSet:
    """A set whose pixels lie in a file."""
    folder.mkdir(exist_ok=True)
    images = blocks()
    np.concatenate([image.ravel() for image in images]).tofile(folder / "images.bin")
    shapes = np.array([image.shape for image in images])
    pixels = PixelStore(np.fromfile(folder / "images.bin", np.uint8), shapes, path=folder / "images.bin")
    return replace(image_set(COUNT), images=pixels, masks=None, areas=None)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("proposals-*/*.npz"))


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Counts the images that are searched."""
    counted: list[int] = []

    def search(image: object, settings: ProposalSettings) -> object:
        counted.append(1)
        return edge_boxes(image, settings)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "edge_boxes", search)
    yield counted


def check(found: Proposals, rows: range = range(COUNT)) -> None:
    images = blocks()
    for row in rows:
        boxes, scores = found.of(row)
        expected = edge_boxes(images[row], SEARCH)
        np.testing.assert_array_equal(boxes, expected[0])
        np.testing.assert_array_equal(scores, expected[1])
        assert boxes.dtype == np.int32 and scores.dtype == np.float32


def test_each_row_has_its_own_and_is_searched_once(tmp_path: Path, searched: list[int]) -> None:
    said: list[str] = []
    seen: list[int] = []
    first = Proposals(written(tmp_path), SEARCH, say=said.append, on_image=lambda: seen.append(1))
    first.prepare([3, 17, 3])
    assert len(searched) == len(seen) == 2 and len(files(tmp_path)) == 2
    first.prepare(range(COUNT))
    assert len(searched) == COUNT and len(seen) == COUNT + 2
    assert len(said) == 2 and f"{COUNT - 2} images" in said[1]
    again = Proposals(written(tmp_path), SEARCH, say=said.append)
    again.prepare(range(COUNT))
    check(again)
    assert len(searched) == COUNT and len(said) == 2


def test_what_was_not_prepared_is_found_when_asked_for(tmp_path: Path, searched: list[int]) -> None:
    check(Proposals(written(tmp_path), SEARCH))
    check(Proposals(written(tmp_path), SEARCH))
    assert len(searched) == COUNT


def test_other_settings_are_kept_apart(tmp_path: Path) -> None:
    images = written(tmp_path)
    Proposals(images, SEARCH).prepare(range(COUNT))
    few = Proposals(images, replace(SEARCH, count=1))
    few.prepare(range(COUNT))
    assert all(len(few.of(row)[0]) == 1 for row in range(COUNT))
    check(Proposals(images, SEARCH))


@pytest.mark.parametrize("damage", ["torn", "empty", "flipped", "text", "absent"])
def test_damaged_files_are_found_anew(tmp_path: Path, damage: str) -> None:
    images = written(tmp_path)
    Proposals(images, SEARCH).prepare(range(COUNT))
    path = files(tmp_path)[0]
    whole = path.read_bytes()
    middle = len(whole) // 2
    if damage == "absent":
        path.unlink()
    else:
        parts = {
            "torn": whole[:middle],
            "empty": b"",
            "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
            "text": b"no boxes",
        }
        path.write_bytes(parts[damage])
    check(Proposals(images, SEARCH))
    assert path.read_bytes()[:2] == b"PK" and len(path.read_bytes()) == len(whole)


def test_a_file_may_be_damaged_anywhere(tmp_path: Path) -> None:
    images = written(tmp_path)
    Proposals(images, SEARCH).prepare(range(COUNT))
    path = files(tmp_path)[1]
    whole = path.read_bytes()
    expected = edge_boxes(blocks()[17], SEARCH)[0]
    for place in [*range(0, len(whole), 97), *range(len(whole) - 300, len(whole), 7)]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        np.testing.assert_array_equal(Proposals(images, SEARCH).of(17)[0], expected)


def test_a_set_without_a_file_keeps_them_in_memory(searched: list[int]) -> None:
    pixels = blocks()
    store = PixelStore(np.concatenate([each.ravel() for each in pixels]), np.array([each.shape for each in pixels]))
    found = Proposals(replace(image_set(COUNT), images=store, masks=None, areas=None), SEARCH, say=lambda text: None)
    found.prepare(range(COUNT))
    check(found)
    check(pickle.loads(pickle.dumps(found)))
    assert len(searched) == COUNT


def test_a_folder_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Proposals(written(tmp_path), SEARCH).prepare(range(16))
    before = [path.read_bytes() for path in files(tmp_path)]
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    found = Proposals(written(tmp_path), SEARCH)
    found.prepare(range(COUNT))
    check(found)
    assert [path.read_bytes() for path in files(tmp_path)] == before


def prepare(folder: Path, seconds: float = 0) -> None:
    said = partial(append_line, folder / "said")
    Proposals(written(folder), SEARCH, say=said, on_image=lambda: time.sleep(seconds)).prepare(range(COUNT))


def test_a_killed_search_goes_on(tmp_path: Path, searched: list[int]) -> None:
    written(tmp_path)
    process = FORK.Process(target=prepare, args=(tmp_path, 0.05))
    process.start()
    until = time.monotonic() + 60
    while not files(tmp_path) and time.monotonic() < until:
        time.sleep(0.005)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    found = Proposals(written(tmp_path), SEARCH)
    found.prepare(range(COUNT))
    check(found)
    assert len(searched) < COUNT


def two_that_prepare(folder: Path) -> list[BaseProcess]:
    written(folder)
    processes: list[BaseProcess] = [FORK.Process(target=prepare, args=(folder,)) for _ in range(2)]
    for process in processes:
        process.start()
    return processes


def finished(processes: list[BaseProcess]) -> bool:
    for process in processes:
        process.join()
    return [process.exitcode for process in processes] == [0, 0]


def test_of_two_processes_one_searches(tmp_path: Path) -> None:
    assert finished(two_that_prepare(tmp_path))
    assert len(read_lines(tmp_path / "said")) == 1
    check(Proposals(written(tmp_path), SEARCH))


def test_rows_can_be_asked_for_while_others_prepare(tmp_path: Path) -> None:
    processes = two_that_prepare(tmp_path)
    check(Proposals(written(tmp_path), SEARCH))
    assert finished(processes)
    check(Proposals(written(tmp_path), SEARCH))
    assert not list(tmp_path.glob("proposals-*/.*"))
