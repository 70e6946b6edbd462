"""configs/zoo: the files of TGS differ in their model or loss alone; beside them are published recipes, as they were published."""

from pathlib import Path

import pytest
import torch

from segfold.config import differing_keys, dump, dump_yaml, load_experiment
from segfold.models import build_model
from segfold.optim import build_optimizer, build_schedule
from segfold.settings import Experiment
from segfold.training.plan import share_done

ZOO = Path(__file__).parents[1] / "configs" / "zoo"
ALL = {path: load_experiment(path) for path in sorted(ZOO.glob("*.yaml"))}
BASE = ALL[ZOO / "base.yaml"]
PATHS = [path for path, experiment in ALL.items() if experiment.competition == BASE.competition]
files = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@files
def test_it_is_written_back_and_shares_all_but_model_and_loss(path: Path, tmp_path: Path) -> None:
    experiment = load_experiment(path)
    (tmp_path / "again.yaml").write_text(dump_yaml(experiment))
    assert load_experiment(tmp_path / "again.yaml") == experiment
    differing = differing_keys(BASE, experiment)
    assert all(key.startswith("model.") or ".loss.mask." in key or ".loss.heads" in key for key in differing)
    assert bool(differing) == (path.stem != "base")


@files
def test_its_network_and_losses_can_be_built(path: Path) -> None:
    experiment = load_experiment(path)
    settings = experiment.model.model_dump()
    if "weights" in settings:
        settings["weights"] = "none"
    with torch.device("meta"):
        model = build_model(settings.pop("name"), 3, 1, **settings)
        out = model.train()(torch.empty(2, 3, *experiment.input.shape))
    assert out.logits.shape == (2, 1, *experiment.input.shape)
    for stage in experiment.stages.values():
        assert stage.loss.build().linear


def test_no_two_are_the_same_and_every_system_of_the_comparison_has_one() -> None:
    experiments = [load_experiment(path) for path in PATHS]
    compared = {"unet", "linknet", "dlinknet", "gcn", "fcn_dilated", "fc_densenet", "frrn", "unet_s5_d16"}
    assert {experiment.model.name for experiment in experiments} == compared
    for i, first in enumerate(experiments):
        assert all(differing_keys(first, other) for other in experiments[:i])


def deconvnet(name: str, tmp_path: Path) -> Experiment:
    """A recipe of DeconvNet, which is the same again when it is written out."""
    experiment = ALL[ZOO / f"{name}.yaml"]
    (tmp_path / "again.yaml").write_text(dump_yaml(experiment))
    assert load_experiment(tmp_path / "again.yaml") == experiment
    assert experiment.competition == "pascal-voc-2012" and experiment.input.shape == (224, 224)
    settings = {**experiment.model.model_dump(), "weights": "none"}
    with torch.device("meta"):
        model = build_model(settings.pop("name"), 3, 21, **settings)
    assert sum(parameter.numel() for parameter in model.parameters()) == 251_805_653
    assert (experiment.optimizer.name, experiment.ema) == ("sgd", None)
    assert {key: experiment.optimizer.settings[key] for key in ("momentum", "weight_decay")} == {
        "momentum": 0.9,
        "weight_decay": 5e-4,
    }
    return experiment


def test_deconvnets_two_stages_are_the_published_ones(tmp_path: Path) -> None:
    experiment = deconvnet("deconvnet", tmp_path)
    assert experiment.sample.images is not None
    steps = experiment.sample.images // experiment.batch_size
    falls = {}
    for name, stage in experiment.stages.items():
        rate = build_schedule(stage.schedule.name, **stage.schedule.settings)
        total = stage.epochs * steps
        rates = [stage.lr * rate(share_done(at // steps, stage.epochs, steps, at % steps)) for at in range(total)]
        falls[name] = (total, [at for at in range(1, total) if rates[at] < rates[at - 1]], rates[0], rates[-1])
        assert stage.boxes is not None
        assert (stage.boxes.of, stage.boxes.scale, stage.boxes.resize, stage.boxes.balance) == (name, 1.2, 250, 1)
    assert falls == {
        "objects": (20_000, [9_000, 18_000], 0.01, pytest.approx(1e-4)),
        "proposals": (40_000, [10_000, 20_000, 30_000], 0.01, pytest.approx(1e-5)),
    }
    assert (experiment.batch_size, experiment.accumulate) == (64, 8)
    boxes = experiment.predict.boxes
    assert boxes is not None and (boxes.count, boxes.scale, boxes.least_side) == (50, 1.2, 0)
    assert (experiment.predict.values, experiment.predict.merge) == ("logits", "max")
    assert experiment.proposals.count == 2000
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    optimizer = build_optimizer(
        experiment.optimizer.name,
        network,
        bias_lr=experiment.bias_lr,
        decay_norms=experiment.decay_norms,
        **experiment.optimizer.settings,
    )
    groups = {id(p): (g["lr_factor"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert [groups[id(p)] for p in network.parameters()] == [(1, 5e-4), (2, 0), (1, 0), (1, 0)]


def test_deconvnet_of_a_single_stage_is_the_reimplementations(tmp_path: Path) -> None:
    experiment = deconvnet("deconvnet-single", tmp_path)
    (stage,) = experiment.stages.values()
    assert (experiment.batch_size, stage.lr, stage.schedule.name, stage.boxes) == (8, 0.01, "constant", None)
    assert experiment.predict.boxes is None
    # The smallest part is that of 224² in 250².
    assert dump(experiment)["augment"]["crop"]["scale"] == pytest.approx((224 / 250) ** 2, abs=0.01)
