"""Blended predictions that are read from the members once, however many passes are made over them."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack

import numpy as np

from segfold.ensemble.blend import Blended

_MEMORY = 1 << 28  # bytes of codes, beyond which they lie in a temporary file


class Kept:
    """Passes over blended predictions, see ``Images.blended``.

    The first pass that comes to its end keeps what it has seen: in memory, or where that is too much in a temporary file
    (``TMPDIR`` says where), which has no name and goes with this object. Where there is no room for it each pass blends
    anew. One thread at a time may ask for the next image.
    """

    def __init__(self, blended: Callable[[], Iterable[Blended]], memory: int = _MEMORY) -> None:
        """
        Args:
            blended: begins a pass over the members, always in the same order.
            memory: bytes of codes that may be held.
        """
        self._blended, self._memory = blended, memory
        self._file: tempfile.SpooledTemporaryFile[bytes] | None = None
        self._images: list[tuple[str, tuple[int, ...], int | None]] = []

    def __call__(self) -> Iterator[Blended]:
        """Begins a pass."""
        return self._first() if self._file is None else self._again(self._file)

    def _first(self) -> Iterator[Blended]:
        images, fits = [], True
        with ExitStack() as stack:
            file = stack.enter_context(tempfile.SpooledTemporaryFile(self._memory))
            for each in self._blended():
                images.append((each.id, each.codes.shape, each.nonempty))
                fits = fits and _done(file.write, np.ascontiguousarray(each.codes).data)
                yield each
            if fits and _done(file.flush):
                stack.pop_all()
                self._file, self._images = file, images

    def _again(self, file: tempfile.SpooledTemporaryFile[bytes]) -> Iterator[Blended]:
        place = 0
        for image_id, shape, nonempty in self._images:
            codes = np.empty(shape, np.uint16)
            file.seek(place)  # another pass may have read since
            file.readinto(codes.reshape(-1).view(np.uint8).data)
            place += codes.nbytes
            yield Blended(image_id, codes, nonempty)


def _done(work: Callable[..., object], *arguments: object) -> bool:
    """Whether there was room on the disk."""
    try:
        work(*arguments)
    except OSError:
        return False
    return True
