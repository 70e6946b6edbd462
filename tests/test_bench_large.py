"""The large images of the benchmarks, read by OpenCV and however segfold reads them; what is refused before it is timed."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from benchmarks.large_images import competition, cut_competition, large_split, make_competition, picture, write_tiled
from benchmarks.tile_speed import TILE, check

from segfold.data import images
from segfold.data.images import load_split
from segfold.layouts import large
from segfold.store import StoreWriter


@pytest.fixture(autouse=True)
def plain_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a benchmark changes for its process is put back."""
    monkeypatch.setattr(large, "LARGE", large.LARGE)
    monkeypatch.setattr(images, "IN_MEMORY", images.IN_MEMORY)
    monkeypatch.setenv("SEGFOLD_CACHE", "")


@pytest.mark.parametrize("side", [256, 512])
def test_a_tiled_tiff_is_what_another_library_reads(tmp_path: Path, side: int) -> None:
    image, mask = picture(side, 0)
    write_tiled(tmp_path / "x.tif", image)
    assert np.array_equal(cv2.imread(str(tmp_path / "x.tif"), cv2.IMREAD_UNCHANGED), image)
    assert image.dtype == np.uint16 and 0 < mask.mean() < 255


def test_images_are_the_same_in_place_in_the_cache_and_in_parts(tmp_path: Path) -> None:
    make_competition(tmp_path, "whole", train=[512, 512])
    cut_competition(tmp_path, "parts", "whole", 256)
    cached, in_place = (large_split(tmp_path, "whole", "train", there) for there in (False, True))
    parts = load_split(competition(tmp_path, "parts"), "train", tmp_path)
    assert cached.masks is not None and parts.masks is not None and len(parts) == 8
    for number in range(2):
        assert np.array_equal(cached.images[number], in_place.images[number])
    quarter = np.s_[256:, :256]
    assert np.array_equal(parts.images[6], cached.images[1][quarter])
    assert np.array_equal(parts.masks[6], cached.masks[1][quarter]) and cached.masks[1].any()


def test_probabilities_that_differ_are_found(tmp_path: Path) -> None:
    logits = torch.randn(4, 1, TILE, TILE, generator=torch.Generator().manual_seed(0))
    whole = torch.cat([torch.cat([logits[0], logits[1]], 2), torch.cat([logits[2], logits[3]], 2)], 1)
    side = 2 * TILE
    with StoreWriter(tmp_path, "test", ["a"], [[1, side, side]], {}) as writer:
        writer.append("a", whole.sigmoid().numpy())
        store = writer.finish()
    check(store, [logits[:3], logits[3:]], side)
    with pytest.raises(AssertionError, match="probabilities differ"):
        check(store, [logits[[1, 0, 2, 3]]], side)
