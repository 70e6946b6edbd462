"""No file that is damaged inside is taken for a picture, whatever its format, and no library has the last word on the
standard error."""

import functools
import io
import itertools
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from damaged_files import DAMAGES, UNSEEN, WRITERS, picture, written
from python_process import run_python
from segfold.errors import SegfoldError
from segfold.layouts.ahead import map_files
from segfold.layouts.decode import read_image, read_mask


@pytest.mark.parametrize("writer", WRITERS)
def test_whole_files_are_as_pillow_reads_them(tmp_path: Path, writer: str, capfd: pytest.CaptureFixture[str]) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "a"
    for channels in (1, 3) * 3:
        data = written(picture(rng, channels), writer)
        path.write_bytes(data)
        found = read_image(path)
        expected = Image.open(io.BytesIO(data))
        expected = np.asarray(expected.convert("RGB" if found.shape[2] == 3 else "L")).reshape(found.shape)
        # Two builds of a JPEG decoder may round differently.
        assert np.abs(found.astype(int) - expected).max() <= (2 if "jpeg" in writer else 0)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("writer", "damage"), [pair for pair in itertools.product(WRITERS, DAMAGES) if pair not in UNSEEN]
)
def test_damaged_files_are_refused(tmp_path: Path, writer: str, damage: str, capfd: pytest.CaptureFixture[str]) -> None:
    rng, path = np.random.default_rng(1), tmp_path / "a.image"
    for channels in (1, 3) * 6:
        path.write_bytes(DAMAGES[damage](written(picture(rng, channels), writer), rng))
        with pytest.raises(SegfoldError, match=r"a\.image (is damaged|cannot be decoded): [^\n]*$"):
            read_image(path)
    assert capfd.readouterr().err == ""


def test_any_harm_gives_a_picture_or_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng, path = np.random.default_rng(6), tmp_path / "a"
    for writer in list(WRITERS) * 8:
        data = bytearray(written(picture(rng), writer))
        for place in rng.integers(0, len(data) if rng.random() < 0.5 else 60, rng.integers(1, 4)):
            data[place] = rng.integers(256)
        path.write_bytes(data[: rng.integers(len(data))] if rng.random() < 0.3 else data)
        for read in (read_image, functools.partial(read_mask, exif="turn", palette="indices")):
            try:
                assert read(path).ndim in (2, 3)
            except SegfoldError as error:
                assert "\n" not in str(error) and str(path) in str(error)
    assert capfd.readouterr().err == ""


def test_a_changed_byte_of_a_deflated_tiff_is_seen(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(2), tmp_path / "a.tif"
    data = written(picture(rng), "tiff-deflate")
    for place in rng.integers(8, len(data) // 2, 20):  # the tags follow the pixels
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        with pytest.raises(SegfoldError, match=r"a\.tif is damaged"):
            read_image(path)


@pytest.mark.parametrize("shape", [(16, 16), (300, 500)])
def test_black_and_empty_pictures_are_whole(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = tmp_path / "a"
    for writer in WRITERS:
        path.write_bytes(written(np.zeros((*shape, 3), np.uint8), writer))
        assert read_image(path).max() <= 1


def test_a_tag_that_the_decoder_does_not_know_is_no_damage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pixels = picture(np.random.default_rng(3))
    (tmp_path / "a.tif").write_bytes(written(pixels, "tiff-lzw", tiffinfo={65000: "of the microscope"}))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), pixels)
    assert capfd.readouterr().err == ""


def test_remarks_on_a_sound_png_are_kept_from_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pixels, path = picture(np.random.default_rng(3)), tmp_path / "a.png"
    path.write_bytes(written(pixels, "png", icc_profile=b"no profile at all" * 20))
    np.testing.assert_array_equal(read_image(path), pixels)
    assert capfd.readouterr().err == ""


def test_what_one_file_makes_a_library_say_is_not_held_against_another(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rng, paths = np.random.default_rng(4), []
    for number in range(60):
        data = written(picture(rng), "jpeg")
        paths.append(tmp_path / f"{'bad' if number % 3 == 0 else 'good'}{number}.jpg")
        paths[-1].write_bytes(DAMAGES["half and the end"](data, rng) if number % 3 == 0 else data)

    def refused(path: Path) -> bool:
        try:
            read_image(path)
        except SegfoldError:
            return True
        return False

    assert [path.name.startswith("bad") for path in paths] == list(map_files(refused, paths))
    os.write(2, b"as before")
    assert capfd.readouterr().err == "as before"


CLOSED = """
import os, sys
os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
os.close(2)
from pathlib import Path
from segfold.layouts.decode import read_image
from segfold.errors import SegfoldError
for path in sys.argv[1:]:
    try:
        read_image(Path(path))
    except SegfoldError as error:
        print(error)
"""


def test_damage_is_seen_by_a_process_that_hears_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for writer in ("jpeg", "tiff-lzw"):
        (tmp_path / writer).write_bytes(DAMAGES["zeroed"](written(picture(rng), writer), rng))
    arguments = [str(tmp_path / writer) for writer in ("jpeg", "tiff-lzw")]
    said, _ = run_python(f"import sys; sys.argv[1:] = {arguments}\n{CLOSED}").communicate(timeout=60)
    assert said.count(" is damaged: ") == 2, said


def _png(height: int, width: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("shape", [(40_000, 40_000), (3, 1_100_000)])
def test_a_picture_that_opencv_does_not_read_for_its_size(
    tmp_path: Path, shape: tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wide.png").write_bytes(_png(*shape))
    with pytest.raises(
        SegfoldError, match=r"wide\.png is larger than OpenCV reads \(2\^30 pixels[^\n]* tiled TIFF[^\n]*$"
    ):
        read_image(tmp_path / "wide.png")
    assert capfd.readouterr().err == ""
