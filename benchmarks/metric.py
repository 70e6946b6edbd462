"""The competition's metric at every threshold and smallest component that ``submit`` tries, against a plain loop."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.measure import Effort, Row, interleave, rate, spread
from benchmarks.peers import numpy_metric
from segfold.demo.synthetic import areas_of, draw_mask
from segfold.ensemble.axes import THRESHOLDS
from segfold.ensemble.sweep import Sweep
from segfold.metrics import Counts, Precision
from segfold.post.areas import AREAS
from segfold.post.threshold import threshold_code

IMAGES, IMAGES_OF_PEER = 400, 10
CODES = [threshold_code(value) for value in THRESHOLDS]
ROUNDS = 7


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    count, part = effort.size(IMAGES, 200), effort.size(IMAGES_OF_PEER, 10)
    codes, truth = predictions(count)
    check(codes[:part], truth[:part])
    scores(codes, truth)
    things = {
        "ours": lambda: scores(codes, truth),
        "peer": lambda: numpy_metric.scores(codes[:part], truth[:part], CODES, AREAS),
    }
    times = interleave(things, least=effort.least(ROUNDS), seconds=effort.seconds(5))
    note = f"{count:,} images through ours, the first {part} through the loop; {spread(times)}"
    return [
        Row(
            "metric",
            rate(count, times["ours"]),
            rate(part, times["peer"]),
            f"images/s of 101² at {len(CODES)} thresholds × {len(AREAS)} components",
            20.0,
            notes=(note,),
        )
    ]


def scores(codes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """N×T×A scores, as ``submit`` makes them one image after the other."""
    sweep, metric = Sweep(CODES, AREAS), Precision()
    found = np.empty((len(codes), len(CODES), len(AREAS)), np.float32)
    for number, (image, mask) in enumerate(zip(codes, truth)):
        inter, area, true = sweep(image, mask)
        counts = Counts(inter, area + true - inter, area, np.full_like(area, true))
        found[number] = metric.of(Counts(*(each[..., None] for each in counts)))[..., 0]
    return found


def predictions(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of blurred, noisy salt masks, and the masks: N×101×101 each."""
    rng = np.random.default_rng(0)
    drawn = [draw_mask(rng, int(area)) for area in areas_of(min(count, 400), rng)[0]]
    truth = np.stack([drawn[i % len(drawn)] for i in range(count)])
    codes = np.empty(truth.shape, np.uint16)
    for mask, target in zip(truth, codes):
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 4) + rng.normal(0, 0.05, mask.shape)
        target[...] = np.clip(soft, 0, 1) * 65535
    return codes, truth


def check(codes: np.ndarray, truth: np.ndarray) -> None:
    """Asserts that the scores are the loop's, exactly."""
    expected = numpy_metric.scores(codes, truth, CODES, AREAS).astype(np.float32)
    np.testing.assert_array_equal(scores(codes, truth), expected)
