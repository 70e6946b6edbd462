"""Archives that are packed oddly, damaged, or of something else: skipped with a line, or refused with their reason."""

import io
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from import_files import below, contents, kaggle_files, nothing_left, set_fields, write_files, zipped
from segfold.competition import Competition
from segfold.data.images import load_split
from segfold.errors import SegfoldError
from segfold.importing.kaggle import import_data
from segfold.layouts.archive import unpack
from tiny_competition import TINY, write_tiny

FLAT = TINY.model_copy(update={"train_images": "train", "train_masks": "masks", "test_images": "test"})


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    write_tiny(root)
    return root


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def flat(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same with images in ``train``, ``test`` and masks in ``masks``, as many competitions have it."""
    moves = {"train/images/": "train/", "train/masks/": "masks/", "test/images/": "test/"}
    return {
        next((new + name.removeprefix(old) for old, new in moves.items() if name.startswith(old)), name): data
        for name, data in files.items()
    }


@pytest.mark.parametrize("unpacked", [False, True], ids=["zip", "unzipped"])
@pytest.mark.parametrize("competition", [TINY, FLAT], ids=["folders in train", "images in train"])
def test_an_archive_that_holds_the_folder_of_its_name(
    tmp_path: Path, raw: Path, home: Path, competition: Competition, unpacked: bool
) -> None:
    files = contents(raw) if competition is TINY else flat(contents(raw))
    source: dict[str, bytes] = {name: data for name, data in files.items() if "/" not in name}
    for top in {name.split("/")[0] for name in files if "/" in name}:
        inside = {f"{top}/{name}": data for name, data in below(files, f"{top}/").items()}
        source |= (
            {f"{top}/{name}": data for name, data in inside.items()} if unpacked else {f"{top}.zip": zipped(inside)}
        )
    import_data(competition, write_files(tmp_path / "source", source), home)
    assert contents(home / "data" / "tiny") == files
    load_split(competition, "train", home)


def test_a_folder_without_a_file_of_its_part_says_so(tmp_path: Path, raw: Path, home: Path) -> None:
    files = {
        name.replace(".png", ".PNG") if name.startswith("test/") else name: data for name, data in contents(raw).items()
    }
    with pytest.raises(SegfoldError, match=r"test/images holds no \.png file; so .* has no test/images"):
        import_data(TINY, write_files(tmp_path / "source", files), home)


def with_mode(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def packed(
    files: dict[str, bytes], method: int = zipfile.ZIP_STORED, *extra: tuple[zipfile.ZipInfo | str, bytes]
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        for info, data in extra:
            archive.writestr(info, data)
    return buffer.getvalue()


def damaged_at_the_end(files: dict[str, bytes], method: int) -> bytes:
    """One bit of the last member's data is wrong."""
    data = bytearray(packed(files, method))
    data[data.rfind(b"PK\x03\x04") + 30 + len(list(files)[-1]) + 30] ^= 4
    return bytes(data)


LONG = f"train/images/{'x' * 300}.png"
BAD: dict[str, tuple[Callable[[dict[str, bytes]], bytes], str]] = {
    "half a zip": (lambda files: packed(files)[:-100], "not a whole zip"),
    "a web page": (lambda files: b"<!DOCTYPE html><title>Log in</title>", "not a whole zip"),
    "nothing": (lambda files: b"", "not a whole zip"),
    "stored, damaged": (lambda files: damaged_at_the_end(files, zipfile.ZIP_STORED), "not a whole zip"),
    "deflate, damaged": (lambda files: damaged_at_the_end(files, zipfile.ZIP_DEFLATED), "not a whole zip"),
    "bzip2, damaged": (lambda files: damaged_at_the_end(files, zipfile.ZIP_BZIP2), "not a whole zip"),
    "lzma, damaged": (lambda files: damaged_at_the_end(files, zipfile.ZIP_LZMA), "not a whole zip"),
    "Deflate64": (lambda files: set_fields(packed(files), 8, 10, 9), r"method 9 \(Deflate64\)\): unpack it with 7z"),
    "an unknown method": (lambda files: set_fields(packed(files), 8, 10, 77), "cannot read .*: unpack it with 7z"),
    "encrypted": (
        lambda files: set_fields(packed(files), 6, 8, 1, keep=0xFFFE),
        "encrypted: unpack it with its password",
    ),
    "a name that is too long": (lambda files: packed(files, 0, (LONG, b"x")), "'train/images/xxx|'xxx.*too long"),
    "a file below a file": (
        lambda files: packed(files, 0, ("train/images/0b.png/a/train/images/a.png", b"x")),
        "cannot be",
    ),
    "a member twice": (lambda files: packed(files, 0, ("train/images/0b.png", b"x")), "twice"),
    "a link": (lambda files: packed(files, 0, (with_mode("a", stat.S_IFLNK | 0o777), b"/etc")), "a link"),
    "a path that climbs": (lambda files: packed(files, 0, ("../a", b"")), "leaves the folder"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", BAD)
def test_a_bad_archive_stops_an_import_only_where_it_is_needed(
    tmp_path: Path, raw: Path, home: Path, case: str
) -> None:
    spoil, reason = BAD[case]
    good = kaggle_files(raw)
    files = {name: data for name, data in contents(raw).items() if name.startswith("train/")}
    source = write_files(tmp_path / "source", {**good, "train.zip": spoil(files)})
    with pytest.raises(SegfoldError, match=f"train\\.zip.*({reason}).*; so .*source has no train/images") as caught:
        import_data(TINY, source, home)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert nothing_left(home)
    write_files(source, {"again/train.zip": good["train.zip"]})
    lines: list[str] = []
    assert import_data(TINY, source, home, say=lines.append).startswith("imported")
    assert [line.split()[:2] for line in lines] == [["skipped", f"{source}/train.zip"]]
    assert contents(home / "data" / "tiny") == contents(raw)  # nothing comes from what is left of a damaged one


def test_foreign_archives_are_passed_over(tmp_path: Path, raw: Path, home: Path) -> None:
    files = kaggle_files(raw)
    files["photos.zip"] = packed({"a.jpg": b"x"}, 0, (with_mode("link", stat.S_IFLNK | 0o777), b"/etc"))
    files["page.zip"] = b"<html>"
    lines: list[str] = []
    import_data(TINY, write_files(tmp_path / "source", files), home, say=lines.append)
    assert [line.split()[1] for line in lines] == [f"{tmp_path}/source/page.zip"]
    assert contents(home / "data" / "tiny") == contents(raw)


def test_a_bad_archive_in_another_is_named_by_both(tmp_path: Path, raw: Path, home: Path) -> None:
    source = tmp_path / "all.zip"
    source.write_bytes(zipped(kaggle_files(raw) | {"train.zip": b"<html>"}))
    with pytest.raises(SegfoldError, match=rf"^{source}/all/train\.zip is not a whole zip"):
        import_data(TINY, source, home)


def test_a_folder_that_may_not_be_read_is_passed_over(
    tmp_path: Path, raw: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_files(tmp_path / "source", contents(raw) | {"lost+found/x": b""})
    scan = os.scandir

    def denied(folder: Path | int) -> object:
        if str(folder) == f"{source}/lost+found":
            raise PermissionError(13, "Permission denied", folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", denied)
    lines: list[str] = []
    import_data(TINY, source, home, say=lines.append)
    assert lines == [f"skipped {source}/lost+found: Permission denied"]


def test_a_failed_archive_leaves_no_file(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(damaged_at_the_end({f"{n}.png": bytes(100) for n in range(5)}, zipfile.ZIP_STORED))
    with pytest.raises(SegfoldError, match="not a whole zip"):
        unpack(archive, tmp_path / "target", lambda member: True)
    assert not [path for path in (tmp_path / "target").rglob("*") if path.is_file()]


def test_the_disk_fills_while_an_archive_is_unpacked(
    tmp_path: Path, raw: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the archive's fault: it must not be passed over for another."""
    mkdir = Path.mkdir

    def full(self: Path, *arguments: int, **options: bool) -> None:
        if self.name == "images" and "unpacked" in self.parts:
            raise OSError(28, "No space left on device", str(self))
        mkdir(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(SegfoldError, match="No space left"):
        import_data(TINY, write_files(tmp_path / "source", kaggle_files(raw)), home)
