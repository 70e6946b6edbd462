"""Greedy selection among many members' stored out-of-fold predictions: from files on the disk to how often each counts."""

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.measure import Effort, Row
from benchmarks.private_memory import STATUS, Peak, private_bytes
from benchmarks.suite import CannotMeasureError
from segfold.demo.synthetic import areas_of, draw_mask
from segfold.disk import size_text
from segfold.ensemble import OofMember, blend
from segfold.ensemble.disputed import Disputed
from segfold.ensemble.evidence import Images, image_features
from segfold.ensemble.greedy import greedy
from segfold.metrics import Precision
from segfold.post import Decision, Decisions
from segfold.store.writer import StoreWriter
from segfold.tasks import FOREGROUND

MEMBERS, IMAGES, SIDE, STEPS = 50, 4000, 101, 20
LIMIT_SECONDS = 60.0
SCENES, FIELDS, CHECKED = 400, 97, 20
_FINE = 256  # parts of a unit of a logit


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    images = effort.size(int(IMAGES * effort.scale), 60)
    count = effort.size(MEMBERS, 8)
    needed = 2 * images * count * SIDE**2
    print(f"greedy selection: {count} members take {size_text(needed)} in {folder}", flush=True)
    if shutil.disk_usage(folder).free < needed * 1.1:
        raise CannotMeasureError(f"{folder} has not the {size_text(needed)} that the members take; set TMPDIR")
    members, held = make_members(folder, count, images)
    ids = list(members[0].ids)
    select(members, ids[:8], held)  # compiles
    seconds = []
    for _ in range(2):  # a second pass finds the files in memory, if they fit
        start = private_bytes() if STATUS.exists() else 0
        with Peak() as peak:
            began = time.perf_counter()
            disputed, counts = select(members, ids, held)
            seconds.append(time.perf_counter() - began)
    check(members, disputed, counts)
    limit = LIMIT_SECONDS * images / IMAGES
    notes = (
        f"read from {size_text(needed)} of files, {disputed.share:.1%} of the pixels disputed, {np.count_nonzero(counts)} "
        f"members chosen; the first pass took {seconds[0]:.1f} s; peak private memory {size_text(peak.bytes - start)}",
    )
    unit = f"s for {STEPS} steps among {count} members × {images:,} images of {SIDE}², limit {limit:g} s"
    return [Row("greedy-selection", seconds[-1], limit, unit, 1.0, "lower", notes)]


def select(members: Sequence[OofMember], ids: Sequence[str], held: Images) -> tuple[Disputed, list[int]]:
    """What is timed."""
    disputed = Disputed.of(members, ids, held)
    return disputed, greedy(disputed, steps=STEPS)


def make_members(folder: Path, count: int, images: int) -> tuple[list[OofMember], Images]:
    """Members that see the same regions through noise of their own, some better than others, and the true masks."""
    rng = np.random.default_rng(0)
    ids = [f"{number:010x}" for number in range(images)]
    masks = [draw_mask(rng, int(area)) for area in areas_of(min(images, SCENES), rng)[0]]
    scenes = [_fixed(16 * cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 3) - 8) for mask in masks]
    noise = rng.standard_normal((FIELDS, SIDE + 32, SIDE + 32)).astype(np.float32)
    fields = [_fixed(18 * cv2.GaussianBlur(each, (0, 0), 5)[16:-16, 16:-16]) for each in noise]
    reach = 64 * _FINE  # farther than any sum
    codes = (65535 / (1 + np.exp(-np.arange(-reach, reach) / _FINE))).astype(np.uint16)
    members = []
    for number in range(count):
        strength = 2.3 + number % 10 / 20
        with StoreWriter(folder / str(number), "oof", ids, np.tile([1, SIDE, SIDE], (images, 1)), {}) as writer:
            for place, image_id in enumerate(ids):
                field = fields[int(rng.integers(FIELDS))]
                seen = scenes[place % len(scenes)] + (strength * field).astype(np.int32)
                writer.append(image_id, codes[seen + reach][None])
            members.append(OofMember(f"member{number}", {0: writer.finish()}))
    truth = {name: masks[place % len(masks)] for place, name in enumerate(ids)}
    part = dict.fromkeys(ids, 0)
    return members, Images(lambda: iter(()), truth.__getitem__, truth.__getitem__, part, Precision())


def _fixed(logits: np.ndarray) -> np.ndarray:
    return np.rint(logits * _FINE).astype(np.int32)


def check(members: Sequence[OofMember], disputed: Disputed, counts: Sequence[int]) -> None:
    """Asserts that the selection's scores are those of the real blend, on some images."""
    ids, held = disputed.ids[:CHECKED], disputed.images
    real = Images(lambda: blend(members, counts, ids), held.truth, held.pixels, held.part, held.metric)
    expected = image_features(real, Decisions(FOREGROUND, (Decision(0.5),)))
    np.testing.assert_array_equal(disputed.features(counts, np.arange(len(ids))), expected)


if __name__ == "__main__":
    for row in rows(Effort(quick="--quick" in sys.argv), Path(sys.argv[1])):
        print(row)
