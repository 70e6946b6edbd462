"""pycocotools: masks to run lengths as text and back, with the calls of ``pycocotools/mask.py``."""

import numpy as np
import pycocotools.mask as coco


def encode(mask: np.ndarray) -> str:
    """COCO's run lengths of an H×W uint8 mask as text, the form that goes into a JSON file."""
    text: str = coco.encode(np.asfortranarray(mask))["counts"].decode("ascii")
    return text


def decode_counts(counts: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """H×W uint8 mask of uncompressed run lengths down the columns, background first (``frUncompressed``)."""
    mask: np.ndarray = coco.decode(coco.frPyObjects({"counts": counts, "size": list(shape)}, *shape))
    return mask


def decode_text(text: str, shape: tuple[int, int]) -> np.ndarray:
    """H×W uint8 mask of COCO's run lengths as text."""
    mask: np.ndarray = coco.decode({"counts": text.encode("ascii"), "size": list(shape)})
    return mask


def counts_of_kaggle(text: str, shape: tuple[int, int]) -> np.ndarray:
    """Uncompressed run lengths, background first, of ``"start length …"``."""
    numbers = np.array(text.split(), dtype=np.int64)
    starts, lengths = numbers[0::2] - 1, numbers[1::2]
    edges = np.concatenate([[0], np.stack([starts, starts + lengths], axis=1).ravel(), [shape[0] * shape[1]]])
    return np.diff(edges).astype(np.uint32)
