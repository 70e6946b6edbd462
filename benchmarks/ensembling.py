"""The road from stored predictions to a submission: blended, tuned over thresholds and smallest components, and written.

``python -m benchmarks.ensembling FOLDER MEMBERS IMAGES`` takes it twice, in a process of its own, and prints what it took.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.measure import Effort, Row, rate, timed
from benchmarks.peers import plain_ensemble
from benchmarks.private_memory import STATUS, Peak, private_bytes
from benchmarks.suite import CannotMeasureError
from segfold.competition import load_competition
from segfold.demo.synthetic import areas_of, draw_mask
from segfold.disk import size_text
from segfold.ensemble import OofMember, TestMember, blend, common_ids
from segfold.ensemble.axes import SWEPT, THRESHOLD, Axis
from segfold.ensemble.choice import choose
from segfold.ensemble.evidence import Images
from segfold.ensemble.kept import Kept
from segfold.ensemble.nested import parts_of
from segfold.ensemble.table import Table, score_table
from segfold.metrics import Precision
from segfold.post import Decision, Decisions
from segfold.post.threshold import threshold_code
from segfold.store import ProbabilityStore, StoreWriter
from segfold.store.reader import open_store
from segfold.submission.check import submission_problems
from segfold.submission.write import write_submission

MEMBERS, IMAGES, SIDE = 20, 18_000, 101
THRESHOLDS = [percent / 100 for percent in range(1, 100)]
AREAS = (0, 5, 10, 20, 40, 60, 80, 100, 150, 200)

LIMIT_SECONDS, LIMIT_MIB = 20.0, 1536
IMAGES_OF_PEER = 12
_DRAWN, _NOISES = 400, 61
_SHADES = 4096
"""Steps of the logits that predictions are made of."""


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    if not STATUS.exists():
        raise CannotMeasureError(f"no {STATUS} on this system")
    images = effort.size(int(IMAGES * effort.scale), 60)
    need, free = (MEMBERS + 2) * images * SIDE**2 * 2, shutil.disk_usage(folder).free
    print(f"ensembling: {size_text(need)} of disk below {folder}, {size_text(free)} are free", flush=True)
    if need > free:
        raise CannotMeasureError(f"{size_text(need)} of disk needed below {folder}, {size_text(free)} are free")
    make_members(folder, images, MEMBERS, 2 * MEMBERS)
    taken, of_more = (_taken(folder, members, images) for members in (MEMBERS, 2 * MEMBERS))
    part = effort.size(IMAGES_OF_PEER, 2)
    check(folder, MEMBERS, part)
    truth = truths(folder, part)
    arrays = [np.memmap(folder / str(number) / "oof.u16", "<u2", "r") for number in range(MEMBERS)]
    stored = [array.reshape(-1, SIDE, SIDE)[:part] for array in arrays]
    peer = [
        timed(lambda: plain_ensemble.submitted(stored, truth, THRESHOLDS, AREAS, names(part), folder / "peer.csv"))
        for _ in range(effort.least(3))
    ]
    grid = f"{len(THRESHOLDS)} thresholds × {len(AREAS)} components"
    mib, seconds = 2**20, taken["seconds"]
    return [
        Row(
            "ensembling",
            seconds,
            LIMIT_SECONDS * images / IMAGES,
            f"s: {MEMBERS} members × {images:,} images of {SIDE}² blended, tuned over {grid}, written",
            1.0,
            "lower",
            (
                f"the second pass, which took {taken['cpu']:.1f} s of the processor's time; the first {taken['first']:.1f} s",
            ),
        ),
        Row(
            "ensembling-speed",
            images / seconds,
            rate(part, peer),
            f"images/s of {MEMBERS} members from store to CSV",
            10.0,
            notes=(f"{images:,} images through ours, {part} through numpy and scikit-image on one core",),
        ),
        Row(
            "ensembling-memory",
            taken["peak"] / mib,
            LIMIT_MIB,
            f"MiB, imports counted in, {MEMBERS} members",
            1.0,
            "lower",
            (f"the imports take {taken['base'] / mib:.0f} MiB of it",),
        ),
        Row(
            "ensembling-growth",
            of_more["peak"] / mib,
            taken["peak"] / mib,
            f"MiB, imports counted in, {2 * MEMBERS} against {MEMBERS} members",
            1.05,
            "lower",
        ),
    ]


def names(images: int) -> list[str]:
    """Ids of so many images."""
    return [f"{number:010x}" for number in range(images)]


def truths(folder: Path, images: int) -> np.ndarray:
    """N×H×W masks of 0 and 1."""
    drawn = np.load(folder / "truth.npy")
    return drawn[np.arange(images) % len(drawn)]


def make_members(folder: Path, images: int, different: int, count: int) -> None:
    """Stores ``folder/0`` … of members that predict the same images out of fold, each with blurred noise of its own.

    Args:
        different: files that are written; further members are links to them, as what is read of a file is not private.
        count: of members.
    """
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_mask(rng, int(area)) for area in areas_of(_DRAWN, rng)[0]])
    np.save(folder / "truth.npy", drawn)
    soft = [cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 4) * (_SHADES / 2) for mask in drawn]
    shades = [(each + _SHADES / 4).astype(np.int16) for each in soft]
    table = (65535 / (1 + np.exp(-24 * (np.arange(_SHADES) / _SHADES - 0.5)))).astype(np.uint16)
    for member in range(different):
        rng = np.random.default_rng(member)
        rough = [cv2.GaussianBlur(rng.normal(0, 1.5, (SIDE, SIDE)), (0, 0), 3) for _ in range(_NOISES)]
        noise = [(_SHADES / 2 * each).astype(np.int16) for each in rough]
        shapes = np.tile([1, SIDE, SIDE], (images, 1))
        with StoreWriter(folder / str(member), "oof", names(images), shapes, {"member": member}) as writer:
            for number, name in enumerate(names(images)):
                shade = shades[number % _DRAWN] + noise[number * (member + 1) % _NOISES]
                writer.append(name, table[np.clip(shade, 0, _SHADES - 1)][None])
            writer.finish()
    for member in range(different, count):
        (folder / str(member)).mkdir()
        for path in (folder / str(member % different)).iterdir():
            os.link(path, folder / str(member) / path.name)


def stores(folder: Path, members: int) -> list[ProbabilityStore]:
    """The members' stores."""
    found = [open_store(folder / str(number), "oof", None) for number in range(members)]
    return [store for store in found if store is not None]


