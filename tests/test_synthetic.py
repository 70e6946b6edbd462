"""The synthetic set beside the real one: layout, traps, statistics (real figures measured on the 4,000 training images)."""

import io
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import label
from sklearn.linear_model import LogisticRegression

from segfold.competition import load_competition
from segfold.demo.baselines import all_empty, best_grey_threshold
from segfold.demo.seismic import SIDE, chaos, ricker, salt_mask, sediment
from segfold.demo.synthetic import EMPTY, TRAPS, _depth, areas_of, draw_mask, generate, sample
from segfold.errors import SegfoldError
from segfold.importing.check import folder_problems
from segfold.layouts.rle import decode, encode
from segfold.layouts.table import read_table
from segfold.metrics import METRICS, score

REAL_CLASSES = np.array([1562, 576, 296, 224, 186, 225, 205, 174, 148, 159, 245]) / 4000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "set"
    generate(path, train=60, test=20, seed=0)
    return path


@pytest.fixture(scope="module")
def many() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """400 images and masks."""
    rng = np.random.default_rng(5)
    areas, black = areas_of(400, rng)
    pairs = [sample(rng, int(area), bool(dark)) for area, dark in zip(areas, black)]
    return [image for image, _ in pairs], [mask for _, mask in pairs]


def test_layout_and_tables_agree(folder: Path) -> None:
    assert folder_problems(load_competition("synthetic-salt"), folder) == []
    header = {
        name: (folder / name).read_text().splitlines()[0]
        for name in ("train.csv", "depths.csv", "sample_submission.csv", "solution.csv")
    }
    assert header == {
        "train.csv": "id,rle_mask",
        "depths.csv": "id,z",
        "sample_submission.csv": "id,rle_mask",
        "solution.csv": "id,rle_mask",
    }
    sample_ids = list(read_table(folder / "sample_submission.csv", ["id"])["id"])
    assert sorted(sample_ids) == sorted(path.stem for path in (folder / "test/images").glob("*.png")) != sample_ids
    assert set(read_table(folder / "solution.csv", ["id"])["id"]) == set(sample_ids)
    assert not (folder / "test/masks").exists()


def test_files_are_of_the_real_kinds(folder: Path) -> None:
    table = read_table(folder / "train.csv", ["id", "rle_mask"])
    for name, text in zip(table["id"], table["rle_mask"]):
        image = cv2.imread(str(folder / f"train/images/{name}.png"), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(folder / f"train/masks/{name}.png"), cv2.IMREAD_UNCHANGED)
        assert image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8
        assert (image == image[:, :, :1]).all()
        assert mask.dtype == (np.uint16 if text else np.uint8)
        assert set(np.unique(mask)) <= {0, 65535}
        assert np.array_equal(mask > 0, decode(text, (SIDE, SIDE)) > 0)


def test_ids_mislead_number_parsers(folder: Path) -> None:
    everything = set(read_table(folder / "depths.csv", ["id"])["id"])
    assert set(TRAPS) < everything and len(everything) == 80
    assert all(len(name) == 10 for name in everything)
    assert np.isinf(float(TRAPS[0])) and TRAPS[2].isdecimal() and TRAPS[2].startswith("00")
    misread = pd.read_csv(io.StringIO("\n".join(["id", *TRAPS])))["id"]
    assert misread.dtype == float and np.isinf(misread).sum() == 2


