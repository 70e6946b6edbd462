"""Windows of TIFFs: to the bit what a whole read gives, in little memory, and one line where one cannot be read."""

import contextlib
import multiprocessing
import pickle
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from layout_sets import competition
from segfold.errors import SegfoldError
from segfold.layouts import large, tiff, windows
from segfold.layouts.decode import read_image
from segfold.layouts.large import large_image
from segfold.layouts.tiff import Page
from segfold.layouts.windows import TiffWindows
from tiff_files import DEFLATE, JPEG, LZW, NONE, PACKBITS, write_tiff

SHAPE = (53, 71)
WINDOWS = [(0, 0, *SHAPE), (13, 29, 30, 35), (52, 70, 1, 1), (16, 32, 16, 16), (0, 40, 53, 1)]


def noise(dtype: str, channels: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    rng = np.random.default_rng(channels)
    return rng.integers(0, np.iinfo(dtype).max + 1, (*shape, channels)).astype(dtype)


def check(path: Path, image: np.ndarray) -> None:
    """Every window is that of the whole read, and of what was written."""
    whole, read = read_image(path), TiffWindows(path)
    np.testing.assert_array_equal(whole, image)
    assert (read.shape, read.dtype) == (whole.shape, whole.dtype)
    for top, left, height, width in WINDOWS:
        found = read.window(top, left, height, width)
        np.testing.assert_array_equal(found, whole[top : top + height, left : left + width])
        assert found.dtype == whole.dtype


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_windows_equal_the_whole(tmp_path: Path, dtype: str, channels: int) -> None:
    image = noise(dtype, channels)
    segments = [{"tile": (16, 16)}, {"tile": (32, 48)}, {"tile": (64, 80)}, {"rows": 9}, {}]
    for segment, order, big, predictor in product(segments, "<>", (False, True), (None, False, True)):
        codec = {"compression": NONE} if predictor is None else {"compression": DEFLATE, "predictor": predictor}
        check(write_tiff(tmp_path / "a.tif", image, **segment, **codec, order=order, big=big), image)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [2, 3, 4, 6])
def test_channels_that_lie_apart(tmp_path: Path, dtype: str, channels: int) -> None:
    """In planes of one picture, and as grey pages. The whole read of planes goes through windows too."""
    image = noise(dtype, channels)
    for segment, order, compression in product(({"tile": (16, 32)}, {"rows": 8}), "<>", (NONE, DEFLATE)):
        check(
            write_tiff(tmp_path / "a.tif", image, planar=True, compression=compression, order=order, **segment), image
        )
        check(write_tiff(tmp_path / "b.tif", image, pages=True, compression=compression, order=order, **segment), image)


@pytest.mark.parametrize("compression", [LZW, PACKBITS, JPEG])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_compression(tmp_path: Path, compression: int, channels: int) -> None:
    image = cv2.GaussianBlur(noise("uint8", channels), (0, 0), 2).reshape(*SHAPE, channels)
    for segment in ({"tile": (16, 16)}, {"tile": (32, 48)}, {"rows": 16}):
        path = write_tiff(tmp_path / "a.tif", image, compression=compression, **segment)  # type: ignore[arg-type]
        whole = read_image(path)
        if compression == JPEG:
            assert np.abs(whole.astype(int) - image).mean() < 4
        else:
            np.testing.assert_array_equal(whole, image)
        for top, left, height, width in WINDOWS:
            found = TiffWindows(path).window(top, left, height, width)
            np.testing.assert_array_equal(found, whole[top : top + height, left : left + width])


