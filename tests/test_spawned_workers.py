"""Loaders' workers that are started anew rather than forked, as on macOS."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from segfold.machine import resolve
from segfold.training.batches import Batches
from small_images import same
from small_project import fold_job, make_project


@pytest.fixture
def spawn() -> Iterator[None]:
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.usefixtures("spawn")
def test_spawned_workers_make_the_same_batches(tmp_path: Path) -> None:
    """Data set, augmentation and mixing are sent to them, and the images are not."""
    home = make_project(tmp_path)
    augment = "augment={affine: {}, brightness: {}, elastic: {}, cutmix: {p: 1}}"
    found = []
    for workers in (0, 1):
        job = fold_job(home, augment, f"machine.workers={workers}")
        batches = Batches(job, job.stages[0], resolve(job.experiment.machine))
        found.append([*batches.of(0, 0), *batches.of(1, 1)])
        batches.close()
    assert len(found[0]) == len(found[1]) == 3
    assert all(same(one, other) for one, other in zip(*found))
