"""A real set of several classes, where there is one: what Pillow reads of it is what an image set holds."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segfold.competition import load_competition
from segfold.data.images import load_split
from segfold.importing.kaggle import import_data

REAL = Path(os.environ.get("SEGFOLD_DATA_ROOT", "nowhere")) / "camvid-voc"


@pytest.mark.skipif(not REAL.is_dir(), reason="needs CamVid in VOC layout at SEGFOLD_DATA_ROOT/camvid-voc")
def test_camvid_as_pillow_reads_it(tmp_path: Path) -> None:
    camvid = load_competition("camvid")
    assert "468 train and 233 test images" in import_data(camvid, REAL, tmp_path)
    train, test = (load_split(camvid, split, tmp_path) for split in ("train", "test"))  # type: ignore[arg-type]
    lists = {
        name: (REAL / f"ImageSets/Segmentation/{name}.txt").read_text().split() for name in ("train", "val", "test")
    }
    assert list(train.ids) == sorted(lists["train"] + lists["val"]) and list(test.ids) == sorted(lists["test"])
    assert train.held_out is not None and set(train.ids[train.held_out]) == set(lists["val"])
    assert train.masks is not None and train.areas is not None
    for row in range(0, len(train), 37):
        values = np.asarray(Image.open(REAL / f"SegmentationClass/{train.ids[row]}.png"))
        np.testing.assert_array_equal(train.masks[row], values)
        assert train.areas[row].tolist() == [int((values == index).sum()) for index in range(11)]
        assert train.images.shapes[row].tolist() == [180, 240, 3]
