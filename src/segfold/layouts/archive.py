"""Zip archives of unknown origin, unpacked without ever writing outside the target folder."""

import contextlib
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from segfold.errors import SegfoldError
from segfold.layouts.ids import one_form
from segfold.paths import NO_NAME

_IS_UTF8 = 1 << 11  # the flag of a member whose name is UTF-8
_METHODS = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 98: "PPMd", 99: "AES encryption"}


def unpack(archive: Path, target: Path, wanted: Callable[[PurePosixPath], bool], name: str = "") -> int:
    """Unpacks the wanted members of a zip below ``target``, which is made when there is something to unpack.

    An archive that holds something wanted is refused as a whole, before anything is written, when any of its
    members is a link or a device, has an absolute path, climbs with ``..``, or is encrypted. Of an archive that
    is refused later, because it is damaged say, no file is left.

    Args:
        archive: the zip.
        target: a folder of the caller's own, which holds no links.
        wanted: asked for each member's path (with forward slashes) whether to unpack it.
        name: what to call the zip, where it lies in another one say; its path by default.

    Returns:
        Number of files written.

    Raises:
        SegfoldError: not a whole zip, a dangerous member, a name that the file system does not take, a way of
            packing that Python does not know, or not enough room on the disk.
    """
    name = name or str(archive)
    with contextlib.ExitStack() as stack:
        with _reading(name):
            zipped = stack.enter_context(zipfile.ZipFile(archive))
            members = [member for member in zipped.infolist() if not member.filename.endswith(("/", "\\"))]
        chosen = [member for member in members if wanted(_path(member))]
        if not chosen:
            return 0
        for member in members:
            if (danger := _danger(member)) is not None:
                raise SegfoldError(
                    f"{name} holds {_shown(member.filename)}, {danger}: refused and nothing unpacked, get the zip anew"
                )
            if member.flag_bits & 0x1:
                raise SegfoldError(f"{name} is encrypted: unpack it with its password and give the folder")
        target.mkdir(parents=True, exist_ok=True)
        _room(name, target, sum(member.file_size for member in chosen))
        written: list[Path] = []
        try:
            for member in chosen:
                file = target.joinpath(*_path(member).parts)
                with _created(name, file) as sink:
                    written.append(file)
                    _copy(name, zipped, member, sink)
        except BaseException:
            for file in written:
                file.unlink(missing_ok=True)
            raise
        return len(chosen)


@contextmanager
def _reading(name: str, method: int = 0) -> Iterator[None]:
    """Turns whatever Python's zip reader raises into one line; on a damaged archive that may be anything.

    Args:
        method: number of the compression method of what is read.
    """
    try:
        yield
    except NotImplementedError as error:
        needs = f"compression method {method} ({_METHODS[method]})" if method in _METHODS else str(error)
        raise SegfoldError(
            f"{name} is packed in a way that Python cannot read ({needs}): unpack it with 7z and give the folder"
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise SegfoldError(f"{name} cannot be read: {error.strerror}") from error
        raise SegfoldError(f"{name} is not a whole zip ({error or type(error).__name__}): get it anew") from error


@contextmanager
def _created(name: str, file: Path) -> Iterator[IO[bytes]]:
    """A new file; a name that cannot be, or is taken, is one line."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        sink = file.open("xb")  # "x": a member that comes twice must not replace the first
    except FileExistsError as error:
        raise SegfoldError(f"{name} holds {Path(error.filename).name!r} twice: get the zip anew") from error
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in NO_NAME:
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise SegfoldError(
            f"{name} holds {_shown(file.name)}, a name that cannot be written here ({reason}): rename it in the zip"
        ) from error
    with sink:
        yield sink


def _copy(name: str, zipped: zipfile.ZipFile, member: zipfile.ZipInfo, sink: IO[bytes]) -> None:
    with contextlib.ExitStack() as stack:
        with _reading(name, member.compress_type):
            source = stack.enter_context(zipped.open(member))
        while True:
            with _reading(name):
                data = source.read(1 << 20)
            if not data:
                return
            sink.write(data)


def _shown(member: str) -> str:
    return repr(member) if len(member) <= 60 else f"{member[:60]!r}…"


def _path(member: zipfile.ZipInfo) -> PurePosixPath:
    name = member.filename
    if not member.flag_bits & _IS_UTF8:
        # Python has read it in the code page of DOS; macOS writes UTF-8 and does not say so.
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    # Some programs on Windows write backslashes.
    return PurePosixPath(one_form(name.replace("\\", "/")))


def _danger(member: zipfile.ZipInfo) -> str | None:
    path = _path(member)
    mode = member.external_attr >> 16
    if path.is_absolute() or (path.parts and ":" in path.parts[0]):
        return "an absolute path"
    if ".." in path.parts:
        return "a path that leaves the folder"
    if stat.S_ISLNK(mode):
        return "a link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "which is no plain file"
    return None


def _room(name: str, target: Path, needed: int) -> None:
    free = shutil.disk_usage(target).free
    if needed > free:
        raise SegfoldError(
            f"{name} unpacks to {needed / 1e9:.1f} GB, {target} has {free / 1e9:.1f} GB free: make room and try again"
        )
