"""Where the cells of a feature map lie in the image: from which FCN's crops follow, whatever the size of the image."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """Centres of the cells of a map along either axis, in pixels of the image: ``first``, ``first + step``, …

    Of an image itself they are 0, 1, …; the rules are those of Caffe's coordinate maps.

    Example:
        >>> Grid().convolved(3, padding=1).convolved(2, stride=2)
        Grid(step=2, first=0.5)
    """

    step: float = 1
    first: float = 0

    def convolved(self, kernel: int, stride: int = 1, padding: int = 0) -> "Grid":
        """Of what a convolution, or a pool, makes of the map."""
        return Grid(self.step * stride, self.first + self.step * ((kernel - 1) / 2 - padding))

    def deconvolved(self, kernel: int, stride: int) -> "Grid":
        """Of what a transposed convolution without padding makes of the map."""
        return Grid(self.step / stride, self.first - self.step * (kernel - 1) / 2 / stride)

    def offset(self, other: "Grid") -> int:
        """How many of its cells lie before the first of another map of the same step; negative where the other begins before."""
        assert self.step == other.step
        cells = (other.first - self.first) / self.step
        assert cells == int(cells)
        return int(cells)
