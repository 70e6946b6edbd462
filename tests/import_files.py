"""A competition's files as they come: folders, archives, and the way Kaggle packs them."""

import io
import struct
import zipfile
from pathlib import Path


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def set_fields(data: bytes, local: int, central: int, value: int, keep: int = 0) -> bytes:
    """A zip with a two-byte field changed in the header of every member, and in the directory at the end."""
    changed = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        at = changed.find(signature)
        while at >= 0:
            (former,) = struct.unpack_from("<H", changed, at + offset)
            struct.pack_into("<H", changed, at + offset, former & keep | value)
            at = changed.find(signature, at + 4)
    return bytes(changed)


def below(files: dict[str, bytes], folder: str) -> dict[str, bytes]:
    return {name.removeprefix(folder): data for name, data in files.items() if name.startswith(folder)}


def kaggle_files(raw: Path) -> dict[str, bytes]:
    """As Kaggle packs it: train.zip with images/ and masks/, test.zip with images/, tables beside them."""
    files = contents(raw)
    tables = {name: data for name, data in files.items() if name.endswith(".csv")}
    train = below(files, "train/") | {"__MACOSX/images/._0b.png": b"rubbish", "images/.DS_Store": b"rubbish"}
    return {"train.zip": zipped(train), "test.zip": zipped(below(files, "test/")), **tables}


def write_files(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def nothing_left(home: Path) -> bool:
    """Whether an import has left no more than its lock beside the data."""
    return {path.name for path in (home / "data").iterdir()} <= {"tiny", ".tiny.lock"}
