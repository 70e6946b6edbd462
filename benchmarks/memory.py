"""Peak private memory of blending stored predictions, in a process of its own.

``python -m benchmarks.memory FOLDER N IMAGES`` blends N members and prints bytes: after the imports, and at the peak.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.measure import Effort, Row
from benchmarks.private_memory import STATUS, Peak, private_bytes
from benchmarks.suite import CannotMeasureError

IMAGES, SIDE, MEMBERS = 18_000, 101, 10
DIFFERENT = 2
"""Stores that are written; members take turns in linking to them, for what is read of a file is not private."""

LIMIT_MIB = 1024


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    if not STATUS.exists():
        raise CannotMeasureError(f"no {STATUS} on this system")
    images = effort.size(IMAGES, 300)
    make_members(folder, images, 2 * MEMBERS)
    runs = effort.least(3)
    few, many = [], []
    for _ in range(runs):
        few.append(_blended(folder, MEMBERS, images))
        many.append(_blended(folder, 2 * MEMBERS, images))
    mib = 2**20
    (base, peak), (base_of_many, peak_of_many) = (
        sorted(found, key=lambda pair: pair[1] - pair[0])[len(found) // 2] for found in (few, many)
    )
    above, above_of_many = (peak - base) / mib, (peak_of_many - base_of_many) / mib
    how = f"{images:,} images of {SIDE}², median of {runs}; the imports take {base / mib:.0f} MiB more"
    return [
        Row("memory", above, LIMIT_MIB, f"MiB above imports, {MEMBERS} members", 1.0, "lower", (how,)),
        Row(
            "memory-growth",
            above_of_many,
            above,
            f"MiB above imports, {2 * MEMBERS} against {MEMBERS} members",
            1.05,
            "lower",
            (f"imports counted in, {peak_of_many / peak:.3f}",),
        ),
    ]


def make_members(folder: Path, images: int, count: int) -> None:
    """Stores ``folder/0`` … of ``count`` members that predict the same images."""
    from segfold.store.writer import StoreWriter

    ids = [f"{number:010x}" for number in range(images)]
    shapes = np.tile([1, SIDE, SIDE], (images, 1))
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 1 << 16, (64, 1, SIDE, SIDE), dtype=np.uint16)
    for number in range(DIFFERENT):
        with StoreWriter(folder / str(number), "test", ids, shapes, {"member": number}) as writer:
            for place, image_id in enumerate(ids):
                writer.append(image_id, noise[(place * (number + 1)) % len(noise)])
            writer.finish()
    for number in range(DIFFERENT, count):
        (folder / str(number)).mkdir()
        for path in (folder / str(number % DIFFERENT)).iterdir():
            os.link(path, folder / str(number) / path.name)


def _blended(folder: Path, members: int, images: int) -> tuple[int, int]:
    command = [sys.executable, "-m", "benchmarks.memory", str(folder), str(members), str(images)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    base, peak = json.loads(done.stdout)
    return base, peak


def main(folder: Path, members: int, images: int) -> None:
    """Blend the first ``members`` stores below ``folder`` and print memory before and at the peak."""
    import segfold.road  # noqa: F401  (what ``segfold submit`` has imported before it blends)
    from segfold.ensemble import TestMember, blend, common_ids
    from segfold.ensemble.stored import read_codes
    from segfold.store.reader import open_store

    base = private_bytes()
    with Peak() as peak:
        runs = []
        for number in range(members):
            store = open_store(folder / str(number), "test", None)
            assert store is not None
            runs.append(TestMember(str(number), {0: store}))
        ids = common_ids(runs).ids
        seen = 0
        for image_id, codes, _ in blend(runs, None, ids):
            if seen < 8:
                # Members take turns between two stores, so the mean of all is the mean of two, rounded half up.
                parts = [read_codes(run.stored(image_id)[0]).astype(int) for run in runs[:DIFFERENT]]
                assert np.array_equal(codes, (sum(parts) + 1) // 2), image_id
            seen += 1
        assert seen == images
    print(json.dumps([base, peak.bytes]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
