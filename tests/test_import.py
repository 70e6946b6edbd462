"""Importing a competition's data: any packing is understood, and nothing is written outside or half."""

import io
import os
import shutil
import stat
import types
import zipfile
from pathlib import Path

import pytest

from import_files import contents, kaggle_files, nothing_left, write_files, zipped
from segfold.competition import load_competition
from segfold.data.images import load_split
from segfold.errors import SegfoldError
from segfold.importing import kaggle
from segfold.importing.kaggle import import_data
from tiny_competition import TEST_IDS, TINY, TRAIN_IDS, write_tiny

DONE = "5 train and 3 test images"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    root = tmp_path / "raw"
    write_tiny(root)
    return root


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize(
    "packing", ["folder", "nested folder", "zip", "nested zip", "zips in a folder", "one part unpacked"]
)
def test_any_packing(tmp_path: Path, raw: Path, home: Path, packing: str) -> None:
    files, source = contents(raw), tmp_path / "source"
    if packing == "folder":
        source = raw
    elif packing == "nested folder":
        write_files(source / "a" / "b", files | {"train/images/notes.txt": b"x"})
    elif packing == "zip":
        source = tmp_path / "all.zip"
        source.write_bytes(zipped({f"tiny\\{name}".replace("/", "\\"): data for name, data in files.items()}))
    elif packing == "nested zip":
        source = tmp_path / "tiny-slug.zip"
        source.write_bytes(zipped(kaggle_files(raw) | {"competition_data.zip": zipped(files)}))
    elif packing == "zips in a folder":
        write_files(source, kaggle_files(raw))
    else:
        write_files(source, kaggle_files(raw) | {k: v for k, v in files.items() if k.startswith("train/")})
    before = contents(source) if source.is_dir() else source.read_bytes()
    said = import_data(TINY, source, home)
    assert said == f"imported into {home / 'data' / 'tiny'}: {DONE}"
    assert contents(home / "data" / "tiny") == files
    assert (contents(source) if source.is_dir() else source.read_bytes()) == before
    assert nothing_left(home)


def test_links_in_a_folder_become_files(tmp_path: Path, raw: Path, home: Path) -> None:
    source = tmp_path / "links"
    source.mkdir()
    for entry in raw.iterdir():
        (source / entry.name).symlink_to(entry)
    import_data(TINY, source, home)
    target = home / "data" / "tiny"
    assert contents(target) == contents(raw)
    assert not any(path.is_symlink() for path in target.rglob("*"))


def test_masks_may_be_missing(raw: Path, home: Path) -> None:
    shutil.rmtree(raw / "train" / "masks")
    import_data(TINY, raw, home)
    assert load_split(TINY, "train", home).masks is not None


def test_a_solution_comes_along(raw: Path, home: Path) -> None:
    (raw / "solution.csv").write_text("id,rle_mask\n")
    import_data(TINY, raw, home)
    assert not (home / "data" / "tiny" / "solution.csv").exists()
    import_data(TINY.model_copy(update={"name": "other", "solution": "solution.csv"}), raw, home)
    assert (home / "data" / "other" / "solution.csv").exists()


# Data that is there already


def test_same_data_again(raw: Path, home: Path) -> None:
    import_data(TINY, raw, home)
    load_split(TINY, "train", home)
    target = home / "data" / "tiny"
    (target / "notes.txt").write_text("mine")
    inode = target.stat().st_ino
    assert "same data already" in import_data(TINY, raw, home)
    assert "same data already" in import_data(TINY, raw, home, force=True)
    assert target.stat().st_ino == inode
    assert (target / "cache").is_dir()


def test_other_data_needs_force(tmp_path: Path, raw: Path, home: Path) -> None:
    import_data(TINY, raw, home)
    load_split(TINY, "train", home)
    target = home / "data" / "tiny"
    (target / "external").mkdir()
    (target / "external" / "notes.txt").write_text("mine")
    other = tmp_path / "other"
    write_tiny(other, seed=1)
    before = contents(target)
    with pytest.raises(SegfoldError, match=r"other data, \d+ files differ .*force=1"):
        import_data(TINY, other, home)
    assert contents(target) == before
    assert "imported" in import_data(TINY, other, home, force=True)
    # What the user has put there stays; the cache of the old images does not.
    assert contents(target) == contents(other) | {"external/notes.txt": b"mine"}
    assert nothing_left(home)


@pytest.mark.parametrize("path", ["train/masks/0b.png", "depths.csv"])
def test_one_changed_or_missing_file_is_other_data(raw: Path, home: Path, path: str) -> None:
    import_data(TINY, raw, home)
    file = home / "data" / "tiny" / path
    size = file.stat().st_size
    file.write_bytes(b"x" * size)
    with pytest.raises(SegfoldError, match=f"1 files differ .{path}"):
        import_data(TINY, raw, home)
    file.unlink()
    with pytest.raises(SegfoldError, match=f"1 files differ .{path}"):
        import_data(TINY, raw, home)


# Failures leave what was there


def test_problems_are_counted_and_the_first_named(raw: Path, home: Path) -> None:
    for name in TRAIN_IDS:
        (raw / "train" / "images" / f"{name}.png").write_bytes(b"x")
        (raw / "train" / "masks" / f"{name}.png").write_bytes(b"x")
    for name in TEST_IDS:
        (raw / "test" / "images" / f"{name}.png").write_bytes(b"x")
    (raw / "train" / "masks" / "new.png").write_bytes(b"x")
    with pytest.raises(SegfoldError) as caught:
        import_data(TINY, raw, home)
    said = str(caught.value)
    assert said.startswith("the data has 9 problems, nothing was imported: ")
    assert all(f"train/images/{name}.png" in said for name in TRAIN_IDS)
    assert "\n" not in said
    assert not (home / "data" / "tiny").exists()
    assert nothing_left(home)


