"""Training by boxes: what an epoch draws, resumed as uninterrupted, the plane for what is no class, refusals in one line."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segfold.config import check_experiment, dump, load_experiment
from segfold.data.boxes import intersections_over_unions
from segfold.data.geometry.window import Window
from segfold.data.proposals import Proposals
from segfold.errors import SegfoldError
from segfold.observer import Observer
from segfold.runs.folder import RunFolder
from segfold.store import open_store
from segfold.tasks import VOID, Multiclass
from segfold.training.batches import Batches
from segfold.training.checks import check_stages
from segfold.training.learner import Learner
from segfold.training.plan import FoldJob
from segfold.training.processes import ALONE, Group
from small_images import image_set, store
from small_project import fold_job, lines, make_project, same, train, weights
from test_training import StopAfter, untimed
from test_validation import TINY
from test_workers import RUNTIME

OBJECTS = "stages.warm.boxes={resize: 40, least: 0.02}"
GROUPS = ((0, 1), (0, 2), (1, 2))
PROPOSALS = "stages.lovasz.boxes={of: proposals, overlap: 0.3, whole: 0.25}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


def test_resumed_equals_uninterrupted_and_workers_change_nothing(project: Path) -> None:
    chosen = (OBJECTS, PROPOSALS, "sample.images=8", "augment={affine: {}, cutmix: {p: 0.5}}")
    plain = fold_job(project, *chosen, run="plain")
    done = train(plain)
    assert done is not None and done["training_images"] == 10
    stopped = fold_job(project, *chosen, run="stopped")
    while train(stopped, StopAfter(2)) is None:
        pass
    shared = fold_job(project, *chosen, "machine.workers=2", run="shared")
    train(shared)
    assert same(weights(stopped), weights(plain)) and same(weights(shared), weights(plain))
    assert untimed(stopped) == untimed(plain)
    assert [line["samples"] for line in lines(plain)] == [8, 16, 24]


def drawn(job: FoldJob, stage: int) -> torch.Tensor:
    batches = Batches(job, job.stages[stage], RUNTIME)
    found = torch.cat([batch["row"] for batch in batches.of(0, 0)])
    batches.close()
    return found


def test_an_epoch_draws_each_box_once(project: Path) -> None:
    """A disc an image, in two thirds of the images."""
    job = fold_job(project, OBJECTS, "batch_size=7")
    filled = job.training_rows[job.images.coverage[job.training_rows] > 0.02]
    plan = job.stages[0]
    assert plan.rows.tolist() == filled.tolist() and plan.images == len(filled) == 7
    assert (plan.pixels, plan.boxes is not None, job.stages[1].boxes) == (32 * 32, True, None)
    assert sorted(drawn(job, 0).tolist()) == filled.tolist()
    assert len(job.stages[1].rows) == 10  # the other stage draws whole images
    assert fold_job(project, OBJECTS, "sample.images=12").stages[0].images == 12
    assert fold_job(project, OBJECTS, "stages.warm.epochs=0", "stages.warm.warmup=0").stages[0].boxes is None


def test_whole_images_come_in_their_share_by_the_settings_of_images(project: Path) -> None:
    whole = "stages.warm.boxes={whole: 0.5}"
    job = fold_job(project, whole, "sample={images: 600, nonempty: 0.0}", "batch_size=2")
    plan = job.stages[0]
    assert plan.boxes is not None and len(plan.rows) == 7 + 10 and plan.images == 600
    rows = drawn(job, 0)
    empty = torch.from_numpy(job.images.coverage)[rows] == 0
    assert 0.42 < empty.double().mean() < 0.58
    assert fold_job(project, whole, "stages.warm.loss.unpadded=false").stages[0].padding_counts is False


def test_proposals_that_overlap_an_object_are_what_a_stage_draws(project: Path) -> None:
    said: list[str] = []

    class Told(Observer):
        def predicting(self, title: str, done: int, total: int) -> None:
            said.append(f"{title} {done}/{total}")

    job = fold_job(project, PROPOSALS)
    job.boxes.prepare(Told())
    assert said == [f"proposals {n}/10" for n in range(1, 11)]
    boxes = job.stages[1].boxes
    assert boxes is not None and not boxes.alone
    kept = Proposals(job.images, job.experiment.proposals.search)
    wanted = []
    for row in np.unique(boxes.found.rows).tolist():
        proposed = kept.of(row)[0]
        shares = intersections_over_unions(proposed, boxes.found.boxes[list(boxes.found.of(row))])
        wanted += [(row, *box) for box in proposed[shares.max(axis=1) >= 0.3].tolist()]
    found = np.c_[boxes.boxed.rows, boxes.boxed.boxes].tolist()
    assert found == [list(each) for each in wanted] and len(wanted) > 6
    assert job.stages[1].rows.tolist() == [*boxes.boxed.rows.tolist(), *job.training_rows.tolist()]


def test_proposals_are_searched_as_the_settings_say(project: Path) -> None:
    boxes = fold_job(project, PROPOSALS, "proposals.count=3").stages[1].boxes
    more = fold_job(project, PROPOSALS).stages[1].boxes
    assert boxes is not None and more is not None
    most, others = (np.unique(each.boxed.rows, return_counts=True)[1].max() for each in (boxes, more))
    assert most <= 3 < others


def test_a_box_is_scaled_and_seen_in_part_as_its_stage_says(project: Path) -> None:
    whole = fold_job(project, "stages.warm.boxes={least: 0.02, scale: 2}").stages[0].boxes
    part = fold_job(project, "stages.warm.boxes={least: 0.02, scale: 2, resize: [64, 128]}").stages[0].boxes
    assert whole is not None and part is not None
    for position, sides in enumerate(whole.boxed.boxes.tolist()):
        box = Window(*sides).scaled(2.0)
        assert whole.window(position, random.Random(0)) == box
        assert part.window(position, random.Random(0)).shape == (round(box.height / 2), round(box.width / 4))


def test_what_was_found_is_told_before_the_first_step(project: Path) -> None:
    said: list[str] = []
    check_stages(fold_job(project, OBJECTS), ALONE, said.append)
    assert said == ["stage warm: 7 objects, in 7 of 10 training images"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("stages.warm.boxes={}", "stages.warm.crop=16"), "found crop and boxes"),
        (("stages.warm.boxes={resize: 31}",), r"stages\.warm\.boxes\.resize of 31×31 is less than the 32×32"),
        (("stages.warm.boxes={resize: [40, 16]}",), r"boxes\.resize of 40×16 is less than the 32×32"),
        (
            ("stages.warm.boxes={}", "input.crop=16", "sample.focus=0.5"),
            r"sample\.focus is 0\.5, but stage warm trains on boxes; set stages\.warm\.sample\.focus=0",
        ),
        (("stages.warm.boxes={of: masks}",), r"stages\.warm\.boxes\.of"),
    ],
)
def test_settings_that_do_not_go_together(project: Path, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(SegfoldError, match=message) as error:
        load_experiment(project / "configs/small.yaml", overrides)
    assert "\n" not in str(error.value)


def test_boxes_in_the_place_of_crops(project: Path) -> None:
    """Where whole images are cut into crops, a stage may have boxes instead; its settings survive writing."""
    job = fold_job(project, "input={crop: 16, size: 32}", OBJECTS)
    assert job.stages[0].boxes is not None and len(job.stages[1].rows) == 40
    assert check_experiment(dump(job.experiment), "here") == job.experiment


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ("{least: 1}", r"^stage warm: none of 10 training images has an object, .* lower stages\.warm\.boxes\.least"),
        ("{of: proposals, overlap: 1}", r"^stage warm: no proposal overlaps one of 7 objects by 1; lower stages\.warm"),
    ],
)
def test_nothing_to_draw_is_refused_before_the_first_step(project: Path, boxes: str, message: str) -> None:
    job = fold_job(project, f"stages.warm.boxes={boxes}", run="nothing")
    with pytest.raises(SegfoldError, match=message) as error:
        train(job)
    assert "\n" not in str(error.value) and not job.folder.last.exists()


STREETS = TINY.model_copy(update={"task_name": "multiclass", "classes": ("a", "b", "c"), "scoring": {"miou": {}}})


def without_background(folder: Path, **stage: Any) -> FoldJob:
    """Images of three classes that cover every pixel but for some that do not count."""
    assert STREETS.task == Multiclass(("a", "b", "c"))
    rng = np.random.default_rng(0)
    masks = [np.kron(rng.integers(0, 3, (3, 4)), np.ones((12, 12))).astype(np.uint8) for _ in range(8)]
    for mask in masks:
        mask[:2] = VOID
    pictures = [np.repeat(60 * mask[:, :, None], 3, axis=2) for mask in masks]
    made = image_set(8, (36, 48), task=STREETS.task)
    images = replace(made, images=store(pictures), masks=store(masks, masks=True), areas=None)
    both = {"epochs": 1, "loss": {"mask": {"ce": 1}}}
    stages = {"objects": {**both, "boxes": {"balance": 1}, **stage}, "whole": {**both, "boxes": {"of": "proposals"}}}
    values = {
        "competition": "tiny",
        "input": {"size": 32, "fit": "resize"},
        "model": {"name": "unet", "encoder": "test_resnet", "weights": "none", "decoder_channels": 8},
        "batch_size": 4,
        "augment": {"hflip": {}},
        "stages": stages,
        "machine": {"device": "cpu", "precision": "fp32", "compile": False, "threads": 1, "workers": 0},
    }
    experiment = check_experiment(values, "here")
    return FoldJob(experiment, STREETS, images, np.arange(8) % 2, 0, RunFolder(folder).fold(0))


def test_what_is_no_class_has_a_plane_that_only_the_stage_of_objects_sees(tmp_path: Path) -> None:
    """The gradient says who sees it: in the stage of objects it is not 0, in the other no tensor of the plane is moved."""
    job = without_background(tmp_path)
    assert [len(plan.task.classes) for plan in job.stages] == [4, 3]
    torch.manual_seed(0)
    learner = Learner(job, job.network(), RUNTIME)
    [last] = [each for each in learner.network.modules() if getattr(each, "out_channels", 0) == 4]
    for stage in range(2):
        learner.position.stage = stage
        learner.ready()
        batches = Batches(job, job.stages[stage], RUNTIME)
        seen = next(batches.of(stage, 0))
        batches.close()
        held = set(seen["mask"][seen["valid"]].tolist())
        assert held <= ({0, 1, 2, 3} if stage == 0 else {0, 1, 2}) and (3 in held) == (stage == 0)
        output, target = learner.outputs(seen, 0), learner.target(seen)
        assert output.logits.shape[1] == 4 - stage
        learner.optimizer.zero_grad()
        job.stages[stage].loss(output.logits, output.heads, *target)[0].backward()
        of_plane = last.weight.grad[3]  # type: ignore[union-attr, index]
        assert bool((of_plane != 0).any()) == (stage == 0)
        assert bool((last.weight.grad[:3] != 0).any())  # type: ignore[union-attr, index]


def test_rare_classes_are_drawn_as_often_as_others(tmp_path: Path) -> None:
    job = without_background(tmp_path)
    plan = job.stages[0]
    assert plan.boxes is not None
    counts = np.bincount(plan.boxes.classes, weights=plan.chances)
    np.testing.assert_allclose(counts / counts.sum(), 1 / 3)
    said: list[str] = []
    check_stages(job, ALONE, said.append)
    counted = np.bincount(plan.boxes.classes).tolist()
    assert said[0].endswith(f"a {counted[0]}, b {counted[1]}, c {counted[2]}")


def test_what_is_no_class_is_never_predicted(tmp_path: Path) -> None:
    job = without_background(tmp_path)
    done = train(job)
    assert done is not None and set(done["classes"]) == {"a", "b", "c"}
    [table] = job.folder.path.glob("pred/*/oof.csv")
    found = open_store(table.parent, "oof", None)
    assert found is not None and found.codes(0).shape == (3, 36, 48)
    np.testing.assert_allclose(found.codes(0).sum(axis=0, dtype=np.int64) / 65535, 1, atol=1e-4)


def test_two_processes_share_what_one_draws(project: Path) -> None:
    job = fold_job(project, OBJECTS, PROPOSALS, "augment={affine: {}, mixup: {}}")
    for plan in job.stages:
        whole, *shares = (
            [*batches.of(3, 0)] for batches in (Batches(job, plan, RUNTIME, Group(*each)) for each in GROUPS)
        )
        assert len(whole) == len(shares[0]) > 0
        for batch, *parts in zip(whole, *shares, strict=True):
            for name, values in batch.items():
                together = torch.stack([torch.as_tensor(part[name]) for part in parts], dim=1).flatten(0, 1)
                assert torch.equal(torch.as_tensor(values), together)
