"""Paths as users write them, in arguments and in settings."""

import errno
from pathlib import Path

from segfold.errors import SegfoldError

NO_NAME = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP}
"""What a file system answers where a file cannot have the name that it is to get."""

_NOTHING_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EBADF}
_SHOWN = 100


def user_path(text: str | Path) -> Path:
    """A path as a user writes it: a leading ``~`` or ``~name`` is a home folder.

    Raises:
        SegfoldError: there is no such home folder, or a name that ``reachable`` refuses.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise SegfoldError(f"{_shown(text)}: there is no such home folder, write the path out") from None
    return reachable(path)


def user_name(text: str) -> str:
    """A name as a user writes it for something that will be a file, such as a submission. Errors as ``reachable``."""
    reachable(Path(text))
    return text


def reachable(path: Path) -> Path:
    """``path``, whose name the file system takes; whether anything is there does not matter.

    Raises:
        SegfoldError: a name that is too long, holds characters that cannot be in one, or may not be looked at.
    """
    try:
        path.lstat()
    except OSError as error:
        if error.errno not in _NOTHING_THERE:
            raise SegfoldError(f"{_shown(path)}: {error.strerror or error}, give another path") from None
    except ValueError as error:
        raise SegfoldError(f"{_shown(path)} cannot be a path ({error}), give another one") from None
    return path


def _shown(path: str | Path) -> str:
    text = str(path)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