def test_same_seed_same_bytes(folder: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", train=60, test=20, seed=0)
    generate(tmp_path / "other", train=60, test=20, seed=1)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert names == sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    assert all((folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)
    assert (folder / "train.csv").read_bytes() != (tmp_path / "other/train.csv").read_bytes()
    assert list(tmp_path.glob(".*")) == []


def test_depths_tell_as_much_as_the_real_ones() -> None:
    rng = np.random.default_rng(0)
    salt = rng.random(4000) < 1 - EMPTY
    depths = np.array([_depth(bool(some), rng) for some in salt])
    assert depths.min() >= 50 and depths.max() <= 959
    assert depths.mean() == pytest.approx(506.7, abs=20)
    fifths = np.searchsorted(np.quantile(depths, [0.2, 0.4, 0.6, 0.8]), depths)
    shares = [salt[fifths == fifth].mean() for fifth in range(5)]
    assert shares == pytest.approx([0.39, 0.69, 0.70, 0.69, 0.57], abs=0.06)


def test_coverage_classes_are_those_of_the_real_set() -> None:
    areas, black = areas_of(4000, np.random.default_rng(0))
    classes = np.bincount(np.ceil(10 * areas / SIDE**2).astype(int), minlength=11) / 4000
    assert np.abs(classes - REAL_CLASSES).max() < 0.004
    assert (areas == 0).mean() == pytest.approx(0.3905, abs=0.001)
    assert black.mean() == pytest.approx(0.02, abs=0.001) and not areas[black].any()
    full = areas[areas > 0]
    for pixels, real in ((5, 29), (10, 45), (20, 70), (50, 113), (100, 168), (200, 257)):
        assert (full <= pixels).sum() == pytest.approx(real, abs=12)
    assert full.max() < SIDE**2


def test_masks_have_the_real_traits() -> None:
    rng = np.random.default_rng(5)
    areas, _ = areas_of(2000, rng)
    masks = [draw_mask(rng, int(area)) for area in areas]
    salt = [mask for mask in masks if mask.any()]
    equal_rows = [
        int((mask[::-1] == mask[-1]).all(axis=1).cumprod().sum()) for mask in salt if 0 < mask[-1].sum() < SIDE
    ]
    assert 0.035 < equal_rows.count(SIDE) / len(salt) < 0.058  # real: .046
    assert 0.003 < sum(50 <= rows < SIDE for rows in equal_rows) / len(salt) < 0.018  # real: .009
    tiny = [salt_mask(np.random.default_rng(seed), 15) for seed in range(50)]
    border = [mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any() for mask in tiny]
    assert np.mean(border) > 0.9  # real: .957
    one_piece = np.mean([label(mask, np.ones((3, 3)))[1] == 1 for mask in salt])
    assert 0.87 < one_piece < 0.99  # real: .92
    assert 0.06 < np.mean([mask[-1].all() for mask in masks]) < 0.12  # real: .089
    assert 0.04 < np.mean([mask[0].all() for mask in masks]) < 0.10  # real: .070
    assert 0.23 < np.mean([mask.mean() for mask in masks]) < 0.27  # real: .248
    assert 30 < np.median([len(encode(mask).split()) / 2 for mask in salt]) < 50  # real: 40


def test_grey_levels_are_those_of_the_real_set(many: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    shown = np.stack([image for image in many[0] if image.any()]) / 255
    assert shown.mean() == pytest.approx(0.4816, abs=0.02)
    assert shown.std() == pytest.approx(0.1478, abs=0.02)
    assert shown.mean(axis=(1, 2)).std() == pytest.approx(0.092, abs=0.015)
    assert np.mean([not image.any() for image in many[0]]) == pytest.approx(0.02, abs=0.001)


def test_layers_are_coherent_along_x_and_salt_is_not() -> None:
    rng = np.random.default_rng(0)

    def ratio(field: np.ndarray) -> float:
        return float(np.square(np.diff(field, axis=1)).mean() / np.square(np.diff(field, axis=0)).mean())

    assert np.median([ratio(sediment(rng)) for _ in range(20)]) < 0.5
    assert np.median([ratio(chaos(rng)) for _ in range(20)]) == pytest.approx(1, abs=0.1)


def test_ricker_is_zero_mean_and_of_unit_energy() -> None:
    wave = ricker(9.0)
    assert abs(wave.sum()) < 1e-3 and wave @ wave == pytest.approx(1)
    assert wave.argmax() == 16 and np.allclose(wave, wave[::-1])


def test_no_grey_level_solves_it(many: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    images, masks = many
    metric = METRICS["precision"]()
    empty = all_empty(masks, metric)
    best, _ = best_grey_threshold([image[:, :, None] for image in images], masks, metric)
    assert empty == pytest.approx(0.3905, abs=0.01)
    assert empty - 1e-6 <= best < empty + 0.05


def test_no_linear_patch_filter_solves_it(many: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    """A logistic regression on 5×5 patches stays 0.15 below what the demo must reach (all-empty + 0.20)."""
    images, masks = many
    rng = np.random.default_rng(0)

    def patches(image: np.ndarray) -> np.ndarray:
        padded = np.pad(image.astype(np.float32) / 255, 2, mode="reflect")
        return np.lib.stride_tricks.sliding_window_view(padded, (5, 5)).reshape(-1, 25)

    x, y = [], []
    for image, mask in zip(images[:200], masks[:200]):
        chosen = rng.integers(0, SIDE**2, 100)
        x.append(patches(image)[chosen])
        y.append(mask.ravel()[chosen])
    model = LogisticRegression(max_iter=300).fit(np.concatenate(x), np.concatenate(y))
    codes = [
        (65535 * model.predict_proba(patches(image))[:, 1]).astype(np.uint16).reshape(SIDE, SIDE)
        for image in images[200:300]
    ]
    scores = [score([each >= code for each in codes], masks[200:300]).mean() for code in range(1000, 65535, 1000)]
    assert max(scores) < all_empty(masks[200:300], METRICS["precision"]()) + 0.05


def test_data_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "train.csv").write_text("precious")
    with pytest.raises(SegfoldError, match="not empty"):
        generate(tmp_path / "real", train=4, test=2)
    assert [(path.name, path.read_text()) for path in (tmp_path / "real").iterdir()] == [("train.csv", "precious")]
    assert [path.name for path in tmp_path.iterdir()] == ["real"]
