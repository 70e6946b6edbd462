"""Options of an experiment, seen where they act: what the network is fed, which images are drawn, and what is built."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from segfold.machine import resolve
from segfold.models.blocks import ChannelSpatialGate
from segfold.observer import SILENT
from segfold.stopping import Stopping
from segfold.training.batches import Batches
from segfold.training.learner import Learner
from segfold.training.loop import Loop
from small_project import fold_job, make_project

STILL = ("augment.hflip=null", "input.random_offset=false")
"""No chance: an image lies in the middle, two rows and three columns of border around it."""
TOP, LEFT, HEIGHT, WIDTH = 2, 3, 28, 26

Fed = dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Of each row that an epoch draws: image H×W×C, mask H×W, and the valid area H×W."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


def batches(job: Any, stage: int = 0, epoch: int = 0) -> list[dict[str, torch.Tensor]]:
    made = Batches(job, job.stages[stage], resolve(job.experiment.machine))
    try:
        return list(made.of(epoch, 0))
    finally:
        made.close()


def fed(job: Any, stage: int = 0, epoch: int = 0) -> Fed:
    found = {}
    for batch in batches(job, stage, epoch):
        for image, mask, valid, row in zip(batch["image"], batch["mask"], batch["valid"], batch["row"].tolist()):
            found[row] = image.permute(1, 2, 0).numpy(), mask[0].numpy(), valid[0].numpy()
    return found


@pytest.fixture(scope="module")
def still(project: Path) -> Fed:
    found = fed(fold_job(project, *STILL))
    inside = np.zeros((32, 32), bool)
    inside[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH] = True
    assert len(found) == 8 and all(np.array_equal(valid, inside) for _, _, valid in found.values())
    return found


def pairs(one: Fed, other: Fed) -> list[tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]]:
    assert one.keys() == other.keys()
    return [(one[row], other[row]) for row in one]


TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "augment.hflip={p: 1}": lambda pixels: pixels[:, ::-1],
    "augment.vflip={p: 1}": lambda pixels: pixels[::-1],
}


@pytest.mark.parametrize("override", TURNS)
def test_flips_turn_image_and_mask(project: Path, still: Fed, override: str) -> None:
    for found, plain in pairs(fed(fold_job(project, *STILL, override)), still):
        for ours, before in zip(found, plain):
            np.testing.assert_array_equal(ours, TURNS[override](before))


def test_a_stage_has_augmentations_of_its_own(project: Path, still: Fed) -> None:
    job = fold_job(project, *STILL, "stages.warm.augment={vflip: {p: 1}}")
    for found, plain in pairs(fed(job), still):
        np.testing.assert_array_equal(found[0], plain[0][::-1])
    plain_images = {row: job.images.images[row] for row in fed(job, stage=1)}
    for row, (image, _, _) in fed(job, stage=1).items():
        np.testing.assert_array_equal(image[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH], plain_images[row])


MOVES = ["affine", "shear", "elastic={p: 1, limit: 0.3}", "grid_distortion", "crop"]
PAINTS = ["brightness={p: 1, limit: 0.3}", "contrast={p: 1, limit: 0.3}", "gamma", "invert", "blur", "noise"]


@pytest.mark.parametrize("setting", MOVES)
def test_what_moves_pixels_moves_masks_with_them(project: Path, still: Fed, setting: str) -> None:
    """Discs are 100 grey levels brighter than what is around them."""
    name, _, rest = setting.partition("=")
    found = pairs(fed(fold_job(project, *STILL, f"augment.{name}={rest or '{p: 1}'}")), still)
    assert sum(not np.array_equal(ours[0], plain[0]) for ours, plain in found) >= len(found) - 1
    moved = [ours for ours, plain in found if not np.array_equal(ours[1] > 0, plain[1] > 0)]
    assert moved
    for image, mask, valid in moved:
        disc = (mask > 0) & valid
        if 10 < disc.sum() < valid.sum() - 10:
            assert image[disc].mean() > image[valid & ~disc].mean() + 50


@pytest.mark.parametrize("setting", PAINTS)
def test_what_changes_values_leaves_masks_alone(project: Path, still: Fed, setting: str) -> None:
    name, _, rest = setting.partition("=")
    found = pairs(fed(fold_job(project, *STILL, f"augment.{name}={rest or '{p: 1}'}")), still)
    for ours, plain in found:
        np.testing.assert_array_equal(ours[1], plain[1])
        inside = plain[2]
        assert not np.array_equal(ours[0], plain[0])
        if name == "invert":
            np.testing.assert_array_equal(ours[0][inside], 255 - plain[0][inside])
        if name == "blur":
            assert ours[0][inside].std() < plain[0][inside].std()


def test_cutout_paints_a_part_and_leaves_the_rest(project: Path, still: Fed) -> None:
    for ours, plain in pairs(fed(fold_job(project, *STILL, "augment.cutout={p: 1}")), still):
        changed = (ours[0] != plain[0]).any(axis=2) & plain[2]
        assert 0 < changed.sum() < plain[2].sum()


def test_mixup_blends_and_cutmix_pastes(project: Path, still: Fed) -> None:
    blended = fed(fold_job(project, *STILL, "augment.mixup={p: 1}"))
    assert any(((mask > 0.01) & (mask < 0.99)).any() for _, mask, _ in blended.values())
    pasted, job = 0, fold_job(project, *STILL, "augment.cutmix={p: 1}")
    border = (TOP, TOP, LEFT, LEFT, cv2.BORDER_REFLECT_101)
    all_images = {row: cv2.copyMakeBorder(job.images.images[row], *border) for row in job.training_rows}
    for row, (image, mask, _) in fed(job).items():
        assert set(np.unique(mask)) <= {0, 1}
        other = (image != still[row][0]).any(axis=2)
        assert not other.any() or any(np.array_equal(image[other], each[other]) for each in all_images.values())
        pasted += bool(other.any())
    assert pasted >= 4


def test_borders(project: Path, still: Fed) -> None:
    for name, mode in (
        ("edge", cv2.BORDER_REPLICATE),
        ("zero", cv2.BORDER_CONSTANT),
        ("reflect", cv2.BORDER_REFLECT_101),
    ):
        job = fold_job(project, *STILL, f"input.border={name}")
        for row, (image, _, _) in fed(job).items():
            expected = cv2.copyMakeBorder(job.images.images[row], TOP, TOP, LEFT, LEFT, mode)
            np.testing.assert_array_equal(image, expected)


def test_sizes(project: Path) -> None:
    job = fold_job(project, *STILL, "input.fit=resize")
    for row, (image, _, valid) in fed(job).items():
        assert valid.all()
        np.testing.assert_array_equal(image, cv2.resize(job.images.images[row], (32, 32)))
    job = fold_job(project, *STILL, "input.resize=24")
    for row, (image, _, valid) in fed(job).items():
        assert valid.sum() == 24 * 24 and valid[4:28, 4:28].all()
        np.testing.assert_array_equal(image[4:28, 4:28], cv2.resize(job.images.images[row], (24, 24)))
    job = fold_job(project, *STILL, "stages.warm.size=64")
    assert {image.shape for image, _, _ in fed(job).values()} == {(64, 64, 3)}
    assert {image.shape for image, _, _ in fed(job, stage=1).values()} == {(32, 32, 3)}


def test_random_offsets_move_the_image_as_a_whole(project: Path) -> None:
    job = fold_job(project, "augment.hflip=null")
    places = set()
    for epoch in range(4):
        for row, (image, _, valid) in fed(job, epoch=epoch).items():
            top, left = int(valid.any(1).argmax()), int(valid.any(0).argmax())
            places.add((top, left))
            np.testing.assert_array_equal(image[top : top + HEIGHT, left : left + WIDTH], job.images.images[row])
    assert len(places) > 8 and {top for top, _ in places} == set(range(5))


def test_planes_beside_the_image(project: Path, still: Fed) -> None:
    for ours, plain in pairs(fed(fold_job(project, *STILL, "input.channels=[image, y, image_y]")), still):
        assert ours[0].shape == (32, 32, 5)
        np.testing.assert_allclose(ours[0][..., :3], plain[0])
        ramp = np.linspace(0, 255, HEIGHT)
        np.testing.assert_allclose(ours[0][TOP : TOP + HEIGHT, LEFT, 3], ramp, atol=1e-3)
        grey = plain[0][TOP : TOP + HEIGHT, LEFT].mean(axis=1)
        np.testing.assert_allclose(ours[0][TOP : TOP + HEIGHT, LEFT, 4], grey * ramp / 255, atol=1e-2)


def drawn(job: Any, stage: int = 0) -> list[list[int]]:
    return [batch["row"].tolist() for batch in batches(job, stage)]


def test_batches_have_the_size_that_is_asked_for(project: Path) -> None:
    assert [len(batch) for batch in drawn(fold_job(project))] == [4, 4]
    assert [len(batch) for batch in drawn(fold_job(project, "batch_size=5"))] == [5, 5]
    own = fold_job(project, "stages.warm.batch_size=5")
    assert [len(batch) for batch in drawn(own)] == [5, 5] and [len(batch) for batch in drawn(own, 1)] == [4, 4]


def test_an_epoch_draws_as_it_is_told(project: Path) -> None:
    def rows(*overrides: str, stage: int = 0) -> np.ndarray:
        return np.concatenate(drawn(fold_job(project, *overrides), stage))

    job = fold_job(project)
    areas = job.images.coverage
    plain = rows()
    assert len(set(plain)) == 8 and set(plain) <= set(job.training_rows)
    assert list(rows("seed=1")) != list(plain)
    assert len(rows("sample.images=24")) == 24
    many = "sample.images=4000"
    assert (areas[rows(many, "sample.nonempty=0.9")] > 0).mean() == pytest.approx(0.9, abs=0.02)
    filled = areas[job.training_rows][areas[job.training_rows] > 0]
    expected = (filled**2).sum() / filled.sum()  # each in proportion to its area
    seen = areas[rows(many, "sample.area=1")]
    assert seen[seen > 0].mean() == pytest.approx(expected, rel=0.05) and expected > 1.2 * filled.mean()
    own = ("stages.warm.sample={nonempty: 0.2, images: 4000}",)
    assert (areas[rows(*own)] > 0).mean() == pytest.approx(0.2, abs=0.02)
    assert len(rows(*own, stage=1)) == 8


def learner(project: Path, *overrides: str) -> Learner:
    job = fold_job(project, *overrides)
    torch.manual_seed(job.seed)
    return Learner(job, job.network(), resolve(job.experiment.machine))


def test_the_optimizer_is_the_one_that_is_named(project: Path) -> None:
    def of(*overrides: str) -> torch.optim.Optimizer:
        return learner(project, *overrides).optimizer

    assert isinstance(of(), torch.optim.AdamW) and of().param_groups[0]["weight_decay"] == 1e-4
    assert of("optimizer.adamw.weight_decay=0.5").param_groups[0]["weight_decay"] == 0.5
    assert isinstance(of("optimizer={sgd: {}}"), torch.optim.SGD)
    assert isinstance(of("optimizer={rmsprop: {}}"), torch.optim.RMSprop)
    assert type(of("optimizer={timm: {opt: lamb}}")).__name__ == "Lamb"
    own = learner(project, "stages.warm.optimizer={sgd: {}}")
    assert isinstance(own.optimizer, torch.optim.SGD)
    own.next_stage()
    assert isinstance(own.optimizer, torch.optim.AdamW)
    rates = {group["lr_factor"] for group in of("bias_lr=2").param_groups}
    assert rates == {1.0, 2.0}
    apart = of("decay_norms=false", "encoder_lr=0.1").param_groups
    assert {(group["lr_factor"], group["weight_decay"]) for group in apart} == {
        (factor, decay) for factor in (0.1, 1.0) for decay in (0.0, 1e-4)
    }


SHARES = {
    "constant": [1, 1, 1],
    "cosine": [1, 0.5, 0],
    "poly": [1, 0.5**0.9, 0],
    "{cosine: {cycles: 2}}": [1, 1, 0],
    "{onecycle: {warmup: 0.5}}": [0.04, 1, 0],
}
"""Of a stage's rate at its beginning, in its middle and at its end, by hand."""


