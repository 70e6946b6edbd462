"""What there is to know of a map over an image's pixels before it is moved or brought to another size."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from segfold.resize import Shape, stretched_labels

Map = npt.NDArray[np.unsignedinteger]


class MapKind(Protocol):
    """The masks of a task, or maps of objects. For the attributes and methods see ``segfold.tasks.Task``."""

    @property
    def fill(self) -> int | None: ...

    @property
    def dtype(self) -> npt.DTypeLike: ...

    def resized(self, mask: Map, shape: Shape) -> Map: ...

    def spread(self, mask: Map) -> npt.NDArray: ...

    def gathered(self, spread: npt.NDArray) -> Map: ...


class _Objects:
    """Maps are H×W uint16: a number an object, 0 where there is none. The nearest pixel is taken, outside there is no object."""

    fill = 0
    dtype = np.uint16

    def resized(self, mask: Map, shape: Shape) -> Map:
        return stretched_labels(mask, shape)

    def spread(self, mask: Map) -> npt.NDArray:
        return mask

    def gathered(self, spread: npt.NDArray) -> Map:
        return spread


OBJECTS: MapKind = _Objects()
"""Maps of a competition's objects."""
