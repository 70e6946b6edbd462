"""What a network cannot be trained in is refused before the first step, whichever stage asks for it."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from segfold.errors import SegfoldError
from segfold.models import MODELS
from segfold.settings.views import sizing_of
from segfold.training import checks as objective
from segfold.training.plan import FoldJob
from segfold.training.processes import Group
from small_project import EXPERIMENT, fold_job, make_project, train
from test_comparison_models import HEADED, SMALL

MODEL_LINE = re.search(r"^model: .*$", EXPERIMENT, re.MULTILINE)[0]  # type: ignore[index]
NARROW = {**SMALL, "unet": {"encoder": "test_resnet", "weights": "none", "decoder_channels": 8}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("refused"))


def with_model(home: Path, name: str, *overrides: str, **settings: Any) -> FoldJob:
    """A job whose model is another; YAML reads Python's words for these values."""
    model = str({"name": name, **NARROW.get(name, {}), **settings}).replace("(", "[").replace(")", "]")
    (home / "configs" / "small.yaml").write_text(EXPERIMENT.replace(MODEL_LINE, f"model: {model}"))
    job: FoldJob = fold_job(home, *overrides, run=name)
    return job


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        (
            "unet",
            "stages.lovasz.loss.heads.levels=0.1",
            r"stage lovasz: .*no head levels; set model\.heads\.levels=true, or stages\.lovasz\.loss\.heads\.levels=0",
        ),
        (
            "unet",
            "stages.lovasz.loss.heads.nonempty=0.5",
            r"stage lovasz: .*no head nonempty; set model\.heads\.nonempty",
        ),
        ("frrn", "stages.lovasz.loss.heads.image=0.1", r"stage lovasz: .*no head image; set model\.heads\.image=true"),
        ("linknet", "stages.lovasz.loss.heads.levels=0.1", "stage lovasz: .*linknet can have none, unet can"),
        ("unet", "stages.lovasz.size=50", "stage lovasz: .*50×50.* multiples of 32; .*the stage's size"),
        ("fc_densenet", "stages.lovasz.size=2", "stage lovasz: .*2×2.*at least 4"),
        ("unet", "stages.lovasz.optimizer={timm: {opt: lambb}}", "stage lovasz: .*did you mean lamb"),
        (
            "unet",
            "stages.lovasz.optimizer={timm: {opt: lamb, options: {betas: 0.9}}}",
            "stage lovasz: timm optimizer lamb cannot be made: cannot unpack",
        ),
        ("frrn", "stages.lovasz.freeze_encoder=1", "stage lovasz: freeze_encoder: FRRN has no encoder"),
    ],
)
def test_a_later_stage_is_refused_before_the_first_has_begun(home: Path, name: str, override: str, said: str) -> None:
    job = with_model(home, name, override, "input.fit=resize")  # the images themselves fit any size
    with pytest.raises(SegfoldError, match=said) as caught:
        train(job)
    assert "\n" not in str(caught.value)
    assert not job.folder.last.exists() and not job.folder.metrics.exists()


def test_batch_norms_of_single_images_are_refused(home: Path) -> None:
    job = with_model(home, "unet", centre="psp")
    network = job.network()
    objective.check_network(network, job, Group(0, 2))
    with pytest.raises(SegfoldError, match="batch norms of unet cannot learn from 1 image"):
        objective.check_network(network, job, Group(0, 4))
    objective.check_network(network, job, Group(0, 4), synchronises=True)
    # A stage of no epochs asks for nothing.
    job = with_model(home, "unet", "stages.lovasz.epochs=0", "stages.lovasz.size=50")
    objective.check_network(job.network(), job, Group())


@pytest.mark.parametrize("name", MODELS)
def test_shapes_are_those_of_real_images_and_the_network_is_left_alone(home: Path, name: str) -> None:
    heads = {"levels": True, "nonempty": True, "image": True} if name == "unet" else {"image": name in HEADED}
    job = with_model(home, name, **({"heads": heads} if name in ("unet", *HEADED) else {}))
    network = job.network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    drawn = torch.get_rng_state()
    found = objective._outputs(network, job, job.stages[0], 4, sizing_of(job.experiment, job.stages[0].settings))
    assert torch.equal(torch.get_rng_state(), drawn)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
    channels = int(job.images.images.shapes[0, 2])
    real = network(torch.zeros(4, channels, 32, 32, dtype=torch.uint8))
    assert (
        found is not None
        and found.logits.shape == real.logits.shape
        and set(found.heads) == {key for key, on in heads.items() if on}
    )
    assert {key: value.shape for key, value in found.heads.items()} == {k: v.shape for k, v in real.heads.items()}
