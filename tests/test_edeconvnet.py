"""EDeconvNet, a recipe over two runs of different networks, against numpy: the mean of their maps, and the product."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from competition_sets_more import pascal_voc_2012
from made_run import Painter, made_run
from segfold.cli import main
from segfold.competition import load_competition
from segfold.ensemble import OofMember, blend, combination
from segfold.importing.kaggle import import_data
from segfold.store.reader import open_store
from segfold.tasks import make_task
from segfold.yaml_file import read_yaml
from small_project import EXPERIMENT

CLASSES = 21
TASK = make_task("multiclass", [f"class{number}" for number in range(CLASSES)], 0)
Combine = Callable[[list[np.ndarray]], np.ndarray]
ALIKE = (
    "input.fit=resize",
    "stages.warm.loss={mask: {ce: 1}}",
    "stages.lovasz.loss={mask: {ce: 1}}",
)
DECONVNET = (
    "model={name: deconvnet, weights: none, width: 2, fc_width: 4, fc_kernel: 1}",
    "stages.warm.boxes={of: objects, resize: 36, balance: 1}",
    "stages.lovasz.boxes={of: proposals, resize: 36, balance: 1}",
    *ALIKE,
    "predict={boxes: {count: 50}, values: logits, merge: max}",
)
FCN = (
    "model={name: fcn, weights: none, width: 2, fc_width: 8, pad: 82}",
    *ALIKE,
)


def unsure(seed: int) -> Painter:
    """Maps with sum 1 that are sure of most pixels, and give a third another class of the image, but less firmly."""

    def paint(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
        rng = np.random.default_rng([seed, *name.encode()])
        mask = rng.integers(0, CLASSES, (32, 40)) if mask is None else np.where(mask == 255, 0, mask)
        wrong = rng.random(mask.shape) < 1 / 3
        seen = np.where(wrong, rng.permutation(mask.ravel()).reshape(mask.shape), mask)
        scores = rng.normal(0, 1, (CLASSES, *mask.shape))
        scores += np.where(wrong, 4, 6) * (seen == np.arange(CLASSES)[:, None, None])
        powers = np.exp(scores)
        return np.asarray(powers / powers.sum(axis=0), np.float32)

    return paint


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VOC with runs of both networks that nobody has trained."""
    home = tmp_path_factory.mktemp("edeconvnet")
    (home / "voc").mkdir()
    pascal_voc_2012(home / "voc", np.random.default_rng(0))
    (home / "configs").mkdir()
    (home / "configs/small.yaml").write_text(EXPERIMENT.replace("configs/competitions/small.yaml", "pascal-voc-2012"))
    import_data(load_competition("pascal-voc-2012"), home / "voc", home)
    for number, (name, settings) in enumerate((("deconvnet", DECONVNET), ("fcn", FCN))):
        made_run(home, name, *settings, folds=[0], paint=unsure(number))
    return home


def stored(home: Path, run: str, split: str) -> tuple[list[str], np.ndarray]:
    """Ids and N×C×H×W codes of a run."""
    (folder,) = (home / "runs" / run / "fold0/pred").iterdir()
    store = open_store(folder, split, None)
    assert store is not None
    return list(store.ids), np.array([store.codes(row) for row in range(len(store.ids))])


def mean_map(maps: list[np.ndarray]) -> np.ndarray:
    return np.asarray(sum(maps) / len(maps))


def product_map(maps: list[np.ndarray]) -> np.ndarray:
    product = np.prod([np.maximum(each, 0.25 / 65535) for each in maps], axis=0)
    return np.asarray(product / product.sum(axis=-3, keepdims=True))


def miou(found: np.ndarray, truth: np.ndarray) -> float:
    """Of the pixels of all images together that count, over the classes that are there."""
    pairs = np.bincount((21 * truth + found)[truth != 255], minlength=21 * 21).reshape(21, 21)
    union = pairs.sum(axis=0) + pairs.sum(axis=1) - pairs.diagonal()
    return float((pairs.diagonal()[union > 0] / union[union > 0]).mean())


@pytest.mark.parametrize(("combine", "by_hand"), [("mean", mean_map), ("product", product_map)])
def test_a_recipe_over_both_runs_is_what_numpy_makes_of_their_maps(
    home: Path, monkeypatch: pytest.MonkeyPatch, combine: str, by_hand: Combine
) -> None:
    monkeypatch.chdir(home)
    runs = ["runs/deconvnet", "runs/fcn"]
    asked = ["submit", "--ensemble", *runs, "--weights", "1", "1", "--combine", combine, "--steps", "--name", combine]
    assert main(asked) == 0
    recipe = read_yaml(Path(f"submissions/{combine}.recipe.yaml"))
    assert recipe["combine"] == combine and set(recipe["members"]) == {"deconvnet", "fcn"}

    ids, codes = stored(home, "deconvnet", "test")
    assert stored(home, "fcn", "test")[0] == ids
    maps = by_hand([codes / 65535, stored(home, "fcn", "test")[1] / 65535])
    with zipfile.ZipFile(f"submissions/{combine}.zip") as zipped:
        for name, each in zip(ids, maps, strict=True):
            with zipped.open(f"{name}.png") as file:
                np.testing.assert_array_equal(np.asarray(Image.open(file)), each.argmax(axis=0))

    ids, codes = stored(home, "deconvnet", "oof")
    maps = by_hand([codes / 65535, stored(home, "fcn", "oof")[1] / 65535])
    truth = np.array([Image.open(home / f"voc/SegmentationClass/{name}.png") for name in ids])
    wanted = miou(maps.argmax(axis=1), truth.astype(int))
    assert recipe["scores"]["plain"]["mean"] == pytest.approx(wanted, abs=1e-6)
    assert wanted > miou(codes.argmax(axis=1), truth.astype(int)) + 0.05


def members(home: Path) -> list[OofMember]:
    found = []
    for run in ("deconvnet", "fcn"):
        (folder,) = (home / "runs" / run / "fold0/pred").iterdir()
        found.append(OofMember(run, {0: open_store(folder, "oof", None)}))
    return found


@pytest.mark.parametrize(("combine", "by_hand"), [("mean", mean_map), ("product", product_map)])
def test_maps_of_both_runs_add_up_to_one(home: Path, combine: str, by_hand: Combine) -> None:
    ids, codes = stored(home, "deconvnet", "oof")
    exact = by_hand([codes / 65535, stored(home, "fcn", "oof")[1] / 65535])
    for (_, found, _), wanted in zip(blend(members(home), None, ids, combination(combine, [], [], TASK)), exact):
        assert np.abs(found - 65535 * wanted).max() < 1.51
        assert np.abs(found.sum(axis=0, dtype=int) - 65535).max() <= CLASSES


def test_the_mean_of_equal_maps_is_that_map_and_their_product_surer(home: Path) -> None:
    twice = members(home)[:1] * 2
    ids, codes = stored(home, "deconvnet", "oof")
    mean, product = (blend(twice, None, ids, combination(name, [], [], TASK)) for name in ("mean", "product"))
    for one, other, wanted in zip(mean, product, codes, strict=True):
        np.testing.assert_array_equal(one.codes, wanted)
        assert (other.codes.max(axis=0) >= wanted.max(axis=0)).all()
        assert np.array_equal(other.codes.argmax(axis=0), wanted.argmax(axis=0))
