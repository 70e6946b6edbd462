"""Zip archives of unknown origin, unpacked without ever writing outside the target folder."""

import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from segfold.errors import SegfoldError


def unpack(archive: Path, target: Path, wanted: Callable[[PurePosixPath], bool]) -> int:
    """Unpacks the wanted members of a zip below `target`, which is made when there is something to unpack.

    An archive that holds something wanted is refused as a whole, before anything is written, when any of its
    members is a link or a device, has an absolute path, climbs with ``..``, or is encrypted.

    Args:
        archive: the zip.
        target: a folder of the caller's own, which holds no links.
        wanted: asked for each member's path (with forward slashes) whether to unpack it.

    Returns:
        Number of files written.

    Raises:
        SegfoldError: not a whole zip, a dangerous member, or not enough room on the disk.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = [member for member in zipped.infolist() if not member.is_dir()]
            chosen = [member for member in members if wanted(_path(member))]
            if not chosen:
                return 0
            for member in members:
                if (danger := _danger(member)) is not None:
                    raise SegfoldError(
                        f"{archive} holds {member.filename!r}, {danger}: refused and nothing unpacked, get the zip anew"
                    )
            target.mkdir(parents=True, exist_ok=True)
            _room(archive, target, sum(member.file_size for member in chosen))
            for member in chosen:
                file = target.joinpath(*_path(member).parts)
                file.parent.mkdir(parents=True, exist_ok=True)
                # "x": a member that comes twice must not replace the first.
                with zipped.open(member) as source, file.open("xb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
            return len(chosen)
    except FileExistsError as error:
        raise SegfoldError(f"{archive} holds {Path(error.filename).name!r} twice: get the zip anew") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SegfoldError(f"{archive} is not a whole zip ({error}): get it anew") from error


def _path(member: zipfile.ZipInfo) -> PurePosixPath:
    # Some programs on Windows write backslashes.
    return PurePosixPath(member.filename.replace("\\", "/"))


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
    if member.flag_bits & 0x1:
        return "which is encrypted"
    return None


def _room(archive: Path, target: Path, needed: int) -> None:
    free = shutil.disk_usage(target).free
    if needed > free:
        raise SegfoldError(
            f"{archive} unpacks to {needed / 1e9:.1f} GB, {target} has {free / 1e9:.1f} GB free: make room "
            "and try again"
        )
