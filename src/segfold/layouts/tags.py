"""The tags of a TIFF, and of the EXIF block in other files, which is a TIFF of tags alone."""

import mmap
import struct
from collections.abc import Iterator
from typing import NamedTuple

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a TIFF begins: in either byte order, and with addresses of 64 bits."""

ORIENTATION = 274
SUBFILE = 254  # its first bit: a smaller copy of another picture in the file
_INTEGERS = {3: "H", 4: "L", 16: "Q"}  # types of a tag: of 16, 32 and 64 bits
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a number, by the types of tags."""
Buffer = bytes | mmap.mmap
_PNG = b"\x89PNG\r\n\x1a\n"
_MARKS = {b"\xff\xd8": b"Exif\0\0", b"RIFF": b"EXIF"}  # before the EXIF block of a JPEG and a WebP


class Field(NamedTuple):
    """What a tag of a TIFF holds: so many numbers of a type, as the bytes of the file."""

    kind: int
    length: int
    raw: bytes


def directories(data: Buffer) -> Iterator[dict[int, Field]]:
    """The fields of a TIFF's directories by their tags, one directory a picture; fields of unknown types are left out.

    Raises:
        ValueError: a directory is damaged.
    """
    order, at, seen = byte_order(data), _first(data), set[int]()
    address = order + ("Q" if _is_large(data) else "L")
    try:
        while at and at not in seen:
            seen.add(at)
            entries, end = _entries(data, at)
            found = {}
            for tag, kind, count, field in entries:
                if kind in SIZES and count:
                    length = count * SIZES[kind]
                    place = 0 if length <= len(field) else struct.unpack(address, field)[0]
                    raw = field[:length] if length <= len(field) else data[place : place + length]
                    if len(raw) < length:
                        raise ValueError(f"tag {tag} lies behind the end of the file")
                    found[tag] = Field(kind, count, raw)
            yield found
            (at,) = struct.unpack_from(address, data, end)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"a damaged directory of tags: {error}") from error


def numbers(field: Field, order: str) -> tuple[int, ...]:
    """The integers of a field; none of one that holds no integers."""
    form = _INTEGERS.get(field.kind)
    return () if form is None else struct.unpack(f"{order}{field.length}{form}", field.raw)


def read_tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """The integers of a TIFF's first directory, by their tags (TIFF 6.0, section 2).

    Raises:
        ValueError: the directory is damaged.
    """
    return _directory(data, _first(data))[0]


def page_count(data: Buffer) -> int:
    """How many pictures a TIFF holds, at least 1; smaller copies of one are none of their own."""
    found, at, seen = 0, _first(data), set[int]()
    address = byte_order(data) + ("Q" if _is_large(data) else "L")
    try:
        while at and at not in seen:
            seen.add(at)
            tags, end = _directory(data, at)
            found += not tags.get(SUBFILE, (0,))[0] & 1
            (at,) = struct.unpack_from(address, data, end)
    except (ValueError, struct.error):
        pass
    return max(found, 1)


def byte_order(data: Buffer) -> str:
    """Of a TIFF, as ``struct`` names it."""
    return "<" if data[:2] == b"II" else ">"


def _is_large(data: Buffer) -> bool:
    return b"+" in data[2:4]


def _first(data: Buffer) -> int:
    """Where the first directory is; 0 of a damaged file."""
    form, place = ("Q", 8) if _is_large(data) else ("L", 4)
    try:
        return int(struct.unpack_from(byte_order(data) + form, data, place)[0])
    except struct.error:
        return 0


def _directory(data: Buffer, at: int) -> tuple[dict[int, tuple[int, ...]], int]:
    """The integers of the directory at a place, by their tags, and where it ends.

    Raises:
        ValueError: it is damaged.
    """
    order = byte_order(data)
    address = order + ("Q" if _is_large(data) else "L")
    found = {}
    try:
        entries, end = _entries(data, at)
        for tag, kind, values, field in entries:
            if kind in _INTEGERS and values:
                form = f"{order}{values}{_INTEGERS[kind]}"
                inside = struct.calcsize(form) <= len(field)  # else the field says where they are
                place = 0 if inside else struct.unpack(address, field)[0]
                found[tag] = struct.unpack_from(form, field if inside else data, place)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"a damaged directory of tags: {error}") from error
    return found, end


def _entries(data: Buffer, at: int) -> tuple[Iterator[tuple[int, int, int, bytes]], int]:
    """Tag, type, count and field of each entry of the directory at a place, and where it ends."""
    order = byte_order(data)
    count, entry = (order + "Q", order + "HHQ8s") if _is_large(data) else (order + "H", order + "HHL4s")
    (entries,) = struct.unpack_from(count, data, at)
    at += struct.calcsize(count)
    end = at + entries * struct.calcsize(entry)
    return struct.iter_unpack(entry, data[at:end]), end


def orientation(data: bytes) -> int:
    """How a picture is to be turned before it is shown, 1 (not at all) to 8, by the EXIF orientation of its file."""
    block = _block(data)
    try:
        (found,) = (1,) if block is None else read_tags(block).get(ORIENTATION, (1,))
    except ValueError:  # nothing says that it is to be turned
        return 1
    return found if 1 <= found <= 8 else 1


def _block(data: bytes) -> bytes | None:
    if data.startswith(TIFF):
        return data
    if data.startswith(_PNG):
        return _chunk(data, b"eXIf")
    for start, mark in _MARKS.items():
        if data.startswith(start) and (at := data.find(mark)) >= 0:
            rest = data[at + len(mark) : at + len(mark) + (1 << 16)]
            # In WebP the block's length comes between, and of some writers JPEG's mark as well.
            begins = [place for head in TIFF[:2] if 0 <= (place := rest.find(head)) <= 10]
            return rest[min(begins) :] if begins else None
    return None


def _chunk(data: bytes, kind: bytes) -> bytes | None:
    """What the first chunk of a kind holds in a PNG."""
    at = len(_PNG)
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == kind:
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    return None
