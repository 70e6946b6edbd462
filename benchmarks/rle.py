"""Masks to Kaggle's text and back, one at a time, against pycocotools."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.measure import Effort, Row, interleave, rate, spread
from benchmarks.peers import coco_rle
from segfold.demo.synthetic import areas_of, draw_mask
from segfold.layouts.rle import decode, encode

ROUNDS = 21
COUNTS = {101: 400, 1024: 40}
"""Masks by their side."""


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    return [row for side, count in COUNTS.items() for row in _rows(side, effort.size(count, 8), effort)]


def masks_of(side: int, count: int) -> list[np.ndarray]:
    """Salt masks with the competition's share of empty and tiny ones, side×side uint8; enlarged smoothly."""
    rng = np.random.default_rng(side)
    areas, _ = areas_of(count, rng)
    found = []
    for area in areas:
        soft = cv2.resize(draw_mask(rng, int(area)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
        found.append((soft > 0.5).astype(np.uint8))
    return found


def check(masks: Sequence[np.ndarray]) -> None:
    """Asserts that both write the same runs, and that both read them back to the mask."""
    for mask in masks:
        shape = (mask.shape[0], mask.shape[1])
        text = encode(mask)
        np.testing.assert_array_equal(coco_rle.decode_text(coco_rle.encode(mask), shape), mask)
        np.testing.assert_array_equal(coco_rle.decode_counts(coco_rle.counts_of_kaggle(text, shape), shape), mask)
        np.testing.assert_array_equal(decode(text, shape), mask)


def _rows(side: int, count: int, effort: Effort) -> list[Row]:
    masks, shape = masks_of(side, count), (side, side)
    check(masks)
    texts = [encode(mask) for mask in masks]
    # Parsing the text is left out of the peer's time: it has no call for that.
    counts = [coco_rle.counts_of_kaggle(text, shape) for text in texts]
    pairs = {
        "encode": (lambda: [encode(mask) for mask in masks], lambda: [coco_rle.encode(mask) for mask in masks]),
        "decode": (
            lambda: [decode(text, shape) for text in texts],
            lambda: [coco_rle.decode_counts(runs, shape) for runs in counts],
        ),
    }
    found = []
    for name, (ours, peer) in pairs.items():
        ours(), peer()
        times = interleave({"ours": ours, "peer": peer}, least=effort.least(ROUNDS), seconds=effort.seconds(3))
        found.append(
            Row(
                f"rle-{name}-{side}",
                rate(count, times["ours"]),
                rate(count, times["peer"]),
                f"masks/s of {side}²",
                1.0,
                notes=(spread(times),),
            )
        )
    return found
