"""The zoo's comparisons: which systems they have, and that systems differ in what they are alone."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmarks.zoo.camvid import CAMVID
from benchmarks.zoo.paired import difference, image_scores
from benchmarks.zoo.probe import floor
from benchmarks.zoo.systems import CONFIGS, Start, System
from benchmarks.zoo.table import cells
from benchmarks.zoo.tgs import ABLATIONS, DEFAULT, STAGE, TGS

from segfold.config import differing_keys, dump_yaml, load_experiment
from segfold.metrics import METRICS
from segfold.models import build_model
from segfold.settings import Experiment
from segfold.settings.views import sizing_of
from segfold.tasks.multiclass import VOID, Multiclass
from small_project import fold_job, make_project, train
from test_zoo_command import row

PRETRAINED = Start("tf_efficientnet_lite0", "some.safetensors")
RANDOM = Start()
EPOCH = 320


def experiment_of(system: System, compared=TGS) -> Experiment:  # type: ignore[no-untyped-def]
    return load_experiment(system.path, compared.settings(system, compared.size, EPOCH))


def test_every_config_of_the_competition_and_every_ablation_is_a_system() -> None:
    found = TGS.systems(RANDOM)
    assert found[0].name == DEFAULT
    paths = (CONFIGS / "zoo").glob("*.yaml")
    assert {system.config for system in found} == {
        f"zoo/{path.name}" for path in paths if load_experiment(path).competition == TGS.competition
    }
    assert sum(system.name.startswith(f"{DEFAULT}, ") for system in found) == len(ABLATIONS) + 1  # and the stem's pool
    others = {
        "gcn",
        "fcn-r50-d8",
        "unet-s5-d16",
        "unet",
        "linknet",
        "dlinknet",
        "fc-densenet56",
        "fc-densenet67",
        "fc-densenet103",
        "frrn-a",
        "frrn-b",
    }
    assert {system.name for system in found if not system.ablation} == others
    slugs = [system.slug for system in found]
    assert len(set(slugs)) == len(slugs) and all(slug.replace("-", "").isalnum() for slug in slugs)


@pytest.mark.parametrize("system", TGS.systems(RANDOM), ids=lambda system: system.slug)
def test_systems_differ_in_model_and_loss_alone(system: System) -> None:
    first = experiment_of(TGS.systems(RANDOM)[0])
    experiment = experiment_of(system)
    assert (experiment.sample.images, experiment.input.shape) == (EPOCH, (64, 64))
    assert {name: stage.epochs for name, stage in experiment.stages.items()} == {STAGE: 1, "lovasz": 0}
    differing = differing_keys(first, experiment)
    assert all(key.startswith("model.") or ".loss" in key for key in differing)
    assert bool(differing) == (system.name != DEFAULT)


def test_losses_of_the_ablations_are_the_named_ones() -> None:
    for name, wanted in (
        ("loss: BCE", {"bce"}),
        ("loss: boundary + BCE", {"bce", "boundary"}),
        ("loss: Dice", {"dice"}),
    ):
        (system,) = TGS.chosen([f"{DEFAULT}, {name}"])
        loss = experiment_of(system).stages[STAGE].loss
        assert {key for key, value in loss.mask.model_dump().items() if value is not None} == wanted


def test_systems_are_chosen_by_name() -> None:
    assert [system.name for system in TGS.chosen(["linknet", "unet--no-scSE"])] == ["linknet", "unet, no scSE"]
    assert TGS.chosen([]) == TGS.systems(RANDOM)
    with pytest.raises(ValueError, match=r"linkne.*linknet"):
        TGS.chosen(["linkne"])


@pytest.mark.parametrize(("name", "pretrained"), [("dlinknet", True), ("unet--no-scSE", True), ("frrn-a", False)])
def test_one_encoder_for_all_that_have_one(name: str, pretrained: bool) -> None:
    (system,) = TGS.chosen([name], PRETRAINED)
    model = experiment_of(system).model.model_dump()
    expected = (PRETRAINED.encoder, PRETRAINED.weights) if pretrained else (None, None)
    assert (model.get("encoder"), model.get("weights")) == expected
    assert system.pretrained is pretrained


def test_beside_pretrained_systems_the_default_stands_from_random_weights_too() -> None:
    random, pretrained = ({system.slug for system in TGS.systems(start)} for start in (RANDOM, PRETRAINED))
    assert random - pretrained == {"unet--stem-pool"}
    assert pretrained - random == {"unet--resnet34", "unet--resnet34--stem-pool", "fcn-d8"}
    for name, stem_pool in (("unet--resnet34", False), ("unet--resnet34--stem-pool", True)):
        (system,) = TGS.chosen([name], PRETRAINED)
        model = experiment_of(system).model.model_dump()
        assert (model["encoder"], model["weights"], model["stem_pool"]) == ("resnet34", "none", stem_pool)
        assert not system.pretrained
        # It sees what it can in the time, as the systems do that it is a control for.
        assert not system.ablation
    with pytest.raises(ValueError, match="unet--resnet34"):
        TGS.chosen(["unet--resnet34"])


def test_what_is_called_after_its_encoder_has_another_name_on_another_one() -> None:
    encoders = {}
    for name in ("fcn-d8", "fcn-r50-d8"):
        (system,) = TGS.chosen([name], PRETRAINED)
        encoders[name] = experiment_of(system).model.encoder, system.pretrained
    assert encoders == {"fcn-d8": (PRETRAINED.encoder, True), "fcn-r50-d8": ("resnet50c", False)}


@pytest.mark.parametrize("system", CAMVID.systems(RANDOM), ids=lambda system: system.slug)
def test_systems_of_camvid_share_one_recipe_and_fit_its_input(system: System) -> None:
    experiment = experiment_of(system, CAMVID)
    differing = differing_keys(experiment_of(CAMVID.systems(RANDOM)[0], CAMVID), experiment)
    own = ("model.", "loss.heads", "input.size")
    assert all(any(part in key for part in own) for key in differing)
    assert bool(differing) == (system.name != CAMVID.default)
    assert {name: stage.epochs for name, stage in experiment.stages.items()} == {"all": 1, "mean": 0}
    assert all(given >= asked for given, asked in zip(sizing_of(experiment).given, CAMVID.size))
    settings = {**experiment.model.model_dump(), **({"weights": "none"} if system.pretrained else {})}
    with torch.device("meta"):
        network = build_model(settings.pop("name"), 3, 11, **settings)
        out = network(torch.empty(2, 3, *experiment.input.shape))
    assert out.logits.shape == (2, 11, *sizing_of(experiment).given)


def test_a_model_that_takes_other_sizes_is_given_the_next_that_shows_as_much() -> None:
    """The original U-Net takes 188 and multiples of 16 more, of which 184 are its margins."""
    (original,) = CAMVID.chosen(["unet-original"])
    assert original.input((96, 128)) == (284, 316)
    assert original.input((4, 20)) == (188, 204)
    assert CAMVID.systems(RANDOM)[0].input((96, 128)) == (96, 128)


def test_at_full_size_images_of_camvid_are_padded_and_below_it_stretched() -> None:
    for size, fit in (((96, 128), "resize"), ((384, 480), "pad"), ((384, 448), "resize")):
        assert f"input.fit={fit}" in CAMVID.common(size, 8, 1)


def test_weights_are_found_in_a_folder_or_are_the_file_of_the_encoder_that_it_is_called_after(tmp_path: Path) -> None:
    for name in ("resnet18.safetensors", "resnet18d.safetensors", "vgg16_bn_text.safetensors", "resnet18.txt"):
        (tmp_path / name).touch()
    folder = Start(weights=str(tmp_path))
    assert folder.of("resnet18") == str(tmp_path / "resnet18.safetensors")
    assert folder.of("vgg16_bn") == str(tmp_path / "vgg16_bn_text.safetensors")
    assert folder.of("resnet34") == ""
    file = Start(weights=str(tmp_path / "vgg16_bn_text.safetensors"))
    assert file.of("vgg16_bn") == file.weights and file.of("resnet18") == ""
    assert RANDOM.of("resnet18") == ""


def test_differences_are_image_by_image() -> None:
    """1, 0 and 1 apart: the mean is 2/3, its error √(1/3) / √3."""
    found, error = difference({"a": 1.0, "b": 0.5, "c": 1.0}, {"c": 0.0, "b": 0.5, "a": 0.0})
    assert (found, error) == pytest.approx((2 / 3, 1 / 3))
    assert "+0.667 ± 0.333" in cells(row("a", against=found, against_error=error))
    assert "-0.050 ± 0.010" in cells(row("a", against=-0.05, against_error=0.01))
    with pytest.raises(ValueError, match="not the same"):
        difference({"a": 1.0}, {"b": 1.0})


@pytest.mark.parametrize("metric", ["precision", "miou", "global_dice"])
def test_what_images_say_of_a_score_has_its_mean_and_its_error(tmp_path: Path, metric: str) -> None:
    home = make_project(tmp_path)
    path = home / "configs" / "competitions" / "small.yaml"
    path.write_text(path.read_text().replace("metric: precision", f"metric: {metric}"))
    job = fold_job(home, "stages.warm.epochs=8", "stages.warm.lr=1e-2", "stages.lovasz.epochs=0", run="one")
    done = train(job)
    assert done["standard_error"] > 0
    (home / "runs" / "one" / "config.yaml").write_text(dump_yaml(job.experiment))
    said = image_scores(home, "one", 0)
    assert list(said) == done["held_out"] and len(set(said.values())) > 1
    values = np.array(list(said.values()))
    assert values.mean() == pytest.approx(done["score"], abs=1e-6)
    assert values.std(ddof=1) / len(values) ** 0.5 == pytest.approx(done["standard_error"], abs=1e-6)


def test_the_floor_is_the_score_of_one_answer_for_all(tmp_path: Path) -> None:
    job = fold_job(make_project(tmp_path))
    empty = (job.images.coverage[job.validation_rows] == 0).mean()
    assert 0 < empty < 1
    assert floor(job.images, job.validation_rows, METRICS["precision"]()) == pytest.approx(empty)


def test_of_classes_that_exclude_each_other_the_commonest_is_said() -> None:
    """Class 1 has 5 of the 7 pixels that count: an IoU of 5/7, the two others of 0."""
    masks = [np.array([[1, 1, 0], [VOID, 1, 2]], np.uint8), np.array([[1, 1]], np.uint8), np.array([[0]], np.uint8)]
    images = SimpleNamespace(task=Multiclass(["a", "b", "c"]), masks=masks, instances=None)
    rows = np.array([0, 1])
    assert floor(images, rows, METRICS["miou"]()) == pytest.approx(5 / 7 / 3)  # type: ignore[arg-type]
