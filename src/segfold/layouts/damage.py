"""Whether an image file is damaged inside, where a decoder makes a picture of it all the same.

| format | how it is seen |
| --- | --- |
| PNG | its own checksums |
| JPEG | the decoder's warnings; a changed byte that leaves the number of blocks as it was is not seen |
| TIFF | the decoder's errors; the checksums of deflated strips, which it does not read to their end |
| WebP | both decoders' errors; zeros of lossy data that are more than the whole picture would need in one colour |
| GIF, JPEG 2000, AVIF | the decoder's errors |
| BMP, TIFF without compression | their length: a part that was zeroed is a black part of a sound picture |

Nothing tells of zeros in lossless WebP and JPEG 2000, and not of all in the packed bits of a TIFF.
"""

import io
import re
import struct
import zlib

from PIL import Image

from segfold.layouts.tags import TIFF, read_tags

_PNG = b"\x89PNG\r\n\x1a\n"
DEFLATE = (8, 32946)  # values of a TIFF's tag for its compression
_COMPRESSION, _PLACES, _LENGTHS = 259, (273, 324), (279, 325)  # tags: of strips, or of tiles
_ZEROS_A_BLOCK = 2  # bytes; 16×16 pixels of one colour take 0.8 at most

# What decoders print of a damaged file. They print warnings of sound ones too (an unknown tag, say).
_COMPLAINT = re.compile(
    r"Corrupt JPEG data[^\n]*|Premature end of JPEG[^\n]*|Inconsistent progression[^\n]*"
    r"|PackBitsDecode: Discarding[^\n]*|(?<=TIFF_Error )[^\n]+|\[ERROR"
)


def found_in(data: bytes) -> str | None:
    """What is wrong with a file that decoders do not look for; None of one that seems whole."""
    if data.startswith(_PNG):
        return None if _whole_png(data) else "it is cut short or its checksum is wrong"
    if data.startswith(TIFF):
        return None if _whole_strips(data) else "the checksum of its pixels is wrong"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        if not _whole_webp(data):
            return "a part of it was overwritten with zeros"
        return None if _decodes(data) else "a second decoder refuses it"
    return None


def found_by_decoder(printed: str) -> str | None:
    """The complaint about a damaged file in what its decoder printed; None if there is none."""
    complaints = [found.group() for found in _COMPLAINT.finditer(printed)]
    if not complaints:
        return None
    said = next((complaint for complaint in complaints if complaint != "[ERROR"), None)
    return "its decoder gives up" if said is None else f"its decoder says {said.strip()[:100]!r}"


def _whole_png(data: bytes) -> bool:
    """Whether all chunks of a PNG are there with the checksums that the file gives (RFC 2083, section 3)."""
    at = len(_PNG)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        end = at + 8 + length
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big") or end + 4 > len(data):
            return False
        if kind == b"IEND":
            return True
        at = end + 4
    return False


def _whole_strips(data: bytes) -> bool:
    """Whether the deflated strips, or tiles, of a TIFF's first picture are whole; True of other compression."""
    try:
        tags = read_tags(data)
        if tags.get(_COMPRESSION, (1,))[0] not in DEFLATE:
            return True
        places, lengths = (tags.get(strips, tags.get(tiles, ())) for strips, tiles in (_PLACES, _LENGTHS))
        if not places:
            return False
        for place, length in zip(places, lengths, strict=True):
            if place:  # a tile of a sparse file has neither
                zlib.decompress(data[place : place + length])
    except (ValueError, zlib.error):
        return False
    return True


def _decodes(data: bytes) -> bool:
    """Whether Pillow makes a picture of a file of which OpenCV makes one even where its data ends too early."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
    except Exception:  # whichever its plug-ins raise
        return False
    return True


def _whole_webp(data: bytes) -> bool:
    """Whether no run of zeros in lossy data is longer than the whole picture would need in one colour."""
    at = data.find(b"VP8 ", 12)
    if at < 0 or data[at + 11 : at + 14] != b"\x9d\x01\x2a" or len(data) < at + 18:
        return True
    width, height = (size & 0x3FFF for size in struct.unpack_from("<HH", data, at + 14))
    blocks = -(-width // 16) * -(-height // 16)
    return bytes(_ZEROS_A_BLOCK * blocks + 16) not in data
