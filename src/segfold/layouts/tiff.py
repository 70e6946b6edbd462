"""The tiles or strips of a TIFF, each as a TIFF of its own, so that the decoder of whole files decodes them.

What the decoder makes of a segment is therefore to the bit what it makes of those pixels of the whole picture, whatever the
compression, the byte order or the colours are.
"""

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segfold.layouts.tags import ORIENTATION, SIZES, TIFF, Field, byte_order, directories, numbers, read_tags

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR = 256, 257, 258, 259, 262, 277, 284
_STRIPS, _ROWS, _STRIP_LENGTHS = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_LENGTHS = 322, 323, 324, 325
_EXTRA, _FORMAT = 338, 339
_CODED = (266, 292, 293, 317, 320, 332, 347, 529, 530, 531, 532)  # tags that say how pixels are coded
_PICTURE = (_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _EXTRA, _FORMAT, *_CODED)
_OLD_JPEG, _NONE = 6, 1  # compression
_GREY, _RGB, _YCBCR = 1, 2, 6  # photometric
_ROW_BYTES = 1 << 23  # strips without compression are read in parts of about that size


@dataclass(frozen=True)
class Page:
    """One picture of a TIFF, and where its segments are: tiles, or strips, which are as wide as the picture.

    Attributes:
        shape: height and width.
        segment: height and width of each segment; those at the edges of a tiled picture reach beyond it.
        tiled: whether segments are tiles.
        planes: how many channels are stored each by itself; 1 where the channels of a pixel lie together.
        samples: channels of a pixel, as stored.
        bits: of a sample.
        compression: the number of its method (TIFF 6.0, section 3).
        places: planes×rows×columns of segments, where each begins in the file.
        lengths: the same, how many bytes it has.
        orientation: how it is to be turned before it is shown; 1 is not at all.
        order: of bytes, as ``struct`` names it.
        fields: tags that say how pixels are coded.
    """

    shape: tuple[int, int]
    segment: tuple[int, int]
    tiled: bool
    planes: int
    samples: int
    bits: int
    compression: int
    places: np.ndarray
    lengths: np.ndarray
    orientation: int
    order: str
    fields: Mapping[int, Field]

    @property
    def segment_bytes(self) -> int:
        """Of a decoded segment, of all channels."""
        return self.segment[0] * self.segment[1] * self.samples * -(-self.bits // 8)

    @property
    def pixel_bytes(self) -> int:
        """Of the whole picture, decoded."""
        return self.shape[0] * self.shape[1] * self.samples * -(-self.bits // 8)

    def file(self, row: int, data: bytes) -> bytes:
        """A TIFF of one segment alone, which is its strip.

        Args:
            row: in which row of segments it is.
            data: its bytes.
        """
        height = self.segment[0] if self.tiled else min(self.segment[0], self.shape[0] - row * self.segment[0])
        width = self.segment[1]
        # A tile is coded as a strip is.
        sizes = {_WIDTH: width, _HEIGHT: height, _STRIPS: 0, _ROWS: height, _STRIP_LENGTHS: len(data)}
        long = {tag: Field(4, 1, struct.pack(f"{self.order}L", size)) for tag, size in sizes.items()}
        entries = sorted({**self.fields, **long}.items())
        start = 8 + 2 + 12 * len(entries) + 4
        outside = b""
        places = {}
        for tag, field in entries:
            if len(field.raw) > 4:
                places[tag] = start + len(outside)
                outside += field.raw + bytes(len(field.raw) % 2)
        places[_STRIPS] = start + len(outside)
        head = TIFF[0 if self.order == "<" else 1] + struct.pack(f"{self.order}LH", 8, len(entries))
        for tag, field in entries:
            raw = struct.pack(f"{self.order}L", places[tag]) if tag in places else field.raw.ljust(4, b"\0")
            head += struct.pack(f"{self.order}HHL", tag, field.kind, field.length) + raw
        return head + bytes(4) + outside + data


def read_pages(path: Path) -> list[Page]:
    """The pictures of a TIFF whose segments can be decoded one by one: all of them, or else the first one; none if that
    cannot, or if the file is no TIFF.

    Raises:
        OSError: the file cannot be opened.
    """
    pages: list[Page] = []
    with path.open("rb") as file:
        if file.read(4) not in TIFF:
            return []
        # Tags alone are looked at: of a large file few pages are read.
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            order = byte_order(data)
            try:
                for fields in directories(data):
                    pages.append(_page(fields, order, len(data)))
            except (ValueError, LookupError, OverflowError, struct.error):
                return pages[:1]
    return pages


def is_beyond_opencv(data: bytes) -> bool:
    """Whether the first picture of a TIFF is one of which OpenCV makes another picture or none, though not of its segments.

    Channels that lie each by itself are mixed up unless they are three of 8 bits, and tiles without compression, whose
    bytes are no multiple of 1024, are taken for damaged.
    """
    try:
        tags = read_tags(data)
    except ValueError:
        return False

    def number(tag: int) -> int:
        return tags.get(tag, (1,))[0]

    if number(_PLANAR) == 2 and number(_SAMPLES) > 1:
        return True
    tile = number(_TILE_HEIGHT) * number(_TILE_WIDTH) * number(_SAMPLES) * number(_BITS)
    return _TILES in tags and number(_COMPRESSION) == _NONE and tile % 8192 != 0


def _page(fields: dict[int, Field], order: str, size: int) -> Page:
    """
    Args:
        size: of the file, in bytes.

    Raises:
        ValueError, LookupError, OverflowError: its segments make no picture, or cannot be told apart.
    """

    def number(tag: int, usual: int | None = None) -> int:
        if tag not in fields and usual is not None:
            return usual
        return numbers(fields[tag], order)[0]

    height, width, samples = number(_HEIGHT), number(_WIDTH), number(_SAMPLES, 1)
    compression, photometric, bits = number(_COMPRESSION, _NONE), number(_PHOTOMETRIC), number(_BITS, 1)
    planar = samples > 1 and number(_PLANAR, 1) == 2
    tiled = _TILES in fields
    segment = (number(_TILE_HEIGHT), number(_TILE_WIDTH)) if tiled else (min(number(_ROWS, height), height), width)
    if min(height, width, samples, bits, *segment) < 1 or compression == _OLD_JPEG:
        raise ValueError("no picture of which segments can be read")
    if (photometric == _YCBCR and (planar or compression == _NONE)) or (planar and photometric not in (_GREY, _RGB)):
        raise ValueError("colours that cannot be read segment by segment")
    if samples == 2 and not planar:
        raise ValueError("two channels, of which OpenCV makes no picture")
    kept = {tag: fields[tag] for tag in _PICTURE if tag in fields}
    if planar:  # each segment is a grey picture
        kept = _of_one_plane(kept, order)
    if any(SIZES[field.kind] > 8 or field.kind in (16, 17, 18) for field in kept.values()):
        raise ValueError("a tag that a small TIFF cannot hold")
    places, lengths = (
        np.array(numbers(fields[tag], order), np.int64)
        for tag in ((_TILES, _TILE_LENGTHS) if tiled else (_STRIPS, _STRIP_LENGTHS))
    )
    grid = samples if planar else 1, -(-height // segment[0]), -(-width // segment[1])
    if places.size != np.prod(grid) or lengths.size != places.size:
        raise ValueError("another number of segments than the size says")
    page = Page(
        shape=(height, width),
        segment=segment,
        tiled=tiled,
        planes=grid[0],
        samples=samples,
        bits=bits,
        compression=compression,
        places=places.reshape(grid),
        lengths=lengths.reshape(grid),
        orientation=number(ORIENTATION, 1),
        order=order,
        fields=kept,
    )
    if compression != _NONE:
        return page
    # Some writers count what they have filled up.
    rows = segment[0] if tiled else np.minimum(segment[0], height - np.arange(0, height, segment[0]))[:, None]
    page = replace(page, lengths=np.minimum(page.lengths, rows * _row_bytes(page)))
    whole = height * _row_bytes(page) <= size
    return _in_parts(page) if whole and not tiled else page


def _of_one_plane(fields: dict[int, Field], order: str) -> dict[int, Field]:
    one = {_SAMPLES: 1, _PLANAR: 1, _PHOTOMETRIC: _GREY}
    made = {tag: field for tag, field in fields.items() if tag != _EXTRA}
    for tag in (_BITS, _FORMAT):
        if tag in fields:
            first, *others = numbers(fields[tag], order)
            if any(other != first for other in others):
                raise ValueError("channels of different types")
            one[tag] = first
    return made | {tag: Field(3, 1, struct.pack(f"{order}H", value)) for tag, value in one.items()}


def _row_bytes(page: Page) -> int:
    """Of a row of a segment without compression."""
    return -(-page.segment[1] * (1 if page.planes > 1 else page.samples) * page.bits // 8)


def _in_parts(page: Page) -> Page:
    """A picture in strips without compression, in strips of which none is large."""
    height, row = page.shape[0], _row_bytes(page)
    rows = max(1, _ROW_BYTES // row)
    if page.segment[0] <= rows:
        return page
    if page.places.shape[1] > 1:  # no part goes on in the next strip, which lies anywhere
        rows = _divisor(page.segment[0], rows)
    tops = np.arange(0, height, rows)
    strips, inside = tops // page.segment[0], tops % page.segment[0] * row
    places = page.places[:, strips, 0] + inside
    there = (page.lengths[:, strips, 0] - inside).clip(0)
    lengths = np.minimum(np.minimum(rows, height - tops) * row, there)
    return replace(page, segment=(rows, page.segment[1]), places=places[:, :, None], lengths=lengths[:, :, None])


def _divisor(number: int, most: int) -> int:
    """The largest divisor up to ``most``."""
    return next(each for each in range(most, 0, -1) if number % each == 0)
