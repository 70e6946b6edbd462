"""U-Net's border weights of a competition's objects: the paper's numbers, heads, classes, and a training run that uses them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from loss_cases import value_and_gradient
from segfold.losses import BCE, CrossEntropy, HeadTerm, StageLoss, WeightedBCE
from segfold.losses.classes import Classes
from segfold.losses.gaps import object_gaps
from segfold.training.checks import check_stages
from segfold.training.gaps import mixed_instead, wants_gaps
from segfold.training.processes import ALONE
from small_project import fold_job, lines, same, train, weights
from test_training import StopAfter
from tiny_competition import write_image

PAPER = {2: 9.2312, 5: 6.0653, 10: 1.3534, 20: 0.003355}
"""10 exp(-(d1 + d2)² / 50)."""


def gaps_of(*objects: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack([object_gaps(each) for each in objects])[:, None])


def halves(gap: int = 0) -> np.ndarray:
    """Two objects of 6×5 pixels with so many columns between them, in 10×24."""
    objects = np.zeros((10, 24), np.uint16)
    objects[2:8, 3:8], objects[2:8, 8 + gap : 13 + gap] = 1, 2
    return objects


def pixel_weights(objects: np.ndarray, **settings: Any) -> Tensor:
    """H×W, told from the gradients: at logits of 0 each is half its pixel's share of all weights, and objects weigh 1."""
    target = torch.from_numpy((objects > 0).astype(np.float32))[None, None]
    loss = WeightedBCE(border=10.0, **settings)
    z = torch.zeros_like(target, requires_grad=True)
    loss.value(loss.sums(z, target, gaps=gaps_of(objects))).backward()
    assert z.grad is not None
    slopes = z.grad[0, 0].abs()
    return slopes / slopes[target[0, 0] > 0].mean()


@pytest.mark.parametrize("apart", PAPER)
def test_the_weights_of_the_paper_between_two_pixels(apart: int) -> None:
    """Between objects so many pixels apart, d1 + d2 is the same all along the line."""
    objects = np.zeros((1, apart + 1), np.uint16)
    objects[0, 0], objects[0, -1] = 4, 9
    found = pixel_weights(objects)[0]
    torch.testing.assert_close(found[1:-1] - 1, torch.full((apart - 1,), PAPER[apart]), atol=5e-4, rtol=0)
    assert found[0] == found[-1] == 1


def test_a_single_object_has_no_border() -> None:
    objects = np.minimum(halves(3), 1)
    assert (pixel_weights(objects) == 1).all() and (pixel_weights(halves(3)) > 1).sum() == 240 - 60


def test_touching_objects_of_one_part_have_a_border() -> None:
    """Above the seam, at d1 = 1 and d2 = √2; the parts of the mask are one, and have none."""
    objects = halves()
    target = torch.from_numpy((objects > 0).astype(np.float32))[None, None]
    z = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    parts, plain = (value_and_gradient(loss, z, target)[0] for loss in (WeightedBCE(border=10.0), BCE()))
    torch.testing.assert_close(parts, plain)
    found = pixel_weights(objects)
    expected = 1 + 10 * np.exp(-((1 + np.sqrt(2)) ** 2) / 50)
    torch.testing.assert_close(found[1, 7:9], torch.full((2,), expected, dtype=torch.float32))
    assert found.max() == found[1, 7]


def test_pixels_of_the_mask_have_no_border_where_objects_say_otherwise() -> None:
    """As at the edges of a mask that was interpolated; nor have those that do not count."""
    objects = halves(4)
    gaps = gaps_of(objects)
    target = torch.from_numpy((objects > 0).astype(np.float32))[None, None]
    wider = target.clone()
    wider[..., 8] = 1
    valid = torch.ones_like(target, dtype=torch.bool)
    valid[..., 20:] = False
    loss = WeightedBCE(border=10.0)
    z = torch.zeros_like(target, requires_grad=True)
    loss.value(loss.sums(z, wider, valid, gaps=gaps)).backward()
    assert z.grad is not None
    slopes = z.grad[0, 0].abs()
    assert torch.equal(slopes[:, 8], slopes[2, 3].expand(10)) and (slopes[:, 20:] == 0).all()
    assert (slopes[2:8, 9:12] > slopes[2, 3]).all()


def test_two_exclusive_classes_are_the_one_of_binary_masks() -> None:
    objects = halves(3)
    target = torch.from_numpy((objects > 0).astype(np.int64))[None, None]
    z = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    gaps = gaps_of(objects)
    exclusive = WeightedBCE(border=10.0).among(Classes(("none", "cell"), True, 0))
    ours = exclusive.value(exclusive.sums(torch.cat([torch.zeros_like(z), z], 1), target, gaps=gaps))
    binary = WeightedBCE(border=10.0)
    torch.testing.assert_close(ours, binary.value(binary.sums(z, target.float(), gaps=gaps)))
    plain = CrossEntropy().among(exclusive.classes)
    assert abs(ours - plain.value(plain.sums(torch.cat([torch.zeros_like(z), z], 1), target))) > 1e-3


def test_borders_between_objects_of_two_classes_count_in_both() -> None:
    """Each class's own objects are one, and by themselves have no border."""
    objects = halves(3)
    target = torch.from_numpy(np.stack([objects == 1, objects == 2]).astype(np.float32))[None]
    loss = WeightedBCE(border=10.0)
    z = torch.zeros_like(target, requires_grad=True)
    loss.value(loss.sums(z, target, gaps=gaps_of(objects))).backward()
    assert z.grad is not None
    slopes = z.grad[0].abs()
    bordered = slopes > slopes[0, 2, 3]
    np.testing.assert_array_equal(bordered, np.stack([objects == 0] * 2))


