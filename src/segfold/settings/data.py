"""What the network sees: the folds, the images that are drawn, and how they come to its size."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import StringConstraints, model_validator

from segfold.data.channels import Channel
from segfold.data.geometry.sizing import Sizing
from segfold.ranges import PathText, Seed, Share, Size
from segfold.schema import Settings

ClassName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Input(Settings):
    """From an image of any size to the network's input.

    Attributes:
        size: height and width of the network's input in pixels, or one number for both; where it is not given, it is
            that of ``crop``.
        crop: height and width of the part of an image that training sees at once, in pixels of the image, or one number
            for both; it is stretched to ``size``, and images are predicted by tiles. null: whole images.
        resize: size that an image is brought to inside the input; null: its own, or as ``fit`` says.
        fit: how an image comes to the input's size: ``pad`` puts borders around it, ``resize`` stretches it.
        border: what stands in the borders: the image reflected, its edge repeated, or zeros.
        random_offset: the image lies anywhere within the borders in training, and in the middle in prediction.
        channels: what the network sees of an image, in this order. ``image`` is its own channels, ``y`` the height in
            the image, ``image_y`` their product, ``depth`` one number an image from the competition's table.
    """

    size: Size = 128
    crop: Size | None = None
    resize: Size | None = None
    fit: Literal["pad", "resize"] = "pad"
    border: Literal["reflect", "edge", "zero"] = "reflect"
    random_offset: bool = True
    channels: Annotated[tuple[Channel, ...], MinLen(1), MaxLen(16)] = ("image",)

    @model_validator(mode="before")
    @classmethod
    def _size_of_crop(cls, values: Any) -> Any:
        return with_size_of_crop(values)

    @model_validator(mode="after")
    def _one_way(self) -> "Input":
        if self.crop is not None and self.resize is not None:
            raise ValueError(
                f"found crop and resize: a crop is stretched to size; leave resize out (now {self.resize}), and set size"
            )
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return both_sides(self.size)

    def sizing(self, size: Size | None = None) -> Sizing:
        """To this size, or to another.

        Raises:
            SegfoldError: ``resize`` does not fit into it.
        """
        settings = self if size is None else self.model_copy(update={"size": size})
        resize = None if self.resize is None else both_sides(self.resize)
        return Sizing(*settings.shape, self.fit, self.border, resize)


def both_sides(size: Size) -> tuple[int, int]:
    """Height and width of what may be one number for both."""
    return (size, size) if isinstance(size, int) else size


def with_size_of_crop(values: Any) -> Any:
    """Settings before they are checked: where there is a crop and no size, the size is that of the crop."""
    if isinstance(values, Mapping) and values.get("crop") is not None and "size" not in values:
        return {**values, "size": values["crop"]}
    return values


class Sampling(Settings):
    """Which images, or crops of them, an epoch draws: by default each image once, or as many crops as cover it.

    Attributes:
        nonempty: share of drawn images that have foreground; null: as in the data.
        area: power of the covered share that a non-empty image is drawn in proportion to; 0: all alike.
        skip_constant: leaves out images of a single value, in training only.
        images: how many images, crops or boxes an epoch draws; null: as many as there are, or crops as cover the images.
        focus: share of crops that lie around a pixel of a class, which is drawn from those that the image has, each alike.
        focus_on: classes that ``focus`` looks for; none: all but the background.
    """

    nonempty: Share | None = None
    area: Annotated[float, Ge(-10), Le(10)] = 0.0
    skip_constant: bool = False
    images: Annotated[int, Ge(2), Le(10_000_000)] | None = None
    focus: Share = 0.0
    focus_on: Annotated[tuple[ClassName, ...], MaxLen(255)] = ()


class Folds(Settings):
    """The fold file, at ``folds/<competition>-<k>.csv`` unless named.

    Attributes:
        k: how many folds.
        seed: random seed that the folds are drawn with.
        file: a fold file of one's own, which then says how many folds there are; null: made where it is not there yet.
        given: where the competition has a validation split of its own, that is fold 0, the only one; false: ``k`` folds of
            both parts together.
    """

    k: Annotated[int, Ge(2), Le(1000)] = 5
    seed: Seed = 0
    file: PathText | None = None
    given: bool = True