def test_large_strips_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one strip without compression no more is read than a part; of two, no part goes on in the second one."""
    monkeypatch.setattr(tiff, "_ROW_BYTES", 71 * 3 * 7)
    image = noise("uint8", 3)
    check(path := write_tiff(tmp_path / "a.tif", image), image)
    assert read_rows(path) == 7
    check(path := write_tiff(tmp_path / "b.tif", image, rows=30), image)
    assert read_rows(path) == 6
    assert tiff.read_pages(write_tiff(tmp_path / "c.tif", image, compression=DEFLATE))[0].segment[0] == 53


@pytest.mark.parametrize("segment", [{"tile": (16, 32)}, {"rows": 9}])
def test_more_bytes_than_pixels(tmp_path: Path, segment: dict[str, Any]) -> None:
    """Some writers count what they have filled up, beyond the end of the file at that."""
    image = noise("uint16", 3)
    path = write_tiff(tmp_path / "a.tif", image, **segment)
    (page,) = tiff.read_pages(path)
    stored = page.lengths.astype("<u4").tobytes()
    data = path.read_bytes()
    assert data.count(stored) == 1
    path.write_bytes(data.replace(stored, (page.lengths + 500).astype("<u4").tobytes()))
    check(path, image)


def read_rows(path: Path) -> int:
    (page,) = tiff.read_pages(path)
    return page.segment[0]


def test_bands_make_up_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = noise("uint16", 3)
    for most in (1, 71 * 6 * 16 * 2, 1 << 24):
        monkeypatch.setattr(windows, "_BAND_BYTES", most)
        for segment in ({"tile": (16, 32)}, {"rows": 16}):
            read = TiffWindows(write_tiff(tmp_path / "a.tif", image, **segment))  # type: ignore[arg-type]
            bands = list(read.bands())
            parts = [read.window(top, 0, height, 71) for top, height in bands]
            np.testing.assert_array_equal(np.concatenate(parts), image)
            assert all(top % 16 == 0 for top, _ in bands)
            assert len(bands) == {1: 4, 1 << 24: 1}.get(most, 2)


def test_options_hold_for_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "LARGE", 0)
    for options, image in (
        ({"white": 1023}, noise("uint16", 4) >> 6),
        ({"values": (100.0, 3000.5)}, noise("uint16", 1)),
        ({"exif": "ignore"}, noise("uint8", 3)),
    ):
        path = write_tiff(tmp_path / "a.tif", image, tile=(16, 16), tags={274: (3, 6)} if "exif" in options else None)
        read = large_image(competition("folders", **options), [path])  # type: ignore[arg-type]
        assert read is not None and read.in_place
        whole = read_image(path, **options)  # type: ignore[arg-type]
        np.testing.assert_array_equal(read.window(13, 29, 30, 35), whole[13:43, 29:64])
        assert read.window(0, 0, 1, 1).dtype == whole.dtype
    bright = large_image(competition("folders", white=100), [write_tiff(tmp_path / "b.tif", image, tile=(16, 16))])
    assert bright is not None
    with pytest.raises(SegfoldError, match=r"b\.tif holds uint8 values up to \d+, the competition's white is 100"):
        bright.window(0, 0, 20, 20)


def test_which_images_are_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = noise("uint8", 3)
    reading, size = competition("folders"), image.nbytes
    tiled = write_tiff(tmp_path / "a.tif", image, tile=(16, 16))
    turned = write_tiff(tmp_path / "b.tif", image, tile=(16, 16), tags={274: (3, 6)})
    cv2.imwrite(str(tmp_path / "c.png"), image)
    monkeypatch.setattr(large, "LARGE", size)
    assert large_image(reading, [tiled]) is None
    monkeypatch.setattr(large, "LARGE", size - 1)
    assert large_image(reading, [tiled]) is not None
    strips = large_image(reading, [write_tiff(tmp_path / "d.tif", image, rows=8)])
    assert strips is not None and not strips.in_place
    for paths in ([tiled, tiled], [turned], [tmp_path / "c.png"], [tmp_path / "none.tif"]):
        assert large_image(reading, paths) is None
    monkeypatch.setattr(windows, "_MOST_SEGMENT", 16 * 16 * 3 - 1)  # a tile as large as an image is no help
    assert large_image(reading, [tiled]) is None


@pytest.mark.parametrize("compression", [DEFLATE, LZW])
def test_a_damaged_tile(tmp_path: Path, compression: int) -> None:
    """Windows beside it are read; one line names the file, the tile and what to do."""
    image = noise("uint8", 3)
    path = write_tiff(tmp_path / "a.tif", image, tile=(32, 48), compression=compression)
    (page,) = tiff.read_pages(path)
    data = bytearray(path.read_bytes())
    place, length = int(page.places[0, 1, 1]), int(page.lengths[0, 1, 1])
    data[place + length // 2 : place + length] = bytes(length - length // 2)
    path.write_bytes(data)
    np.testing.assert_array_equal(TiffWindows(path).window(0, 0, 53, 48), image[:, :48])
    with pytest.raises(
        SegfoldError, match=r"a\.tif, its tile of rows 32…52, columns 48…70, is damaged: .*copy it anew"
    ) as said:
        TiffWindows(path).window(20, 40, 20, 20)
    assert "\n" not in str(said.value)


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    image = noise("uint8", 1)
    path = write_tiff(tmp_path / "a.tif", image, tile=(32, 48))
    read = TiffWindows(path)
    (page,) = tiff.read_pages(path)
    path.write_bytes(path.read_bytes()[: int(page.places[0, 1, 0]) + 5])
    np.testing.assert_array_equal(read.window(0, 0, 32, 71), image[:32])
    with pytest.raises(SegfoldError, match=r"tile of rows 32…52, columns 0…47, cannot be read.*: copy the file anew"):
        read.window(0, 0, 33, 71)
    path.unlink()
    with pytest.raises(SegfoldError, match=r"columns 0…47, cannot be read \(No such file or directory\)"):
        read.window(0, 0, 33, 71)
    for size in (0, 3, 8, 60):
        path.write_bytes(bytes(b"II*\0\x08\0\0\0\x09"[:size]))
        with pytest.raises(SegfoldError, match=r"a\.tif cannot be read by windows: expected a TIFF"):
            TiffWindows(path)


def test_damaged_tags_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands there, a file is read or refused."""
    monkeypatch.setattr(large, "LARGE", 0)
    rng, path = np.random.default_rng(0), tmp_path / "a.tif"
    for kind in (
        {"tile": (16, 32), "planar": True},
        {"rows": 8, "big": True},
        {"tile": (16, 16), "compression": DEFLATE},
    ):
        sound = write_tiff(path, noise("uint8", 3), **kind).read_bytes()  # type: ignore[arg-type]
        for _ in range(150):
            data = bytearray(sound)
            for place in rng.integers(len(data) - 250, len(data), 2):
                data[place] = rng.choice([0, 1, 2, 7, 255])
            path.write_bytes(data)
            with contextlib.suppress(SegfoldError):
                found = large_image(competition("folders"), [path])
                if found is not None:
                    found.window(*next(found.bands()))
            with contextlib.suppress(SegfoldError):
                read_image(path)


