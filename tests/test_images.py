"""Tables, decoding, and what a split holds."""

import os
import shutil
import threading
import time
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest

from segfold.competition import Competition, load_competition
from segfold.data.images import load_split
from segfold.errors import SegfoldError
from segfold.layouts import ahead
from segfold.layouts.ahead import map_files
from segfold.layouts.decode import read_image, read_mask
from segfold.layouts.table import read_table
from tiny_competition import TEST_IDS, TINY, TRAIN_IDS, write_image, write_tiny


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_tiny(tmp_path / "data" / "tiny")
    return tmp_path


# Tables


def test_table_keeps_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\ufeffid,rle,n\n1e1000,,1\n00123,1 2,2\nNA,null,3\nshort\n", encoding="utf-8")
    table = read_table(path, ["id", "rle"])
    assert table.values.tolist() == [["1e1000", ""], ["00123", "1 2"], ["NA", "null"], ["short", ""]]


@pytest.mark.parametrize(
    "text",
    [
        "id, rle\na, 1 2\nb,\n",
        'id, "rle"\n"a", "1 2"\nb, ""\n',
        "id ,rle \na,1 2\nb,\n",
        "\ufeff id, rle\n a, 1 2\n b, \n",
        '\ufeff"id","rle"\r\n"a","1 2"\r\n"b",""\r\n',
        "rle, n, id\n1 2, 7, a\n, 8, b\n",
    ],
)
def test_blanks_and_quotes_around_the_columns(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    assert read_table(path, ["id", "rle"]).values.tolist() == [["a", "1 2"], ["b", ""]]
    assert list(read_table(path, ["id", " rle"]).columns) == ["id", " rle"]


def test_blanks_of_an_id_stay_where_the_columns_have_none(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,rle\n a,1 2\nb ,\n")
    assert list(read_table(path, ["id"])["id"]) == [" a", "b "]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,rle\na,\na,1 1\n", "id a more than once"),
        ("id,rle, rle\na,1 1,\n", "column rle more than once"),
        ("id,rle,rle\na,1 1,\n", "column rle more than once"),
        ("a,1 1\nb,\n", "no column id, rle"),
        ("id,rle\na,1,1\n", "not a CSV"),
        ("id,rle\na,\n,\n", "blank id"),
        ("", "empty"),
    ],
)
def test_bad_table(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(SegfoldError, match=said):
        read_table(path, ["id", "rle"])
    with pytest.raises(SegfoldError, match="no table"):
        read_table(tmp_path / "none.csv", ["id"])


# Decoding


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_bits_and_channels_are_kept(tmp_path: Path, dtype: type, channels: int) -> None:
    top = np.iinfo(dtype).max
    image = np.random.default_rng(0).integers(0, top + 1, (5, 7, channels)).astype(dtype)
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]  # OpenCV writes blue first
    assert cv2.imwrite(str(tmp_path / "a.png"), image[:, :, order])
    read = read_image(tmp_path / "a.png")
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, image)


@pytest.mark.parametrize("stored", [np.uint8(1), np.uint8(255), np.uint16(1), np.uint16(255), np.uint16(65535)])
def test_mask_is_what_is_above_zero(tmp_path: Path, stored: np.generic) -> None:
    mask = np.random.default_rng(1).random((6, 4)) < 0.5
    cv2.imwrite(str(tmp_path / "m.png"), mask * stored)
    read = read_mask(tmp_path / "m.png")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, mask)


def test_mask_of_any_colour_without_alpha(tmp_path: Path) -> None:
    mask = np.zeros((3, 3, 4), np.uint8)
    mask[..., 3] = 255
    mask[0, 1, 2] = 9
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    assert np.argwhere(read_mask(tmp_path / "m.png")).tolist() == [[0, 1]]


def test_no_damage_to_a_png_goes_unseen(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, np.random.default_rng(2).integers(0, 256, (9, 9, 3), dtype=np.uint8))
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with pytest.raises(SegfoldError, match=r"a\.png"):
            read_image(path)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(SegfoldError, match=r"a\.png"):
            read_image(path)


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(SegfoldError, match="expected an image"):
        read_image(tmp_path / "a.png")
    with pytest.raises(SegfoldError, match="cannot be read"):
        read_image(tmp_path / "none.png")
    cv2.imwrite(str(tmp_path / "f.tiff"), np.zeros((3, 3), np.float32))
    with pytest.raises(SegfoldError, match="float32"):
        read_image(tmp_path / "f.tiff")


def test_map_files_is_map() -> None:
    assert list(map_files(lambda i: i * i, range(1000))) == [i * i for i in range(1000)]
    assert list(map_files(np.negative, np.arange(700))) == list(-np.arange(700))


