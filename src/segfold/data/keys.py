"""Keys of random streams: numbers that follow from what is drawn, not from who draws it."""

from hashlib import blake2b


def sample_key(*parts: int | str) -> int:
    """64 bits that depend on every part, the same in every process and on every machine."""
    text = "/".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
