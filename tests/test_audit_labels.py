"""Suspicious labels, against the definition pixel by pixel."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segfold.audit.labels import SMALL, find_suspicious
from segfold.data.images import ImageSet
from segfold.ensemble.blend import OofMember
from segfold.errors import SegfoldError
from segfold.store.reader import open_store
from segfold.store.writer import StoreWriter
from segfold.tasks import Multiclass, Multilabel, Task
from small_images import image_set, store

SHAPE = (9, 7)


def member(folder: Path, name: str, codes: dict[str, np.ndarray]) -> OofMember:
    """A run whose two folds have predicted every other image."""
    stores = {}
    for fold in (0, 1):
        inside = dict(list(codes.items())[fold::2])
        where = folder / name / str(fold)
        with StoreWriter(where, "oof", list(inside), [each.shape for each in inside.values()], {}) as writer:
            for image, each in inside.items():
                writer.append(image, each / 65535)
            writer.finish()
        opened = open_store(where, "oof", None)
        assert opened is not None
        stores[fold] = opened
    return OofMember(name, stores)


def labelled(masks: list[np.ndarray], task: Task | None = None) -> ImageSet:
    images = image_set(len(masks), SHAPE)
    return replace(images, masks=store(masks, masks=True), areas=None, task=images.task if task is None else task)


def brute_force(truth: int, valid: bool, codes: list[int]) -> tuple[float, bool, bool]:
    """Of a pixel and a class: how much of it every run contradicts, whether it does, and whether it is in the union."""
    if not valid:
        return 0.0, False, False
    probabilities = [code / 65535 for code in codes]
    inside = bool(truth) or any(p >= 0.5 for p in probabilities)
    if truth and all(p < 0.5 for p in probabilities):
        return min(1 - 2 * p for p in probabilities), True, inside
    if not truth and all(p >= 0.5 for p in probabilities):
        return min(2 * p - 1 for p in probabilities), True, inside
    return 0.0, False, inside


@pytest.mark.parametrize("kind", ["binary", "multiclass", "background", "multilabel"])
@pytest.mark.parametrize("runs", [1, 3])
def test_every_pixel(tmp_path: Path, kind: str, runs: int) -> None:
    rng = np.random.default_rng(0)
    task: Task | None = {
        "multiclass": Multiclass(("a", "b", "c")),
        "background": Multiclass(("a", "b", "c"), 1),
        "multilabel": Multilabel(("a", "b")),
    }.get(kind)
    high = {"binary": 2, "multilabel": 4}.get(kind, 3)
    masks = [rng.integers(0, high, SHAPE).astype(np.uint8) for _ in range(5)]
    if "multi" in kind or kind == "background":
        masks[1][:2] = 255 if kind != "multilabel" else 0
    images = labelled(masks, task)
    channels = len(images.task.classes)
    shared = {str(name): rng.integers(0, 65536, (channels, *SHAPE)) for name in images.ids}
    each = [
        {name: np.clip(codes + rng.integers(-9000, 9000, codes.shape), 0, 65535) for name, codes in shared.items()}
        for _ in range(runs)
    ]
    found = find_suspicious([member(tmp_path, f"run{number}", codes) for number, codes in enumerate(each)], images)
    by_key = {(one.image, one.label): one for one in found}
    assert [one.suspicion for one in found] == sorted((one.suspicion for one in found), reverse=True)
    for row, name in enumerate(images.ids):
        valid = images.task.valid(masks[row])
        for label in images.task.rows:
            plane = images.task.planes(masks[row])[label]
            pixels = [
                brute_force(plane[at], valid is None or valid[at], [codes[name][(label, *at)] for codes in each])
                for at in np.ndindex(SHAPE)
            ]
            one = by_key[name, label]
            union = sum(inside for _, _, inside in pixels)
            assert one.suspicion == pytest.approx(sum(p[0] for p in pixels) / (union + SMALL * 63), abs=1e-9)
            assert one.contradicted == sum(p[1] for p in pixels)


def test_a_wrong_label_is_found_and_one_that_runs_dispute_is_not(tmp_path: Path) -> None:
    truth = [np.zeros(SHAPE, np.uint8) for _ in range(6)]
    for mask in truth[:4]:
        mask[2:6, 2:6] = 1
    said = {f"{row:03}": np.where(mask, 62000, 3000)[None] for row, mask in enumerate(truth)}
    wrong = [mask.copy() for mask in truth]
    wrong[1][:] = 0
    wrong[4][1:4, 1:4] = 1
    wrong[2] = np.roll(truth[2], 3, axis=1)
    disputing = dict(said)
    wrong[5][3:5, 3:5] = 1
    disputing["005"] = np.where(wrong[5], 62000, 3000)[None]
    runs = [member(tmp_path, "a", said), member(tmp_path, "b", disputing)]
    found = find_suspicious(runs, labelled(wrong))
    assert [(one.image, one.kind) for one in found[:3]] == [
        ("004", "only in the mask"),
        ("001", "only in the runs"),
        ("002", "elsewhere"),
    ]
    assert found[0].suspicion > 0.85 and all(one.suspicion == 0 for one in found[3:])
    assert (found[1].mask, found[1].all_runs, found[1].any_run) == (0, 16, 16)
    assert len(find_suspicious(runs[:1], labelled(wrong))) == 6
    assert find_suspicious(runs[:1], labelled(wrong))[1].image == "005"


def test_empty_masks_that_runs_agree_on_are_no_labels_to_list(tmp_path: Path) -> None:
    said = {f"{row:03}": np.full((1, *SHAPE), 100) for row in range(3)}
    assert find_suspicious([member(tmp_path, "a", said)], labelled([np.zeros(SHAPE, np.uint8)] * 3)) == []


def test_predictions_of_other_sizes_are_one_line(tmp_path: Path) -> None:
    said = {f"{row:03}": np.full((1, 5, 5), 100) for row in range(3)}
    right = {f"{row:03}": np.full((1, *SHAPE), 100) for row in range(3)}
    images = labelled([np.ones(SHAPE, np.uint8)] * 3)
    with pytest.raises(SegfoldError, match=r"image 00\d: predicted \(1, 5, 5\), its mask is \(9, 7\) of 1 classes"):
        find_suspicious([member(tmp_path, "a", said)], images)
    with pytest.raises(SegfoldError, match=r"run b predicts \(1, 5, 5\), another run \(1, 9, 7\)"):
        find_suspicious([member(tmp_path, "c", right), member(tmp_path, "b", said)], images)