class Alive:
    """Counts the bytes of the arrays that it makes as long as they are there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = self.most = 0

    def make(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        time.sleep(0.0005)  # longer than their consumer needs
        parts = np.empty(size // 2, np.uint8), np.empty(size - size // 2, np.uint8)
        self._add(size)
        weakref.finalize(parts[0], self._add, -size)
        return parts

    def _add(self, size: int) -> None:
        with self._lock:
            self.now += size
            self.most = max(self.most, self.now)


@pytest.mark.parametrize("sizes", [[1000] * 300, [1] * 200 + [1000] * 100, [1000, 1, 1, 1] * 60])
def test_what_waits_for_its_consumer_is_bounded_by_bytes(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "AHEAD_BYTES", 5000)
    alive, given = Alive(), []
    for number, parts in enumerate(map_files(alive.make, sizes)):
        given.append(sum(map(len, parts)))
        if number < 20:
            time.sleep(0.002)  # a consumer that is slow to begin with
    assert given == sizes
    # Beside those that wait: one on each thread, and one with the consumer.
    assert alive.most <= 5000 + 1000 * ((os.cpu_count() or 1) + 2)


def test_map_files_ends_with_its_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "AHEAD_BYTES", 1)
    begun = []

    def make(size: int) -> np.ndarray:
        begun.append(size)
        return np.empty(size, np.uint8)

    results = map_files(make, range(10, 1000))
    assert len(next(results)) == 10
    results.close()  # threads that wait for room are let go
    assert len(begun) < 100


def test_map_files_raises_what_a_file_raised() -> None:
    def fail(number: int) -> int:
        return 1 // (number - 40)

    with pytest.raises(ZeroDivisionError):
        list(map_files(fail, range(1000)))


# A split


def test_split_holds_what_the_files_hold(tmp_path: Path) -> None:
    pictures, masks = write_tiny(tmp_path / "data" / "tiny")
    data = load_split(TINY, "train", tmp_path)
    assert data.ids.tolist() == sorted(TRAIN_IDS)
    assert all(type(name) is str for name in data.ids)
    assert data.masks is not None
    for i, name in enumerate(data.ids):
        np.testing.assert_array_equal(data.images[i], pictures[name])
        np.testing.assert_array_equal(data.masks[i], masks[name])
        assert data.coverage[i] == masks[name].sum() / masks[name].size
        assert data.extra.loc[name, "depth"] == 50 + TRAIN_IDS.index(name)
    assert data.ids[data.constant].tolist() == ["a7"]
    assert data.groups is None
    assert data.extra.index.tolist() == data.ids.tolist()
    assert data.images.shapes.tolist() == [list(pictures[name].shape) for name in data.ids]

    test = load_split(TINY, "test", tmp_path)
    assert test.ids.tolist() == sorted(TEST_IDS)
    assert test.masks is None
    assert np.isnan(test.coverage).all()
    np.testing.assert_array_equal(test.images[-1], pictures["zz"])


def test_position(home: Path) -> None:
    data = load_split(TINY, "train", home)
    wanted = ["nan", "00123", "nan"]
    assert data.ids[data.position(wanted)].tolist() == wanted
    with pytest.raises(SegfoldError, match=r"id 123, inf among 5"):
        data.position(["00123", "123", "inf"])


def test_views_cannot_change_the_data(home: Path) -> None:
    data = load_split(TINY, "train", home)
    with pytest.raises(ValueError, match="read-only"):
        data.images[0][:] = 0


def test_masks_from_rle_are_those_of_the_files(home: Path) -> None:
    files = load_split(TINY, "train", home)
    shutil.rmtree(home / "data" / "tiny" / "train" / "masks")
    texts = load_split(TINY, "train", home)
    assert files.masks is not None and texts.masks is not None
    for one, other in zip(files.masks, texts.masks):
        np.testing.assert_array_equal(one, other)
    assert files.fingerprint == texts.fingerprint


def test_row_order_is_not_column_order(home: Path) -> None:
    shutil.rmtree(home / "data" / "tiny" / "train" / "masks")
    down = load_split(TINY, "train", home)
    along = load_split(TINY.model_copy(update={"rle_order": "row"}), "train", home)
    assert down.fingerprint != along.fingerprint


def test_groups(home: Path) -> None:
    table = home / "data" / "tiny" / "train.csv"
    lines = table.read_text().splitlines()
    rows = [f"{line},{'' if i == 0 else 'g' + str(i // 2)}" for i, line in enumerate(lines[1:])]
    table.write_text("\n".join([lines[0] + ",well", *rows]))
    data = load_split(TINY.model_copy(update={"group_column": "well"}), "train", home)
    assert data.groups is not None
    assert dict(zip(data.ids, data.groups)) == {
        "00123": "",
        "1e1000": "g0",
        "0b": "g1",
        "nan": "g1",
        "a7": "g2",
    }


def test_sixteen_bits_and_one_channel_stay(tmp_path: Path) -> None:
    root = tmp_path / "data" / "tiny"
    pictures, _ = write_tiny(root)
    deep = {name: image[:, :, 0].astype(np.uint16) * 257 for name, image in pictures.items()}
    for name in TRAIN_IDS:
        write_image(root / "train" / "images" / f"{name}.png", deep[name])
    data = load_split(TINY, "train", tmp_path)
    assert data.images.dtype == np.uint16
    for name, image in zip(data.ids, data.images):
        np.testing.assert_array_equal(image, deep[name][:, :, None])


# What a user can mend


def test_no_data_folder(tmp_path: Path) -> None:
    with pytest.raises(SegfoldError, match=r"no data in .*tiny: run `make data from=PATH`.*`make data`"):
        load_split(TINY, "train", tmp_path)


def test_bad_files_are_named(home: Path) -> None:
    train = home / "data" / "tiny" / "train"
    (train / "images" / "0b.png").write_bytes((train / "images" / "0b.png").read_bytes()[:-20])
    write_image(train / "masks" / "nan.png", np.zeros((3, 4), np.uint8))
    with pytest.raises(SegfoldError, match=r"2 files: .*0b\.png is damaged.*nan\.png is 3×4, its image is 9×5"):
        load_split(TINY, "train", home)
    assert not list((home / "data" / "tiny" / "cache").glob("*train*"))
    (train / "masks" / "1e1000.png").unlink()
    with pytest.raises(SegfoldError, match=r"no mask in .*masks for 1e1000\.png"):
        load_split(TINY, "train", home)


def test_images_of_two_kinds(home: Path) -> None:
    path = home / "data" / "tiny" / "test" / "images" / "zz.png"
    write_image(path, read_image(path).astype(np.uint16) * 257)
    with pytest.raises(SegfoldError, match=r"zz\.png is 3×uint16, most images are 3×uint8: expected one kind"):
        load_split(TINY, "test", home)


def test_bad_rle_and_missing_line(home: Path) -> None:
    root = home / "data" / "tiny"
    shutil.rmtree(root / "train" / "masks")
    table = (root / "train.csv").read_text()
    lines = [line for line in table.splitlines() if not line.startswith("0b,")]
    (root / "train.csv").write_text("\n".join(lines))
    with pytest.raises(SegfoldError, match=r"no mask in .*train\.csv for image 0b"):
        load_split(TINY, "train", home)
    (root / "train.csv").write_text("\n".join([*lines, "0b,9999 1"]))
    with pytest.raises(SegfoldError, match=r"train\.csv: 0b: .*outside"):
        load_split(TINY, "train", home)


@pytest.mark.parametrize(("line", "said"), [("", "no line for 0b"), ("0b,deep", r"no number for 0b \('deep'\)")])
def test_bad_extra_table(home: Path, line: str, said: str) -> None:
    path = home / "data" / "tiny" / "depths.csv"
    lines = [row for row in path.read_text().splitlines() if not row.startswith("0b,")]
    path.write_text("\n".join([*lines, line]))
    with pytest.raises(SegfoldError, match=said):
        load_split(TINY, "train", home)


# The real competition


def test_real_data(tmp_path: Path) -> None:
    root = os.environ.get("SEGFOLD_DATA_ROOT")
    if not root or not (Path(root) / "tgs-salt").is_dir():
        pytest.skip("SEGFOLD_DATA_ROOT has no tgs-salt")
    salt: Competition = load_competition("tgs-salt")
    folder = tmp_path / "data" / "tgs-salt"
    folder.mkdir(parents=True)
    for entry in (Path(root) / "tgs-salt").iterdir():
        if entry.name != "cache":
            (folder / entry.name).symlink_to(entry.resolve())
    data = load_split(salt, "train", tmp_path)
    assert (data.images.shapes == [101, 101, 3]).all()
    # Facts of the whole set of 4,000, wide enough for a random part of it.
    assert 0.37 < (data.coverage == 0).mean() < 0.41
    assert 0.23 < data.coverage.mean() < 0.27
    assert (data.coverage[data.constant] == 0).all()
    assert 0.01 < data.constant.mean() < 0.03
    (folder / "train").unlink()
    (folder / "train").mkdir()
    (folder / "train" / "images").symlink_to(Path(root) / "tgs-salt" / "train" / "images")
    assert load_split(salt, "train", tmp_path).fingerprint == data.fingerprint  # RLE equals the PNG files
