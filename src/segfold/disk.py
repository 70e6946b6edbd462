"""What a disk may answer when a file is written, in words that say what to do."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from segfold.errors import SegfoldError
from segfold.paths import NO_NAME

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


def size_text(count: float) -> str:
    """A number of bytes as people say it, such as ``82 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if unit != "bytes" else f"{int(count)} bytes"
        count /= 1000
    return f"{count:.3g} TB"


def _disk_message(error: BaseException | None, path: Path) -> str | None:
    # A library that writes through our file object may wrap the error, so its causes are searched too.
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return f"the disk is full: {path} keeps its former content; free some space and run again"
        if isinstance(error, OSError) and error.errno in _DENIED:
            return f"{path} cannot be written ({error.strerror}); make its folder writable and run again"
        error = error.__cause__ or error.__context__
    return None


def _name_message(error: BaseException, path: Path) -> str | None:
    """What to say where the file system takes no file called ``path``, or one of its folders is none."""
    if not isinstance(error, OSError) or error.errno not in NO_NAME:
        return None
    names = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    if not any(name.parent == path.parent or name in path.parents for name in names):
        return None
    return f"{path} cannot be written ({error.strerror}); choose another name"


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns a full or read-only disk under ``path``, or a name that cannot be, into a SegfoldError; the rest passes."""
    try:
        yield
    except Exception as error:
        message = None if isinstance(error, SegfoldError) else _disk_message(error, path) or _name_message(error, path)
        if message is None:
            raise
        raise SegfoldError(message) from error


def write_all(file: IO[bytes], data: bytes | memoryview) -> None:
    """Writes all of ``data`` to an unbuffered file, which may take less at a time."""
    view = memoryview(data).cast("B")
    while view.nbytes:
        view = view[file.write(view) :]