@pytest.mark.parametrize("schedule", SHARES)
def test_rates_follow_the_schedule_of_the_stage(project: Path, schedule: str) -> None:
    plan = fold_job(project, "stages.warm.lr=0.5", f"stages.warm.schedule={schedule}").stages[0]
    assert [plan.schedule(done) for done in (0, 0.5, 1)] == pytest.approx(SHARES[schedule], abs=1e-3)
    rising = fold_job(project, "stages.warm.schedule=constant", "stages.warm.warmup=1").stages[0]
    assert [rising.schedule(done) for done in (0, 0.25, 0.5, 1)] == pytest.approx([0, 0.5, 1, 1])


def test_a_batch_goes_through_in_as_many_parts_as_are_asked_for(project: Path) -> None:
    made = learner(project, "accumulate=2", "stages.warm.freeze_encoder=1")
    sizes: list[int] = []
    made.network.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    Loop(made, SILENT, Stopping()).steps(made.plan, batches(made.job))  # type: ignore[arg-type]
    assert sizes == [2, 2, 2, 2]
    # In its first epoch the encoder stays as it was, its statistics too.
    torch.manual_seed(made.job.seed)
    fresh, now = made.job.network().state_dict(), made.network.state_dict()
    still = [name for name in fresh if torch.equal(fresh[name], now[name])]
    assert {name for name in fresh if name.startswith("encoder.")} <= set(still) and len(still) < len(fresh)


def test_the_model_is_built_as_it_is_told(project: Path) -> None:
    def modules(*overrides: str) -> list[nn.Module]:
        return list(fold_job(project, *overrides).network().modules())

    assert not any(isinstance(module, ChannelSpatialGate) for module in modules())
    assert sum(isinstance(module, ChannelSpatialGate) for module in modules("model.attention=scse")) == 5
    for share in (0.1, 0.0):
        found = [module.p for module in modules(f"model.dropout={share}") if isinstance(module, nn.Dropout2d)]
        assert found and set(found) == {share}
