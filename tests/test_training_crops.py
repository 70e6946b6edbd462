"""Training by crops: epochs that cover the images, resumed as uninterrupted, and what does not go together in one line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from segfold.config import dump, load_experiment
from segfold.errors import SegfoldError
from segfold.models import MODELS, Output
from segfold.training.batches import Batches
from segfold.training.checks import check_network, check_stages
from segfold.training.processes import ALONE
from small_project import fold_job, lines, make_project, same, train, weights
from test_training import StopAfter, untimed
from test_workers import RUNTIME

CROPS = ("input={crop: 16, size: 32}", "sample={focus: 0.5, images: 8}", "augment.affine={}", "predict.batch_size=2")

WINDOWS = "input={crop: 16, size: 16}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


def experiment(project: Path, *overrides: str) -> Any:
    return load_experiment(project / "configs/small.yaml", overrides)


def test_resumed_equals_uninterrupted_and_workers_change_nothing(project: Path) -> None:
    plain = fold_job(project, *CROPS, run="plain")
    done = train(plain)
    assert done is not None and done["training_images"] == 10
    stopped = fold_job(project, *CROPS, run="stopped")
    while train(stopped, StopAfter(2)) is None:
        pass
    shared = fold_job(project, *CROPS, "machine.workers=2", run="shared")
    train(shared)
    assert same(weights(stopped), weights(plain)) and same(weights(shared), weights(plain))
    assert untimed(stopped) == untimed(plain)
    assert [line["samples"] for line in lines(plain)] == [8, 16, 24]


def test_an_epoch_draws_as_many_crops_as_cover_the_images(project: Path) -> None:
    """Images of 28×26 need 2·2 crops of 16."""
    job = fold_job(project, WINDOWS, "stages.lovasz.crop=[28, 13]", "stages.lovasz.sample={nonempty: 0.5}")
    warm, lovasz = job.stages
    assert (len(warm.rows), warm.images, warm.steps, warm.pixels) == (40, 40, 10, 16 * 16)
    assert (len(lovasz.rows), lovasz.steps, lovasz.pixels) == (20, 5, 28 * 13)
    assert job.total_images == 2 * 40 + 20
    batches = Batches(job, warm, RUNTIME)
    drawn = torch.cat([batch["row"] for batch in batches.of(0, 0)]).tolist()
    batches.close()
    assert sorted(drawn) == sorted(np.repeat(job.training_rows, 4))
    filled = job.images.coverage[lovasz.rows] > 0
    shares = lovasz.chances / lovasz.chances.sum()
    assert shares[filled].sum() == pytest.approx(0.5)
    assert fold_job(project, WINDOWS, "sample.images=12").stages[0].images == 12


def test_focus_makes_crops_hold_the_class(project: Path) -> None:
    shares = []
    for focus in (0, 1):
        job = fold_job(project, "input={crop: 6}", f"sample.focus={focus}", "augment.hflip=null")
        batches = Batches(job, job.stages[0], RUNTIME)
        found = [(batch["row"], batch["mask"].flatten(1).any(dim=1)) for batch in batches.of(0, 0)]
        batches.close()
        rows, holds = (torch.cat(part).numpy() for part in zip(*found, strict=True))
        filled = job.images.coverage[rows] > 0
        assert not holds[~filled].any()
        shares.append(holds[filled].mean())
    assert shares[1] == 1 and shares[0] < 0.7


def test_size_follows_the_crop_and_survives_writing(project: Path) -> None:
    def loaded(text: str, *overrides: str) -> Any:
        path = project / "configs" / "sized.yaml"
        values = (project / "configs/small.yaml").read_text().replace("input: {size: 32, fit: pad}", f"input: {text}")
        path.write_text(values)
        return load_experiment(path, overrides)

    for text, overrides, size, crop in (
        ("{crop: 48}", (), 48, 48),
        ("{crop: [48, 32]}", ("input.size=16",), 16, (48, 32)),
        ("{crop: 48}", ("input.crop=64",), 64, 64),
        ("{}", (), 128, None),
        ("{size: 32, crop: 64}", ("input.crop=96",), 32, 96),
        ("{size: 32, crop: 64}", ("input.crop=null",), 32, None),
    ):
        found = loaded(text, *overrides)
        assert (found.input.size, found.input.crop) == (size, crop)
        assert type(found).model_validate(dump(found)) == found
    staged = loaded("{crop: 64}", "stages.warm.crop=32", "stages.lovasz.size=48")
    assert (staged.stages["warm"].size, staged.stages["lovasz"].crop) == (32, None)
    assert "crop" not in dump(loaded("{}"))["input"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("sample.focus=0.5",), r"sample\.focus is 0\.5, but stage warm trains on whole images; set input\.crop"),
        (("input.crop=16", "input.resize=20"), r"crop and resize"),
        (("input.crop=0",), r"input\.crop"),
    ],
)
def test_settings_that_do_not_go_together(project: Path, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(SegfoldError, match=message) as error:
        experiment(project, *overrides)
    assert "\n" not in str(error.value)


def test_a_class_that_is_not_there_is_refused_before_the_first_step(project: Path) -> None:
    job = fold_job(project, "input={crop: 16}", "sample={focus: 1, focus_on: [disk]}", run="unknown")
    with pytest.raises(SegfoldError, match=r"^sample\.focus_on names 'disk'; expected classes of disc$"):
        train(job)
    assert not job.folder.last.exists()


def test_smaller_images_are_told_once(project: Path) -> None:
    said: list[str] = []
    check_stages(fold_job(project, "input={crop: 27}"), ALONE, said.append)
    assert said == [
        "10 of 10 training images are smaller than a crop of 27×27, the smallest 28×26: they are padded (input.border "
        "reflect), which does not count"
    ]
    check_stages(fold_job(project, "input={crop: [28, 26]}"), ALONE, said.append)
    assert len(said) == 1


class Valid(nn.Module):
    """A network of valid convolutions; ``said`` is what it says of its margin."""

    said = 2

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(in_channels, 4, 3), nn.Conv2d(4, classes, 3)

    @staticmethod
    def margin(**settings: Mapping[str, Any]) -> int:
        return Valid.said

    def forward(self, pixels: torch.Tensor) -> Output:
        return Output(self.second(self.first(pixels.float())))


def test_a_network_gives_as_much_as_its_margin_says(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "unet", Valid)
    job = fold_job(project, WINDOWS)
    assert [len(plan.rows) for plan in job.stages] == [90, 90]  # 12 of 16 pixels are given
    network = Valid(3, 1)
    check_network(network, job, ALONE)
    monkeypatch.setattr(Valid, "said", 3)
    with pytest.raises(
        SegfoldError, match=r"model unet gives logits of 12×12 for an input of 16×16 .*: expected 10×10"
    ):
        check_network(network, fold_job(project, WINDOWS), ALONE)
