"""Images, or masks, of any size: in one flat buffer, or read by windows from where they lie."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from segfold.data.geometry.window import Window
from segfold.layouts.large import LargeImage


class PixelStore(Sequence[np.ndarray]):
    """Images, or masks, of any size in one flat buffer.

    ``store[i]`` is a read-only view: H×W×C of an image store, H×W of a mask store. An image that is read in place is no
    view: ``store[i]`` decodes all of it, ``window`` what it needs.

    Args:
        buffer: the pixels of all images that are not read in place, one after the other.
        shapes: N×3, height, width and channels of each.
        masks: whether to leave the channel axis out.
        path: the file that ``buffer`` was read or is mapped from; a process to which the store is sent maps it, as
            loaders' workers are sent one wherever they are not forked.
        in_place: images that are read in place, by index.
    """

    def __init__(
        self,
        buffer: np.ndarray,
        shapes: np.ndarray,
        masks: bool = False,
        path: Path | None = None,
        in_place: Mapping[int, LargeImage] | None = None,
    ) -> None:
        self.shapes = np.asarray(shapes, np.int64).reshape(-1, 3)
        self._in_place = dict(in_place or {})
        sizes = self.shapes.prod(axis=1)
        sizes[list(self._in_place)] = 0
        self._ends = np.concatenate([[0], np.cumsum(sizes)])
        if len(buffer) != self._ends[-1]:
            raise ValueError(f"{len(buffer)} values for shapes that need {self._ends[-1]}")
        # A caller that changed a view in place would change the data set.
        self._buffer = buffer.view()
        self._buffer.flags.writeable = False
        self._masks = masks
        self._path = path

    @property
    def dtype(self) -> np.dtype:
        return self._buffer.dtype

    @property
    def path(self) -> Path | None:
        """The file that the pixels were read or are mapped from; None where they come from none."""
        return self._path

    def __len__(self) -> int:
        return len(self.shapes)

    @overload
    def __getitem__(self, i: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, i: slice) -> list[np.ndarray]: ...
    def __getitem__(self, i: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(i, slice):
            return [self[row] for row in range(*i.indices(len(self)))]
        i = self._index(i)
        height, width, channels = self.shapes[i]
        if i in self._in_place:
            return self._in_place[i].window(0, 0, int(height), int(width))
        pixels = self._buffer[self._ends[i] : self._ends[i + 1]]
        return pixels.reshape((height, width) if self._masks else (height, width, channels))

    def window(self, i: int, window: Window) -> np.ndarray:
        """The pixels of a window of an image, height×width×C, or height×width of a mask.

        Args:
            window: which lies in the image.

        Raises:
            SegfoldError: it cannot be read from its file.
        """
        i = self._index(i)
        if window.inside((int(self.shapes[i][0]), int(self.shapes[i][1]))) != window:
            raise ValueError(f"{window} reaches beyond image {i}, which is {self.shapes[i][0]}×{self.shapes[i][1]}")
        if i in self._in_place:
            return self._in_place[i].window(*window)
        return self[i][window.slices]

    def reader(self, i: int) -> "StoredImage":
        """An image whose windows are read as they are asked for."""
        return StoredImage(self, self._index(i))

    def _index(self, i: int) -> int:
        if not -len(self) <= i < len(self):
            raise IndexError(f"image {i} of {len(self)}")
        return int(i) % len(self)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self._path is not None and self._on_disk(self._path):
            state["_buffer"] = str(self.dtype)
        return state

    def _on_disk(self, path: Path) -> bool:
        """Whether the file is still there; a cache may have been made anew since."""
        try:
            return path.stat().st_size == self._buffer.nbytes
        except OSError:
            return False

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._path is not None and isinstance(state["_buffer"], str):
            self._buffer = mapped(self._path, state["_buffer"])


class StoredImage:
    """An image of a store, read by windows; see ``segfold.data.geometry.window.WindowReader``."""

    def __init__(self, store: PixelStore, i: int) -> None:
        self._store, self._i = store, i

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels."""
        return tuple(map(int, self._store.shapes[self._i]))

    @property
    def dtype(self) -> np.dtype:
        return self._store.dtype

    def window(self, window: Window) -> np.ndarray:
        """As ``PixelStore.window``."""
        return self._store.window(self._i, window)


def mapped(path: Path, dtype: str) -> np.ndarray:
    """The numbers of a flat file, which may be empty, read as they are used."""
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.zeros(0, dtype)