def test_tiles_that_were_used_last_are_not_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[tuple[int, int]] = []
    plain = TiffWindows._decoded

    def counted(self: TiffWindows, page: Page, plane: int, row: int, column: int) -> np.ndarray:
        decoded.append((row, column))
        return plain(self, page, plane, row, column)

    monkeypatch.setattr(TiffWindows, "_decoded", counted)
    read = TiffWindows(write_tiff(tmp_path / "a.tif", noise("uint8", 1), tile=(16, 16)))
    for most, expected in ((512, []), (256, [(0, 1), (0, 0)]), (1, [(0, 1), (0, 0)])):
        monkeypatch.setattr(windows, "KEPT_BYTES", most)  # a tile has 256 bytes
        windows._tiles.forget()
        read.window(3, 18, 4, 4)
        read.window(3, 3, 4, 4)
        decoded.clear()
        read.window(0, 0, 2, 2)
        read.window(3, 18, 4, 4)
        read.window(3, 3, 4, 4)
        assert decoded == expected


def test_unknown_compression(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", noise("uint8", 1), tile=(32, 48))
    data = path.read_bytes().replace(struct.pack("<HHLH", 259, 3, 1, 1), struct.pack("<HHLH", 259, 3, 1, 34712))
    path.write_bytes(data)
    with pytest.raises(
        SegfoldError, match=r"is compressed by method 34712, which OpenCV does not read here: save .* tiled"
    ):
        TiffWindows(path).window(0, 0, 1, 1)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", noise("uint8", 3), tile=(16, 16))
    TiffWindows(path).whole()
    check(write_tiff(path, other := noise("uint8", 3)[::-1], tile=(16, 32)), other)


def test_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large image a window takes its own memory and that of the tiles that are kept."""
    image = noise("uint16", 3, (1024, 1024))
    path = write_tiff(tmp_path / "a.tif", image, tile=(64, 64), compression=NONE)
    monkeypatch.setattr(windows, "KEPT_BYTES", 1 << 18)
    monkeypatch.setattr(windows, "_BAND_BYTES", 1)
    read = TiffWindows(path)
    tracemalloc.start()
    try:
        for top in range(0, 1024, 128):
            read.window(top, 0, 128, 64)
        for top, height in read.bands():
            read.window(top, 0, height, 1024)
        assert tracemalloc.get_traced_memory()[1] < image.nbytes / 4
    finally:
        tracemalloc.stop()


def test_tiles_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = TiffWindows(write_tiff(tmp_path / "a.tif", noise("uint8", 3), tile=(16, 16)))
    read.window(0, 0, 16, 48)
    monkeypatch.setattr(windows, "decoded", lambda *_: pytest.fail("decoded again"))
    read.window(3, 5, 13, 40)
    with pytest.raises(pytest.fail.Exception):
        read.window(16, 0, 1, 1)


def _of_process(read: TiffWindows, results: object) -> None:
    results.put(read.window(13, 29, 30, 35))  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_and_threads(tmp_path: Path, method: str) -> None:
    image = noise("uint8", 3)
    read = TiffWindows(write_tiff(tmp_path / "a.tif", image, tile=(16, 16), compression=DEFLATE))
    expected = image[13:43, 29:64]
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: read.window(13, 29, 30, 35), range(64)):
            np.testing.assert_array_equal(found, expected)
    assert len(pickle.dumps(read)) < 300  # a name, not the tiles' places
    context = multiprocessing.get_context(method)
    results = context.Queue()
    process = context.Process(target=_of_process, args=(read, results))
    process.start()
    np.testing.assert_array_equal(results.get(timeout=60), expected)
    process.join()


def test_a_worker_that_is_forked_while_a_tile_is_kept_reads_on(tmp_path: Path) -> None:
    """A loader's worker inherits the lock as another thread holds it, and nobody there would give it back."""
    path = write_tiff(tmp_path / "a.tif", noise("uint8", 1), tile=(16, 16))
    read = TiffWindows(path)
    wanted = read.window(0, 0, 20, 20)

    def same() -> None:
        raise SystemExit(0 if np.array_equal(read.window(0, 0, 20, 20), wanted) else 1)

    with windows._tiles._lock:
        child = multiprocessing.get_context("fork").Process(target=same)
        child.start()
    child.join(20)
    ended = child.exitcode
    child.kill()
    assert ended == 0
