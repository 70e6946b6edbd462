"""configs/zoo: every file is a whole experiment that differs from the others in its model or its loss alone."""

from pathlib import Path

import pytest
import torch

from segfold.config import differing_keys, dump_yaml, load_experiment
from segfold.models import build_model

ZOO = Path(__file__).parents[1] / "configs" / "zoo"
PATHS = sorted(ZOO.glob("*.yaml"))
files = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@files
def test_it_is_written_back_and_shares_all_but_model_and_loss(path: Path, tmp_path: Path) -> None:
    experiment = load_experiment(path)
    (tmp_path / "again.yaml").write_text(dump_yaml(experiment))
    assert load_experiment(tmp_path / "again.yaml") == experiment
    differing = differing_keys(load_experiment(ZOO / "base.yaml"), experiment)
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
