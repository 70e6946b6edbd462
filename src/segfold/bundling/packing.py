"""A bundle on disk: one zip, or a folder as Kaggle's client uploads it, with a list of all files and their checksums."""

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from segfold.bundling.contents import Files
from segfold.disk import disk_errors
from segfold.errors import SegfoldError, shown
from segfold.files import read_json, write_atomic

FORMAT = 1
"""Of bundles; raised when an older segfold would make something wrong of one."""

MANIFEST = "bundle.json"
_PACKED = {".safetensors", ".whl", ".pt"}  # which no zip makes smaller


class Written(NamedTuple):
    """A bundle on disk.

    Attributes:
        path: the zip, or the folder.
        bytes: size of all files together.
    """

    path: Path
    bytes: int


def write_zip(files: Files, details: Mapping[str, Any], path: Path, manifest: str = MANIFEST) -> Written:
    """Writes files as one zip, whole or not at all.

    Args:
        details: what the manifest says beside the files' checksums.
        manifest: its name in the zip.

    Raises:
        SegfoldError: a full disk.
    """
    digests: dict[str, str] = {}
    count = 0
    with write_atomic(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_STORED if Path(name).suffix in _PACKED else zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=True) as sink:
                digests[name], length = _copy(content, sink)
                count += length
        archive.writestr(manifest, _manifest_text(details, digests))
    return Written(path, count)


def write_folder(files: Files, details: Mapping[str, Any], path: Path) -> Written:
    """Writes files as a folder: it gets its name when it is whole, and takes the place of an earlier bundle.

    Raises:
        SegfoldError: a full disk, or something else of that name.
    """
    if path.exists() and not (path / MANIFEST).is_file():
        raise SegfoldError(f"{path} is there and no bundle: give another name with --name, or move it away")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    digests: dict[str, str] = {}
    count = 0
    with disk_errors(path):
        try:
            for name, content in sorted(files.items()):
                place = part / name
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as sink:
                    digests[name], length = _copy(content, sink)
                    count += length
            (part / MANIFEST).write_text(_manifest_text(details, digests))
            shutil.rmtree(path, ignore_errors=True)
            part.rename(path)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return Written(path, count)


def _copy(content: Path | bytes, sink: IO[bytes]) -> tuple[str, int]:
    """Writes some content; returns its sha256 and its length in bytes."""
    digest, count = hashlib.sha256(), 0
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as source:
        while data := source.read(1 << 20):
            sink.write(data)
            digest.update(data)
            count += len(data)
    return digest.hexdigest(), count


def _manifest_text(details: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    return json.dumps({"format": FORMAT, **details, "files": digests}, indent=2, ensure_ascii=False) + "\n"


def read_manifest(path: Path, what: str) -> dict[str, Any]:
    """The manifest in a file.

    Args:
        what: what it is of, for messages.

    Raises:
        SegfoldError: it cannot be read, or is of a newer segfold.
    """
    values = read_json(path)
    found = values.get("format") if isinstance(values, dict) else None
    files = values.get("files") if isinstance(values, dict) else None
    if not isinstance(found, int) or not isinstance(files, dict) or not all(isinstance(x, str) for x in files.values()):
        raise SegfoldError(f"{path} is no list of {what}: get it anew")
    if found > FORMAT:
        raise SegfoldError(f"{path} is of format {found}, this segfold reads up to {FORMAT}; update segfold to use it")
    return dict(values)


def check_files(root: Path, manifest: Mapping[str, Any], name: str) -> None:
    """Holds files to the checksums of their manifest.

    Args:
        name: what to call the whole, for messages.

    Raises:
        SegfoldError: one that is missing or has other content.
    """
    for file, digest in manifest["files"].items():
        path = root / file
        if not path.is_file():
            raise SegfoldError(f"{name} lacks {shown(file)}: get it anew")
        with path.open("rb") as source:
            if hashlib.file_digest(source, "sha256").hexdigest() != digest:
                raise SegfoldError(f"{name}: {shown(file)} is damaged, its checksum is another: get it anew")


@contextmanager
def fresh_folder(parent: Path, name: str) -> Iterator[Path]:
    """A hidden folder for a process that is alone in ``parent``; it is gone afterwards, or after the next call."""
    part = parent / f".{name}.part"
    with disk_errors(part):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
