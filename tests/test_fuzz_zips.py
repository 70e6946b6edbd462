"""Zips with damaged bytes and odd members: the data as it was, or one line, and nothing outside or left over."""

import io
import shutil
import stat
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fuzzing import WrongError, counts, fuzz, mutated, some
from import_files import below, contents, kaggle_files, set_fields, zipped
from segfold.errors import SegfoldError
from segfold.importing.kaggle import import_data
from tiny_competition import TINY, write_tiny

METHODS = (*[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED] * 3, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
NAMES = (
    *(
        "../x.png",
        "/x.png",
        "C:/x.png",
        "train/images/../../x.png",
        "train/images/..",
        "train/images/.",
        ".",
        "",
        "/",
        "\\",
    ),
    *("train/images/x.png/train/images/y.png", "train/images/0b.png", "train/images", "train", "train.csv/train.csv"),
    *(
        "train/images/" + "x" * 300 + ".png",
        "x/" * 3000 + "train/images/a.png",
        "train/images/é.png",
        "train/images/e\u0301.png",
    ),
    *("train/images/\n.png", "train/images/ .png", "train/images/.png", "train\\images\\z.png", "train/masks/z.png"),
    *(
        "__MACOSX/train/images/0b.png",
        "a.zip",
        "a/train.csv",
        "train.csv",
        "depths.csv/",
        "con.png",
        "train/images/😀.png",
    ),
)
MODES = (
    0,
    0o644,
    0o100644,
    0o100000,
    0o777,
    stat.S_IFLNK | 0o777,
    stat.S_IFIFO | 0o644,
    stat.S_IFDIR | 0o755,
    stat.S_IFCHR,
)


def packed(rng: np.random.Generator, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", some(rng, METHODS)) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def with_odd_member(rng: np.random.Generator, data: bytes) -> bytes:
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there already
        for _ in range(int(rng.integers(1, 3))):
            info = zipfile.ZipInfo(some(rng, NAMES) or "x")
            info.create_system, info.external_attr = int(rng.integers(0, 4)), some(rng, MODES) << 16
            archive.writestr(info, some(rng, [b"", b"x", bytes(1000), data[:100]]))
    return buffer.getvalue()


def a_zip(rng: np.random.Generator, raw: Path) -> bytes:
    """All files in a zip, or in zips in a zip, damaged in one place or another."""
    files = contents(raw)
    match int(rng.integers(6)):
        case 0:
            return mutated(packed(rng, files), rng)
        case 1:
            return with_odd_member(rng, packed(rng, files))
        case 2:
            flags = {"local": 6, "central": 8} if rng.random() < 0.5 else {"local": 8, "central": 10}
            value = int(some(rng, [1, 8, 9, 12, 14, 93, 1 << 5, 1 << 6, 1 << 11, 1 << 13, 0xFFFF]))
            return set_fields(packed(rng, files), value=value, keep=some(rng, [0, 0xFFFF]), **flags)
        case 3:
            inner = packed(rng, below(files, "train/"))
            inner = with_odd_member(rng, inner) if rng.random() < 0.5 else mutated(inner, rng)
            return zipped({**kaggle_files(raw), "train.zip": inner})
        case 4:  # a damaged zip beside what it holds
            return zipped({**files, "train.zip": mutated(packed(rng, below(files, "train/")), rng)})
        case _:
            whole = packed(rng, files)
            return some(
                rng, [whole, whole[: int(rng.integers(len(whole)))], rng.bytes(40) + whole, whole + rng.bytes(40)]
            )


@counts
def test_zips(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, home, source = tmp_path / "raw", tmp_path / "home", tmp_path / "all.zip"
    write_tiny(raw)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    outside = {path.name for path in tmp_path.iterdir()} | {"home", "all.zip"}
    expected = contents(raw)

    def case(rng: np.random.Generator) -> None:
        source.write_bytes(a_zip(rng, raw))
        shutil.rmtree(home, ignore_errors=True)
        lines: list[str] = []
        try:
            import_data(TINY, source, home, say=lines.append)
        except SegfoldError:
            if {path.name for path in (home / "data").iterdir()} != {".tiny.lock"}:
                raise WrongError(f"left over: {sorted(contents(home))}") from None
            raise
        finally:
            if {path.name for path in tmp_path.iterdir()} != outside or list(Path().iterdir()):
                raise WrongError("written outside")
        if contents(home / "data" / "tiny") != expected:
            raise WrongError(f"imported {sorted(contents(home / 'data' / 'tiny'))}")
        if any(len(line.splitlines()) != 1 for line in lines):
            raise WrongError(f"not one line: {lines}")

    fuzz(count, "zips", case)
