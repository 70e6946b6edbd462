"""TIFFs of all kinds, written byte by byte after the specification; OpenCV encodes what is compressed by LZW or JPEG."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

_FORMS = {3: "H", 4: "L", 7: "B"}  # types of tags: numbers of 16 and of 32 bits, bytes
NONE, LZW, JPEG, DEFLATE, PACKBITS = 1, 5, 7, 8, 32773


def write_tiff(
    path: Path,
    image: np.ndarray,
    *,
    tile: tuple[int, int] | None = None,
    rows: int | None = None,
    compression: int = NONE,
    planar: bool = False,
    predictor: bool = False,
    pages: bool = False,
    order: str = "<",
    big: bool = False,
    tags: dict[int, tuple[int, int]] | None = None,
) -> Path:
    """Writes H×W or H×W×C of 8 or 16 bits.

    Args:
        tile: height and width; None for strips of ``rows``.
        pages: each channel as a picture of its own.
        tags: more tags, as (type, number).
    """
    image = image if image.ndim == 3 else image[:, :, None]
    pictures = [image[:, :, i : i + 1] for i in range(image.shape[2])] if pages else [image]
    data = bytearray(b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42)
    data += struct.pack(f"{order}HHQ", 8, 0, 0) if big else struct.pack(f"{order}L", 0)
    address, count = ("Q", "Q") if big else ("L", "H")
    link = 8 if big else 4
    for picture in pictures:
        (height, width, channels), bits = picture.shape, picture.itemsize * 8
        high, wide = tile or (rows or height, width)
        planes = [picture[:, :, i : i + 1] for i in range(channels)] if planar and channels > 1 else [picture]
        places, lengths = [], []
        for plane in planes:
            for top in range(0, height, high):
                for left in range(0, width, wide):
                    part = plane[top : top + high, left : left + wide]
                    if tile:
                        filler = [(0, high - part.shape[0]), (0, wide - part.shape[1]), (0, 0)]
                        part = np.pad(part, filler, mode="edge")
                    encoded = _encoded(part, compression, predictor, order)
                    places.append(len(data))
                    lengths.append(len(encoded))
                    data += encoded + bytes(len(encoded) % 2)
        wanted = {256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * channels), 259: (3, [compression])}
        wanted |= {262: (3, [2 if channels >= 3 else 1]), 277: (3, [channels]), 284: (3, [2 if planar else 1])}
        if channels > 3:
            wanted[338] = (3, [0] * (channels - 3))
        if compression == JPEG:
            wanted[347] = (7, list(_jpeg(pictures[0][:1, :1])[0]))
            wanted |= {262: (3, [6]), 530: (3, [2, 2])} if channels == 3 else {}
        if predictor:
            wanted[317] = (3, [2])
        if tile:
            wanted |= {322: (4, [wide]), 323: (4, [high]), 324: (4, places), 325: (4, lengths)}
        else:
            wanted |= {273: (4, places), 278: (4, [high]), 279: (4, lengths)}
        for tag, (kind, number) in (tags or {}).items():
            wanted[tag] = (kind, [number])
        entries = b""
        for tag, (kind, numbers) in sorted(wanted.items()):
            raw = struct.pack(f"{order}{len(numbers)}{_FORMS[kind]}", *numbers)
            if len(raw) > struct.calcsize(order + address):
                place = len(data)
                data += raw + bytes(len(raw) % 2)
                raw = struct.pack(order + address, place)
            entries += struct.pack(f"{order}HH{address}", tag, kind, len(numbers)) + raw.ljust(
                struct.calcsize(order + address), b"\0"
            )
        place = struct.pack(order + address, len(data))
        data[link : link + len(place)] = place
        data += struct.pack(order + count, len(wanted)) + entries
        link = len(data)
        data += bytes(struct.calcsize(order + address))
    path.write_bytes(data)
    return path


def _encoded(part: np.ndarray, compression: int, predictor: bool, order: str) -> bytes:
    part = part.astype(part.dtype.newbyteorder(order))
    if compression in (NONE, DEFLATE):
        if predictor:
            part = np.concatenate([part[:, :1], np.diff(part, axis=1)], axis=1).astype(part.dtype)
        return zlib.compress(part.tobytes(), 1) if compression == DEFLATE else part.tobytes()
    assert part.dtype == np.uint8
    if compression == JPEG:
        return _jpeg(part)[1]
    # A strip of what OpenCV writes is coded as a tile is.
    shown = part[:, :, [2, 1, 0, 3][: part.shape[2]]] if part.shape[2] > 1 else part
    options = [cv2.IMWRITE_TIFF_COMPRESSION, compression, cv2.IMWRITE_TIFF_ROWSPERSTRIP, part.shape[0]]
    options += [cv2.IMWRITE_TIFF_PREDICTOR, 2 if predictor else 1]
    written = cv2.imencode(".tiff", shown, options)[1].tobytes()
    (place,), (length,) = (_tag(written, tag) for tag in (273, 279))
    return written[place : place + length]


def _jpeg(part: np.ndarray) -> tuple[bytes, bytes]:
    """The tables of a JPEG, which are the same for every part of an image, and the rest of it."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    data = cv2.imencode(".jpg", part[:, :, ::-1] if part.shape[2] == 3 else part, options)[1].tobytes()
    tables, rest, at = data[:2], data[:2], 2
    while data[at + 1] != 0xDA:  # the pixels
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] in (0xDB, 0xC4):
            tables += data[at:end]
        elif data[at + 1] != 0xE0:
            rest += data[at:end]
        at = end
    return tables + b"\xff\xd9", rest + data[at:]


def _tag(data: bytes, wanted: int) -> tuple[int, ...]:
    (at,) = struct.unpack_from("<L", data, 4)
    for i in range(struct.unpack_from("<H", data, at)[0]):
        tag, kind, count = struct.unpack_from("<HHL", data, at + 2 + 12 * i)
        if tag == wanted:
            assert count == 1
            return struct.unpack_from("<H" if kind == 3 else "<L", data, at + 10 + 12 * i)
    raise KeyError(wanted)
