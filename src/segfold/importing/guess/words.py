"""What the names of folders and files say: which split is in them, images or masks."""

import re
from collections.abc import Sequence
from typing import Literal

Part = Literal["train", "validation", "test"]

_ENDINGS = r"s?(?:set|data|images?|imgs?|masks?|labels?|annots?|annotations?|gts?)?"
_SPLITS: tuple[tuple[Part, re.Pattern[str]], ...] = (
    ("train", re.compile(rf"train(?:ing|val)?{_ENDINGS}")),
    ("validation", re.compile(rf"val(?:id|idation)?{_ENDINGS}")),
    ("test", re.compile(rf"test(?:ing)?{_ENDINGS}")),
)
_MASKS = re.compile(
    r".*(?:masks?|annots?|annotations?|labels?|segmentations?|groundtruths?)|gts?|segs?|segmentation(?:class|object)?s?|truths?|targets?|manual|mattes?|trimaps?"
)
_OBJECTS = re.compile(r".*(?:instances?|objects?|individuals?)")
_PICTURES = re.compile(
    r".*(?:images?|imgs?|photos?|pictures?|scans?|frames?|slices?|inputs?|dicoms?)|raw|pngs?|jpe?gs?"
)
_BANDS = re.compile(
    r"(?:b|band|ch|channel|c)[ _-]*[0-9]+[a-z]?|red|green|blue|nir|swir[0-9]?|rgb|vv|vh|hh|hv|dem", re.I
)


def words(text: str) -> list[str]:
    """The words of a name, in small letters; what is written together stays one."""
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower())


def split_of(text: str) -> Part | None:
    """The split that a name, or a path, says."""
    for word in words(text):
        for split, form in _SPLITS:
            if form.fullmatch(word):
                return split
    return None


def says_mask(text: str) -> bool:
    """Whether a name says that masks are in it."""
    return any(_MASKS.fullmatch(word) for word in words(text))


def says_objects(text: str) -> bool:
    """Whether a name says that numbers of objects are in it."""
    return any(_OBJECTS.fullmatch(word) for word in words(text))


def says_picture(text: str) -> bool:
    """Whether a name says that images are in it."""
    return any(_PICTURES.fullmatch(word) for word in words(text))


def says_band(text: str) -> bool:
    """Whether a name is that of one band of an image."""
    return _BANDS.fullmatch(text) is not None


def says_anything(text: str) -> bool:
    """Whether a folder's name says what is in it, so that it is no id."""
    return split_of(text) is not None or says_mask(text) or says_picture(text) or says_band(text)


def without_split(text: str) -> str:
    """A name with its split left out: the same for ``train_images`` and ``test_images``."""
    return re.sub(r"train(?:ing|val)?|val(?:idation|id)?|test(?:ing)?", "*", text.lower())


def shape(text: str) -> str:
    """How a name is built: equal for ``case2_day14`` and ``case101_day0``, and for hexadecimal numbers."""
    rough = re.sub(r"(?=[a-f]*[0-9])[0-9a-fA-F]{6,}", "#", text)
    return re.sub(r"[0-9]+", "0", re.sub(r"[A-Za-z]+", "a", rough))


def common_front(rows: Sequence[Sequence[str]]) -> list[str]:
    """The steps, or letters, that all begin with."""
    if not rows:
        return []
    first, last = min(map(tuple, rows)), max(map(tuple, rows))
    count = next((at for at, (one, other) in enumerate(zip(first, last)) if one != other), min(len(first), len(last)))
    return list(first[:count])
