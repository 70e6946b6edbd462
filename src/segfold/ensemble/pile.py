"""Numbers laid end to end: in memory up to a bound, beyond it in a temporary file."""

import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from segfold.disk import write_all
from segfold.errors import SegfoldError


class Pile:
    """Numbers of one kind that are added one array after the other, and then read in any order.

    Args:
        dtype: of the numbers.
        most: bytes that are held in memory; where there are more, all of them go to a file without a name in the folder
            for temporary files, which the system takes away with the process.
    """

    def __init__(self, dtype: npt.DTypeLike, most: int) -> None:
        self.dtype = np.dtype(dtype)
        # Of memory that is asked for but never written to, the system gives none.
        self._held: npt.NDArray[Any] = np.empty(max(most // self.dtype.itemsize, 1), self.dtype)
        self._file: IO[bytes] | None = None
        self._count = 0

    @property
    def in_file(self) -> bool:
        """Whether the bound was passed."""
        return self._file is not None

    def add(self, numbers: npt.NDArray[Any]) -> None:
        """Lays numbers on the pile, of any shape.

        Raises:
            SegfoldError: the folder for temporary files is full or cannot be written.
        """
        flat = np.ascontiguousarray(numbers, self.dtype).reshape(-1)
        end = self._count + flat.size
        if self._file is None and end > self._held.size:
            self._file = _open()
            _write(self._file, self._held[: self._count])
            self._held = np.empty(0, self.dtype)
        if self._file is None:
            self._held[self._count : end] = flat
        else:
            _write(self._file, flat)
        self._count = end

    def whole(self) -> npt.NDArray[Any]:
        """(N,) all of them, read only."""
        if self._file is None:
            found = self._held[: self._count]
            found.flags.writeable = False
            return found
        return np.memmap(self._file, self.dtype, "r", shape=(self._count,))


def _open() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(prefix="segfold-", buffering=0)
    except OSError as error:
        raise _no_room(error) from error


def _write(file: IO[bytes], numbers: npt.NDArray[Any]) -> None:
    try:
        write_all(file, numbers.view(np.uint8).data)
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> SegfoldError:
    return SegfoldError(
        f"{Path(tempfile.gettempdir())} takes no temporary file ({error.strerror}), which predictions that do not fit into "
        "memory need; free some space there, or set TMPDIR to another folder"
    )
