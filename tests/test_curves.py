"""Event files that TensorBoard itself reads back, whole after a resume and one line on a full disk."""

import resource
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segfold.errors import SegfoldError
from segfold.training.curves import Curves


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    curves = Curves(tmp_path / "board", 0)
    curves.add(1, {"loss": 0.5, "score": 0.25})
    assert read(tmp_path / "board") == {"loss": [(1, 0.5)], "score": [(1, 0.25)]}  # at once, before it is closed
    curves.add(2, {"loss": 0.125})
    curves.close()
    assert read(tmp_path / "board") == {"loss": [(1, 0.5), (2, 0.125)], "score": [(1, 0.25)]}


def test_a_resumed_training_hides_what_its_checkpoint_lacks(tmp_path: Path) -> None:
    first = Curves(tmp_path, 0)
    for epoch in (1, 2, 3):
        first.add(epoch, {"loss": epoch / 4})
    resumed = Curves(tmp_path, 1)
    resumed.add(2, {"loss": 8.0})
    assert read(tmp_path) == {"loss": [(1, 0.25), (2, 8.0)]}


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    curves = Curves(tmp_path, 0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(SegfoldError, match="disk is full"):
            curves.add(1, {"loss": 0.5})
        with pytest.raises(SegfoldError, match="disk is full"):
            Curves(tmp_path / "other", 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    curves.close()
    assert read(tmp_path) == {}