def evidence(folder: Path, members: int, images: int) -> Images:
    """The first images of the members, blended, beside their truth."""
    out_of_fold = [OofMember(str(number), {0: store}) for number, store in enumerate(stores(folder, members))]
    ids = common_ids(out_of_fold).ids[:images]
    part, _ = parts_of(ids, [0] * len(ids))
    place = {name: number for number, name in enumerate(ids)}
    drawn = np.load(folder / "truth.npy")
    return Images(
        Kept(lambda: blend(out_of_fold, None, ids)),
        lambda name: drawn[place[name] % len(drawn)],
        lambda name: np.zeros((SIDE, SIDE, 1), np.uint8),
        dict(zip(ids, part.tolist())),
        Precision(),
    )


def axes() -> list[Axis]:
    """All thresholds and smallest components."""
    settings = [None, *({"min_area": area} for area in AREAS[1:])]
    return [
        Axis(THRESHOLD, THRESHOLDS, tuple(range(len(THRESHOLDS))), THRESHOLDS.index(0.5)),
        Axis(SWEPT, settings, tuple(range(len(settings))), 0),
    ]


def submitted(folder: Path, members: int, images: int, decision: Decision | None, path: Path) -> Decision:
    """The whole road; returns the decision, which is tuned if none is given."""
    seen = evidence(folder, members, images)
    if decision is None:
        chosen = choose(seen, lambda index: axes(), "hashed parts").shared
        assert chosen is not None
        decision = chosen.fitted.decision
    ids = names(images)
    tests = [TestMember(str(number), {0: store}) for number, store in enumerate(stores(folder, members))]
    competition, shapes = load_competition("synthetic-salt"), dict.fromkeys(ids, (SIDE, SIDE))

    def masks() -> Iterator[tuple[str, np.ndarray]]:
        decisions = Decisions(seen.task, (decision,))
        for each in blend(tests, None, ids):
            yield each.id, decisions(each.codes, seen.seen(each))

    write_submission(path, masks(), competition, ids, lambda file: submission_problems(file, competition, shapes), {})
    return decision


def check(folder: Path, members: int, images: int) -> None:
    """Asserts that scores and submission are the peer's, exactly."""
    arrays = [np.memmap(store.path, "<u2", "r").reshape(-1, SIDE, SIDE)[:images] for store in stores(folder, members)]
    path = folder / "peer.csv"
    scores, best = plain_ensemble.submitted(arrays, truths(folder, images), THRESHOLDS, AREAS, names(images), path)
    table: Table = score_table(evidence(folder, members, images), axes())
    np.testing.assert_allclose(table.total.sum(axis=0)[..., 0] / images, scores, rtol=0, atol=1e-7)
    threshold, area = THRESHOLDS[best[0]], AREAS[best[1]]
    decision = Decision.of(threshold, {SWEPT: {"min_area": area}} if area else {})
    assert decision.code == threshold_code(threshold)
    submitted(folder, members, images, decision, folder / "ours" / "ours.csv")
    assert (folder / "ours" / "ours.csv").read_text() == path.read_text()


def _taken(folder: Path, members: int, images: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.ensembling", str(folder), str(members), str(images)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(folder: Path, members: int, images: int) -> None:
    """Take the road twice: memory is watched in the first pass, time in the second one."""
    base, began = private_bytes(), time.perf_counter()
    with Peak() as peak:
        submitted(folder, members, images, None, folder / "out" / "first.csv")
    first, cpu, began = time.perf_counter() - began, time.process_time(), time.perf_counter()
    submitted(folder, members, images, None, folder / "out" / "second.csv")
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu": cpu, "first": first, "base": base, "peak": peak.bytes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