def test_gaps_of_another_size_are_refused() -> None:
    z = torch.zeros(1, 1, 10, 24)
    with pytest.raises(ValueError, match="gaps"):
        WeightedBCE(border=1.0).sums(z, z, gaps=torch.zeros(1, 1, 24, 10))


def test_all_heads_are_given_the_gaps() -> None:
    objects = halves()
    target = torch.from_numpy((objects > 0).astype(np.float32))[None, None]
    z = torch.randn(1, 2, 1, 10, 24, generator=torch.Generator().manual_seed(0))
    loss = StageLoss({"weighted": (1.0, {"border": 10.0}), "dice": (1.0, {})}, {"levels": HeadTerm(1.0, "all")})
    assert loss.wants_gaps and not StageLoss({"weighted": (1.0, {}), "bce": (1.0, {})}).wants_gaps
    gaps = gaps_of(objects)
    terms = [loss(z[:, i], {"levels": z[:, i : i + 1]}, target, None, gaps)[1] for i in (0, 1)]
    for found in terms:
        torch.testing.assert_close(found["levels"], found["weighted"] + found["dice"])
    _, without = loss(z[:, 0], {"levels": z[:, :1]}, target, None, torch.full_like(gaps, torch.inf))
    assert abs(terms[0]["weighted"] - without["weighted"]) > 1e-3


def test_a_ramp_that_ends_with_borders_has_their_samples_from_its_beginning() -> None:
    loss = StageLoss({"bce": (1.0, {}), "weighted": (0.0, {"border": 1.0})}, ramp={"weighted": 1.0})
    assert loss.wants_gaps and loss.at(0.0).wants_gaps and list(loss.at(0.0).mask) == ["bce"]


COMPETITION = """\
name: cells
title: Cells
slug: cells
layout: kaggle-rle
task: binary
classes: [cell]
metric: object_precision
train_images: train/{id}/images/{id}.png
train_masks: train/{id}/masks/{*}.png
test_images: test/{id}/images/{id}.png
sample_submission: sample.csv
rows: instance
"""

EXPERIMENT = """\
competition: configs/competitions/cells.yaml
folds: {k: 2}
input: {size: 32, fit: pad, random_offset: true}
model: {name: unet, encoder: test_resnet, weights: none, decoder_channels: 8}
augment: {hflip: {p: 0.5}, affine: {p: 0.5}}
batch_size: 4
stages:
  only: {epochs: 2, loss: {mask: {weighted: {border: 10}}}, lr: 2.0e-3}
predict: {batch_size: 8}
machine: {device: cpu, precision: fp32, compile: false, threads: 1, workers: 0, progress: false, report: false}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen images of two cells that touch, a file each."""
    home = tmp_path_factory.mktemp("cells")
    (home / "configs" / "competitions").mkdir(parents=True)
    (home / "configs" / "competitions" / "cells.yaml").write_text(COMPETITION)
    (home / "configs" / "small.yaml").write_text(EXPERIMENT)
    rng = np.random.default_rng(0)
    for number in range(18):
        objects = np.roll(halves(), (int(rng.integers(0, 2)), int(rng.integers(-3, 9))), (0, 1))
        grey = (rng.normal(90, 20, objects.shape) + 100 * (objects > 0)).clip(0, 255).astype(np.uint8)
        folder = home / "data" / "cells" / ("train" if number < 16 else "test") / f"im{number}"
        write_image(folder / "images" / f"im{number}.png", np.repeat(grey[:, :, None], 3, axis=2))
        for each in (1, 2) if number < 16 else ():
            write_image(folder / "masks" / f"{each}.png", (objects == each).astype(np.uint8) * 255)
    (home / "data" / "cells" / "sample.csv").write_text("id,rle_mask\nim16,1 1\nim17,1 1\n")
    return home


@pytest.fixture(scope="module")
def trained(project: Path) -> Any:
    job = fold_job(project, run="plain")
    train(job)
    return job


def test_a_run_with_objects_is_another_than_one_with_parts(project: Path, trained: Any) -> None:
    job = fold_job(project, run="parts")
    parts = replace(job, images=replace(job.images, instances=None))
    train(parts)
    assert wants_gaps(trained, trained.stages[0]) and not wants_gaps(parts, parts.stages[0])
    [ours, theirs] = [lines(each)[0]["loss"] for each in (trained, parts)]
    assert abs(ours - theirs) > 1e-4  # type: ignore[operator]
    assert not same(weights(trained), weights(parts))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_was_stopped_ends_where_an_undisturbed_one_does(project: Path, trained: Any, workers: int) -> None:
    job = fold_job(project, f"machine.workers={workers}", run=f"stopped{workers}")
    assert train(job, StopAfter(1)) is None
    while train(job, StopAfter(2)) is None:
        pass
    assert same(weights(job), weights(trained))


def test_mixed_samples_fall_back_to_the_parts_of_the_mask_and_it_is_said(project: Path) -> None:
    mixed = fold_job(project, "augment={mixup: {p: 0.5}}", run="mixed")
    plan = mixed.stages[0]
    assert not wants_gaps(mixed, plan)
    notes: list[str] = []
    check_stages(mixed, ALONE, notes.append)
    assert notes == [mixed_instead(mixed, plan)]
    assert notes[0].startswith("stage only: samples mixed by mixup have no objects of their own")
    for settings in ("stages.only.loss.mask={bce: 1}", "augment={hflip: true}"):
        other = fold_job(project, settings, run="other")
        assert mixed_instead(other, other.stages[0]) == ""
    train(mixed)