@pytest.mark.parametrize("moment", ["copy", "rename"])
def test_a_failed_import_leaves_the_old_data(
    tmp_path: Path, raw: Path, home: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    import_data(TINY, raw, home)
    before = contents(home / "data" / "tiny")
    other = tmp_path / "other"
    write_tiny(other, seed=1)
    if moment == "copy":

        def full(source: Path, target: Path) -> None:
            raise OSError(28, "No space left on device", str(target))

        monkeypatch.setattr(shutil, "copyfile", full)
    else:
        rename = Path.rename

        def broken(self: Path, target: Path) -> Path:
            if self.name == "data":
                raise OSError(5, "Input/output error")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(SegfoldError, match=r"import failed, .* is as it was"):
        import_data(TINY, other, home, force=True)
    assert contents(home / "data" / "tiny") == before
    assert nothing_left(home)


def test_an_import_killed_between_its_renames_is_undone(raw: Path, home: Path) -> None:
    import_data(TINY, raw, home)
    data = home / "data"
    (data / "tiny").rename(data / ".tiny.replaced")
    write_files(data / ".tiny.importing", {"data/train.csv": b"x"})
    with pytest.raises(SegfoldError, match=r"no .*nowhere"):
        import_data(TINY, home / "nowhere", home)
    assert contents(data / "tiny") == contents(raw)
    assert nothing_left(home)


def test_one_import_at_a_time(raw: Path, home: Path) -> None:
    with (
        kaggle._workplace(home / "data" / "tiny"),
        pytest.raises(SegfoldError, match="another process is importing into"),
    ):
        import_data(TINY, raw, home)


@pytest.mark.parametrize("missing", ["train/images", "test/images", "train.csv", "sample_submission.csv", "depths.csv"])
def test_what_is_not_there_is_named(raw: Path, home: Path, missing: str) -> None:
    path = raw / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(SegfoldError, match=f"has no {missing}: expected the data of Tiny"):
        import_data(TINY, raw, home)


def test_two_data_sets_in_one_folder(tmp_path: Path, home: Path) -> None:
    for name in ("a", "b"):
        write_tiny(tmp_path / "both" / name)
    with pytest.raises(SegfoldError, match="more than once"):
        import_data(TINY, tmp_path / "both", home)


# Archives


def entry(name: str, mode: int = 0o100644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (entry("../evil.png"), "leaves the folder"),
        (entry("train/images/../../../evil.png"), "leaves the folder"),
        (entry("..\\evil.png"), "leaves the folder"),
        (entry("/tmp/train/images/evil.png"), "absolute"),
        (entry("C:\\evil.png"), "absolute"),
        (entry("train/images/evil.png", stat.S_IFLNK | 0o777), "a link"),
        (entry("train", stat.S_IFLNK | 0o777), "a link"),
        (entry("train/images/evil.png", stat.S_IFIFO | 0o644), "no plain file"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_dangerous_archives_are_refused(
    tmp_path: Path, raw: Path, home: Path, member: zipfile.ZipInfo, said: str, nested: bool
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, "/etc/passwd")
        for name, data in contents(raw).items():
            archive.writestr(name, data)
    source = tmp_path / "evil.zip"
    source.write_bytes(zipped({"inner.zip": buffer.getvalue()}) if nested else buffer.getvalue())
    before = {path for path in tmp_path.rglob("*") if home not in path.parents}
    with pytest.raises(SegfoldError, match=f"evil|'train'|{said}") as caught:
        import_data(TINY, source, home)
    assert said in str(caught.value)
    assert {path for path in tmp_path.rglob("*") if home not in path.parents} == before
    assert not (home / "data" / "tiny").exists()
    assert nothing_left(home)


def test_broken_archives(tmp_path: Path, raw: Path, home: Path) -> None:
    source = tmp_path / "a.zip"
    whole = zipped(contents(raw))
    source.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SegfoldError, match="not a whole zip"):
        import_data(TINY, source, home)
    damaged = bytearray(whole)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.compress_size)
    damaged[largest.header_offset + 30 + len(largest.filename) + largest.compress_size // 2] ^= 255
    source.write_bytes(damaged)
    with pytest.raises(SegfoldError, match="not a whole zip"):
        import_data(TINY, source, home)
    source.write_bytes(whole)
    with zipfile.ZipFile(source, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("train/images/0b.png", b"another")
    with pytest.raises(SegfoldError, match=r"'0b\.png' twice"):
        import_data(TINY, source, home)
    source.rename(tmp_path / "a.txt")
    with pytest.raises(SegfoldError, match="neither a folder nor a zip"):
        import_data(TINY, tmp_path / "a.txt", home)


def test_an_archive_too_large_for_the_disk(
    tmp_path: Path, raw: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "a.zip"
    source.write_bytes(zipped(contents(raw)))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=100))
    with pytest.raises(SegfoldError, match="make room"):
        import_data(TINY, source, home)
    assert nothing_left(home)


def test_real_data(home: Path) -> None:
    root = os.environ.get("SEGFOLD_DATA_ROOT")
    if not root or not (Path(root) / "tgs-salt").is_dir():
        pytest.skip("SEGFOLD_DATA_ROOT has no tgs-salt")
    said = import_data(load_competition("tgs-salt"), Path(root) / "tgs-salt", home)
    assert said.startswith("imported into")
