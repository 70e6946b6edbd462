"""The tags of a TIFF, and of the EXIF block in other files, which is a TIFF of tags alone."""

import struct

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a TIFF begins: in either byte order, and with addresses of 64 bits."""

ORIENTATION = 274
SUBFILE = 254  # its first bit: a smaller copy of another picture in the file
_INTEGERS = {3: "H", 4: "L", 16: "Q"}  # types of a tag: of 16, 32 and 64 bits
_PNG = b"\x89PNG\r\n\x1a\n"
_MARKS = {b"\xff\xd8": b"Exif\0\0", b"RIFF": b"EXIF"}  # before the EXIF block of a JPEG and a WebP


def read_tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """The integers of a TIFF's first directory, by their tags (TIFF 6.0, section 2).

    Raises:
        ValueError: the directory is damaged.
    """
    return _directory(data, _first(data))[0]


def page_count(data: bytes) -> int:
    """How many pictures a TIFF holds, at least 1; smaller copies of one are none of their own."""
    found, at, seen = 0, _first(data), set[int]()
    address = _byte_order(data) + ("Q" if _is_large(data) else "L")
    try:
        while at and at not in seen:
            seen.add(at)
            tags, end = _directory(data, at)
            found += not tags.get(SUBFILE, (0,))[0] & 1
            (at,) = struct.unpack_from(address, data, end)
    except (ValueError, struct.error):
        pass
    return max(found, 1)


def _byte_order(data: bytes) -> str:
    return "<" if data[:2] == b"II" else ">"


def _is_large(data: bytes) -> bool:
    return b"+" in data[2:4]


def _first(data: bytes) -> int:
    """Where the first directory is; 0 of a damaged file."""
    form, place = ("Q", 8) if _is_large(data) else ("L", 4)
    try:
        return int(struct.unpack_from(_byte_order(data) + form, data, place)[0])
    except struct.error:
        return 0


def _directory(data: bytes, at: int) -> tuple[dict[int, tuple[int, ...]], int]:
    """The integers of the directory at a place, by their tags, and where it ends.

    Raises:
        ValueError: it is damaged.
    """
    order = _byte_order(data)
    address, count, entry = ("Q", "Q", "HHQ8s") if _is_large(data) else ("L", "H", "HHL4s")
    found = {}
    try:
        (entries,) = struct.unpack_from(order + count, data, at)
        at += struct.calcsize("=" + count)
        end = at + entries * struct.calcsize("=" + entry)
        for tag, kind, values, field in struct.iter_unpack(order + entry, data[at:end]):
            if kind in _INTEGERS:
                form = f"{order}{values}{_INTEGERS[kind]}"
                inside = struct.calcsize(form) <= len(field)  # else the field says where they are
                place = 0 if inside else struct.unpack(order + address, field)[0]
                found[tag] = struct.unpack_from(form, field if inside else data, place)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"a damaged directory of tags: {error}") from error
    return found, end


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
