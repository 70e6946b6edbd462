"""Views: what a network is shown of an image, and where its answer belongs.

A view is a window of the image, its sizing to the network's input, and symmetries under which the network sees it; each has
an exact inverse. The whole image, test-time augmentation, overlapping tiles and boxes are lists of views.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segfold.data.geometry.boxes import BestBoxes
from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.symmetry import TRANSFORMS
from segfold.data.geometry.tiles import GRID, Blend, axis
from segfold.data.geometry.window import Window, WindowReader, cut
from segfold.errors import SegfoldError
from segfold.resize import Shape

_KNOWN = 256  # shapes whose views are kept
Weights = tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.float32] | None]


@dataclass(frozen=True, eq=False)
class View:
    """One reading of an image, shown to the network under one symmetry or several.

    Attributes:
        window: what the network's answer is about, in pixels of the image; it may reach beyond.
        sizing: from the window to the network's input.
        around: pixels of the image on each side of the window that come into the margin of the input; 0 where the window is
            the whole image, for there the border goes on.
        symmetries: names in ``TRANSFORMS``.
        entries: of each symmetry, its place in the test-time augmentation.
        share: how much the view counts beside others of the same pixels.
        weights: (height,) and (width,) factors on ``share`` by row and by column of the window; None for 1.
    """

    window: Window
    sizing: Sizing
    around: int = 0
    symmetries: tuple[str, ...] = ("identity",)
    entries: tuple[int, ...] = (0,)
    share: float = 1.0
    weights: Weights = (None, None)

    @property
    def seen(self) -> Window:
        """The window with all that is read around it."""
        return self.window.grown(self.around)

    @property
    def frame(self) -> Shape:
        """Height and width of the network's input, as it is before a symmetry."""
        return self.sizing.height, self.sizing.width

    def read(self, image: np.ndarray | WindowReader) -> np.ndarray:
        """The pixels that are seen, H×W×C; beyond the image its border goes on."""
        return cut(image, self.seen, self.sizing.border)

    def restored(self, planes: np.ndarray) -> np.ndarray:
        """The network's answer, …×height×width as ``sizing.given``, at the size of the window."""
        return self.sizing.restore(planes, self.window.shape)


class Pose(NamedTuple):
    """How the network sees an image, an entry of test-time augmentation.

    Attributes:
        symmetry: a name in ``TRANSFORMS``.
        scale: how much larger the network sees the image.
    """

    symmetry: str
    scale: float

    @property
    def name(self) -> str:
        """As settings, recipes and folders have it; ``pose_of`` reads it."""
        if self.scale == 1:
            return self.symmetry
        return f"{'' if self.symmetry == 'identity' else f'{self.symmetry}-'}scale{self.scale:.12g}"


_SCALED = re.compile(r"(?:([a-z0-9]+)-)?scale([0-9]+(?:\.[0-9]+)?)")


def pose_of(name: str) -> Pose:
    """Reads the name of an entry of test-time augmentation: ``hflip``, ``scale1.25``, ``hflip-scale1.25``.

    Raises:
        ValueError: there is no such entry.
    """
    found = _SCALED.fullmatch(name)
    symmetry, scale = (found[1] or "identity", float(found[2])) if found else (name, 1.0)
    if symmetry not in TRANSFORMS or scale <= 0:
        raise ValueError(f"expected one of {', '.join(TRANSFORMS)}, or {{scale: 1.25}}")
    return Pose(symmetry, scale)


@dataclass(frozen=True)
class Tiling:
    """How an image is cut into tiles.

    Attributes:
        size: height and width that the network sees of the image at once, in pixels of the image.
        overlap: least pixels that neighbours share of what the network says something of.
        blend: how tiles fade into each other.
    """

    size: Shape
    overlap: int
    blend: Blend = "linear"


