"""Boxes as views: what a stage trains on in place of whole images, what a prediction looks at beside them, and proposals."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from segfold.data.edge_boxes import ProposalSettings
from segfold.ranges import Count, Share, Size
from segfold.schema import Settings

BoxScale = Annotated[float, Ge(0.1), Le(10)]
"""How much longer the sides of a box are made, about its centre."""


class Boxes(Settings):
    """Boxes that a stage trains on in place of whole images or crops, each stretched to the network's input.

    Attributes:
        of: what lies in them: ``objects``, one each, all else in the box taken for background, or where the competition has
            none for a class ``other``, which is never predicted; or ``proposals`` that overlap an object, with all that is in
            them.
        scale: how much longer their sides are made, about their centre.
        resize: height and width that a box is stretched to, of which the network sees a part of the stage's size, drawn
            anywhere in it; null: the whole box at that size.
        least: share of an image's pixels that a connected part of a class needs to be an object, where the competition
            has no objects of its own.
        overlap: intersection over union that a proposal needs with the box of an object.
        balance: power by which boxes of a rare class are drawn more often than they come; at 1 all classes alike.
        whole: share of samples that are a whole image in place of a box, stretched too; of these alone are ``sample.nonempty``,
            ``area`` and ``skip_constant``.
    """

    of: Literal["objects", "proposals"] = "objects"
    scale: BoxScale = 1.2
    resize: Size | None = None
    least: Share = 0.01
    overlap: Annotated[float, Gt(0), Le(1)] = 0.5
    balance: Share = 0.0
    whole: Share = 0.0


class PredictedBoxes(Settings):
    """Boxes that an image is predicted by, beside the whole of it: the best proposals, each stretched to the network's input.

    Attributes:
        count: how many proposals of each image, the best first.
        scale: how much longer their sides are made, about their centre.
        least_side: share of the image's shorter side that both sides of a scaled box need; others are left out, and the
            next best take their place.
    """

    count: Count = 50
    scale: BoxScale = 1.2
    least_side: Share = 0.0


class Proposals(Settings):
    """Boxes that may hold an object, by the contours that lie whole in them: EdgeBoxes (Zitnick and Dollár, ECCV 2014).

    Attributes:
        count: how many of an image are kept, the best first.
        step: intersection over union of neighbours in the search, the published alpha.
        overlap: intersection over union above which the lesser of two proposals is dropped, the published beta.
        least_score: score of the worst proposal that is kept.
        least_area: share of the image's pixels of the smallest box that the search begins with; 16 pixels at least. What it
            moves to hold more of a contour may end a little smaller.
        most_aspect: longest side over shortest of the boxes that the search begins with.
    """

    count: Annotated[int, Ge(1), Le(10_000)] = 2000
    step: Annotated[float, Ge(0.1), Le(0.95)] = 0.65
    overlap: Annotated[float, Ge(0.1), Le(1)] = 0.75
    least_score: Annotated[float, Ge(0), Le(1)] = 0.01
    least_area: Share = 0.005
    most_aspect: Annotated[float, Ge(1), Le(100)] = 3.0

    @property
    def search(self) -> ProposalSettings:
        """The same as ``segfold.data.edge_boxes`` takes it."""
        return ProposalSettings(**self.model_dump())
