"""What a layout is: it knows where a competition's images, masks and tables lie in a data folder."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segfold.layouts.records import Listing, Part
from segfold.layouts.rle import Order

Rows = Literal["image", "class", "instance"]
Split = Literal["train", "test"]


@dataclass(frozen=True)
class Table:
    """A table whose rows name images and hold their masks.

    Attributes:
        file: its path in the data folder; None where there is none, and what follows is for submissions alone.
        id_column: of the key.
        mask_column: of the run lengths.
        class_column: of the class's name; None where the key says it, or there is but one.
        key: the text that names a row's image, and its class where it has no column: ``{id}.jpg_{class}``.
        rows: a row for each image, each class of an image, or each object; None follows from class column and key.
        empty: what stands for a mask without a pixel.
        order: how pixels are numbered.
        relative: whether each start counts from the end of the run before it.
    """

    file: str | None = None
    id_column: str = "id"
    mask_column: str = "rle_mask"
    class_column: str | None = None
    key: str = "{id}"
    rows: Rows | None = None
    empty: str = ""
    order: Order = "column"
    relative: bool = False

    @property
    def row(self) -> Rows:
        """What a row is."""
        by_class = self.class_column is not None or "{class}" in self.key
        return self.rows or ("class" if by_class else "image")


class Layout(ABC):
    """Where the files of a competition lie in its data folder. Keyword-only arguments are a competition file's options.

    Attributes:
        table: of the training masks.
        sample: the sample submission; None where there is none.
        unlisted: what to do with training images of which there is no mask: refuse them, take it for empty, or skip them.
    """

    table: Table = Table()
    sample: str | None = None
    unlisted: Literal["refuse", "empty", "skip"] = "refuse"

    @abstractmethod
    def parts(self, classes: Sequence[str]) -> list[Part]:
        """What the data consists of, tables of other numbers aside."""

    @abstractmethod
    def listing(self, split: Split, root: Path, classes: Sequence[str]) -> Listing:
        """The images of a split and their files.

        Args:
            root: the data folder.
            classes: names of the competition's classes, for paths with ``{class}``.

        Returns:
            Records in the order of ids, and what is wrong with them; none of a test split that does not exist.

        Raises:
            SegfoldError: a folder is not there.
        """

    @property
    @abstractmethod
    def has_split(self) -> bool:
        """Whether the competition has a validation split of its own."""

    def used(self, files: Mapping[str, Path]) -> dict[str, Path]:
        """Of the files that the parts hold, those that belong to an image of a split."""
        return dict(files)

    @abstractmethod
    def image_path(self, split: Split, name: str) -> str:
        """Where the image of an id lies, or would lie."""
