"""Files that are whole or absent: atomic writes and line logs.

A reader never sees half a file: writers fill a temporary file in the same folder, fsync it and rename it.
Logs grow a line at a time; what a kill tore off is dropped by readers and cut by the next writer.
"""

import contextlib
import fcntl
import glob
import io
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal

from segfold.disk import disk_errors, write_all
from segfold.errors import SegfoldError
from segfold.faults import fault
from segfold.locks import flock


def sync_folder(folder: Path) -> None:
    """Makes a rename inside ``folder`` survive a power cut, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _drop_abandoned(path: Path) -> None:
    # A killed writer leaves its temporary file; a living one holds a lock on it.
    for abandoned in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError), abandoned.open("rb") as file:
            if flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
                abandoned.unlink()


def _open_temporary(path: Path, mode: str) -> IO[Any]:
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        file = temporary.open(mode.replace("w", "x"), **text)
        flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:  # else another writer took it for abandoned before the lock
            return file
        file.close()


@contextlib.contextmanager
def write_atomic(path: Path | str, mode: Literal["wb", "w"] = "wb") -> Iterator[IO[Any]]:
    """Opens a temporary file that takes the place of ``path`` when the block ends well.

    The folder is made if need be. If the block raises, or the process is killed, ``path`` keeps its former
    content. Text is UTF-8 and line ends are written as given. ``file.name`` is the temporary path.

    Raises:
        SegfoldError: the disk is full, the folder cannot be written, or no file can be called so.
    """
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_abandoned(path)
        file = _open_temporary(path, mode)
        temporary = Path(file.name)
        try:
            yield file
            file.flush()
            fault("temporary")
            os.fsync(file.fileno())
            fault("rename")
            # Renamed before it is closed: closing gives up the lock, and an unlocked temporary is fair game.
            temporary.replace(path)
            file.close()
        except BaseException:
            with contextlib.suppress(OSError):
                file.close()  # flushes what is left of the buffer, which fails again on a full disk
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_json(path: Path | str, value: Any) -> None:
    """Writes ``value`` as indented JSON, atomically."""
    with write_atomic(path, "w") as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    """The value in a JSON file.

    Raises:
        SegfoldError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SegfoldError(f"{path} does not exist") from None
    except (ValueError, OSError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise SegfoldError(f"{path} cannot be read as JSON ({reason}); delete or restore it") from error


def _whole_bytes(data: bytes) -> int:
    return data.rfind(b"\n") + 1


def append_line(path: Path | str, line: str | Mapping[str, Any]) -> None:
    """Adds one line to a log; a mapping is written as JSON. A torn last line is cut off first.

    Raises:
        SegfoldError: the disk is full; the log is as it was before.
    """
    path = Path(path)
    text = line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)
    if "\n" in text:
        raise ValueError(f"a log line cannot hold a line break: {text!r}")
    data = text.encode() + b"\n"
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        with io.FileIO(descriptor, "r+") as file:
            flock(file, fcntl.LOCK_EX)
            size = _end_of_whole_lines(file)
            try:
                file.truncate(size)
                file.seek(size)
                half = len(data) // 2
                write_all(file, data[:half])
                fault("line")
                write_all(file, data[half:])
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(size)
                raise


def _end_of_whole_lines(file: IO[bytes], block: int = 1 << 16) -> int:
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - block)
        file.seek(start)
        found = _whole_bytes(file.read(end - start))
        if found:
            return start + found
        end = start
    return 0


def read_lines(path: Path | str) -> list[str]:
    """The whole lines of a log, without line ends; none if the file does not exist.

    Raises:
        SegfoldError: the file is not text in UTF-8.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return []
    try:
        return data[: _whole_bytes(data)].decode().split("\n")[:-1]
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SegfoldError(f"{path} line {line} is not text in UTF-8; delete that line") from None


def read_records(path: Path | str) -> list[dict[str, Any]]:
    """The lines of a JSON log.

    Raises:
        SegfoldError: a line that is not JSON.
    """
    records = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            records.append(json.loads(line))
        except (ValueError, RecursionError):
            raise SegfoldError(f"{path} line {number} is not JSON; delete that line") from None
    return records


def truncate_lines(path: Path | str, keep: int) -> None:
    """Cuts a log back to its first ``keep`` whole lines: a resumed run drops what its checkpoint lacks."""
    path = Path(path)
    if not path.exists():
        return
    with disk_errors(path), path.open("r+b") as file:
        end = 0
        for _ in range(keep):
            line = file.readline()
            if not line.endswith(b"\n"):
                break
            end += len(line)
        file.truncate(end)
        os.fsync(file.fileno())