@dataclass(frozen=True)
class ViewPlan:
    """The views by which images of any size are predicted.

    Attributes:
        sizing: from the whole image, or from a tile, to the network's input.
        tta: entries of test-time augmentation, see ``pose_of``.
        tiles: None for the whole image at once.
        boxes: which of an image's boxes are views beside the whole of it; None for none. There are no tiles then.
    """

    sizing: Sizing
    tta: tuple[str, ...] = ("identity",)
    tiles: Tiling | None = None
    boxes: BestBoxes | None = None

    def views(self, shape: Shape, windows: Iterable[Window] = ()) -> tuple[View, ...]:
        """The views of an image of this shape, from its top to its bottom.

        Args:
            windows: the boxes among them, which may overlap, each stretched to the network's input. They come first, and the
                whole image after them, scale by scale.
        """
        if boxes := tuple(windows):
            return _views(self, shape, boxes)
        found = self._known.get(shape)
        if found is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            found = self._known[shape] = _views(self, shape)
        return found

    @cached_property
    def _known(self) -> dict[Shape, tuple[View, ...]]:
        """Views of shapes that were asked for."""
        return {}

    @property
    def frames(self) -> tuple[Shape, ...]:
        """Sizes of the network's input, as they are before a symmetry."""
        scales = dict.fromkeys(pose_of(name).scale for name in self.tta)
        sizings = [self.sizing if self.tiles else self.sizing.larger(scale) for scale in scales]
        return tuple(dict.fromkeys((sizing.height, sizing.width) for sizing in sizings))

    def check(self, ids: Sequence[str] | np.ndarray, shapes: np.ndarray, what: str) -> None:
        """Refuses images that have no views. Arguments and errors as of ``Sizing.check``."""
        if self.tiles is None:
            self.sizing.check(ids, shapes, what)

    def load(self, shape: Shape) -> int:
        """How many inputs of one size an image of this shape makes, with as many boxes as it may have."""
        most = max(Counter(view.frame for view in self.views(shape)).values())
        return most if self.boxes is None else most * (1 + self.boxes.count)


def _views(plan: ViewPlan, shape: Shape, boxes: tuple[Window, ...] = ()) -> tuple[View, ...]:
    by_scale: dict[float, dict[int, str]] = {}
    for number, name in enumerate(plan.tta):
        pose = pose_of(name)
        by_scale.setdefault(pose.scale, {})[number] = pose.symmetry
    found: list[View] = []
    for scale, entries in by_scale.items():
        if plan.tiles is None:
            sizing = plan.sizing if scale == 1 else plan.sizing.larger(scale)
            made = [*box_views(boxes, sizing), *whole_views(shape, sizing)]
        else:
            made = tile_views(shape, plan.tiles, plan.sizing, scale)
        shown, numbers, share = tuple(entries.values()), tuple(entries), len(entries) / len(plan.tta)
        found += [replace(view, symmetries=shown, entries=numbers, share=share) for view in made]
    # Whole images are of one top, and so are boxes that a whole image follows: no row is finished before it.
    return tuple(found if plan.tiles is None else sorted(found, key=lambda view: view.window.top))


def whole_views(shape: Shape, sizing: Sizing) -> list[View]:
    """The whole image."""
    return [View(Window(0, 0, *shape), sizing)]


def tile_views(shape: Shape, tiling: Tiling, sizing: Sizing, scale: float = 1.0) -> list[View]:
    """Tiles that cover an image; their weights add up to 1 in each of its pixels.

    Args:
        sizing: its input is what a tile comes to; its margin is filled with what lies around the tile.
        scale: how much larger the network sees the image: tiles cover so much less of it.

    Raises:
        SegfoldError: tiles that are no larger than their overlap.
    """
    axes = []
    sizes = [max(1, round(length / scale)) for length in tiling.size]
    around = around_of(sizing, (sizes[0], sizes[1]))
    for length, seen, frame in zip(shape, sizes, (sizing.height, sizing.width)):
        tile, overlap = seen - 2 * around, round(tiling.overlap / scale)
        if overlap >= tile:
            where = "" if scale == 1 else f" at a scale of {scale:g}"
            less = f"below {tile}" if scale == 1 else f"lower (now {tiling.overlap})"
            raise SegfoldError(
                f"tiles that predict {tile} pixels a side{where} overlap by {overlap}: set predict.tiles.overlap {less}, or a "
                "larger predict.tiles.size"
            )
        grid = GRID * seen // frame if GRID * seen % frame == 0 else 1
        axes.append(axis(length, tile, overlap, tiling.blend, grid))
    fitted = sizing.filled
    rows, columns = axes
    return [
        View(Window(top, left, rows.length, columns.length), fitted, around, weights=(down, across))
        for top, down in zip(rows.starts, rows.weights)
        for left, across in zip(columns.starts, columns.weights)
    ]


def around_of(sizing: Sizing, seen: Shape) -> int:
    """Pixels of the image that come into each side of the margin, where a window of the shape ``seen`` fills the input.

    Raises:
        SegfoldError: they differ between height and width.
    """
    down, across = round(sizing.margin * seen[0] / sizing.height), round(sizing.margin * seen[1] / sizing.width)
    if down != across:
        raise SegfoldError(
            f"windows of {seen[0]}×{seen[1]} come to a network input of {sizing.height}×{sizing.width} with a margin of "
            f"{sizing.margin}: expected one scale for height and width; set input.crop in the proportions of input.size"
        )
    return down


def box_views(boxes: Iterable[Window], sizing: Sizing) -> list[View]:
    """Boxes, each stretched to the network's input; they may overlap, and leave pixels of the image out."""
    fitted = sizing.filled
    return [View(box, fitted) for box in boxes]
