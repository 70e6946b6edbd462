"""Blended predictions are made once and come back as they were, from memory or from a file."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from segfold.ensemble.blend import Blended
from segfold.ensemble.kept import Kept

SHAPES = [(1, 30, 20), (2, 5, 7), (1, 1, 1), (1, 40, 40)]


class Blends:
    """Makes the same images anew at each pass, and counts the passes."""

    def __init__(self) -> None:
        self.passes = 0

    def __call__(self):
        self.passes += 1
        rng = np.random.default_rng(0)
        for number, shape in enumerate(SHAPES):
            codes = rng.integers(0, 65536, shape, np.uint16)
            yield Blended(str(number), codes, None if number == 1 else number)


def alike(found):
    wanted = list(Blends()())
    found = list(found)
    return len(found) == len(wanted) and all(
        (one.id, one.nonempty) == (two.id, two.nonempty) and np.array_equal(one.codes, two.codes)
        for one, two in zip(found, wanted)
    )


def files_open():
    return [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]


@pytest.mark.parametrize("memory", [1 << 20, 2000, 1], ids=["memory", "half", "file"])
def test_later_passes_are_the_first_one(memory):
    blends = Blends()
    kept = Kept(blends, memory)
    assert alike(kept()) and alike(kept()) and alike(kept())
    assert blends.passes == 1
    for one, two in zip(kept(), kept(), strict=True):  # passes at the same time
        assert one.id == two.id and np.array_equal(one.codes, two.codes)


def test_a_pass_that_is_left_is_not_kept():
    blends = Blends()
    kept = Kept(blends)
    first = kept()
    next(first)
    first.close()
    assert alike(kept()) and alike(kept()) and blends.passes == 2


def test_without_room_for_a_file_each_pass_blends_anew(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    blends = Blends()
    kept = Kept(blends, 2000)
    assert alike(kept()) and alike(kept()) and blends.passes == 2


def test_codes_beyond_the_bound_lie_in_a_file_without_a_name(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = Kept(Blends(), 100)
    assert alike(kept())
    assert list(tmp_path.iterdir()) == []
    assert any(str(tmp_path) in path for path in files_open())
    del kept
    assert not any(str(tmp_path) in path for path in files_open())
