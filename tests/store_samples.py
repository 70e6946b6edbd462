"""Small images of several sizes, and the stores that hold them."""

import cv2
import numpy as np

from segfold.store.writer import StoreWriter

META = {"weights": "abc", "tta": ("identity", "hflip"), "sizing": {"height": 128}, "data": "f00"}
IDS = ["1e1000", "00123", "b,c", 'd"', "NA"]
SHAPES = [(1, 3, 4), (1, 5, 2), (2, 1, 1), (1, 7, 7), (3, 2, 2)]


def images(seed=0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [rng.random(shape, np.float32) for shape in shapes]


def smooth(seed, size=101):
    """H×W codes of blurred noise."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.standard_normal((size, size)), (0, 0), 3)
    return (np.clip(0.5 + noise * 2.5, 0, 1) * 65535).astype(np.uint16)


def write(folder, split="oof", seed=0, meta=META, ids=IDS, shapes=SHAPES):
    with StoreWriter(folder, split, ids, shapes, meta) as writer:
        for image_id, values in list(zip(ids, images(seed, shapes)))[writer.count :]:
            writer.append(image_id, values)
        return writer.finish()
