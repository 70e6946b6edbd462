"""The class for what is none of a competition's: which tasks get it, what of a network's planes is predicted."""

from pathlib import Path

import pytest
import torch

from segfold.competition import Competition
from segfold.config import check_experiment
from segfold.ensemble.members import Entry
from segfold.errors import SegfoldError
from segfold.inference.networks import build_network
from segfold.models import Output
from segfold.runs.folder import RunFolder
from segfold.settings import Experiment
from segfold.soup import _differences
from segfold.tasks import Binary, Multiclass, Multilabel, Task
from test_validation import TINY


def test_only_exclusive_classes_without_a_background_get_one_more() -> None:
    streets = Multiclass(("sky", "road", "car"))
    more = streets.with_other()
    assert more == Multiclass(("sky", "road", "car", "other"), background=3)
    assert more.with_other() is more and streets.classes == ("sky", "road", "car")
    for task in (Binary(("salt",)), Multilabel(("a", "b")), Multiclass(("none", "cat"), background=0)):
        assert task.with_other() is task


def test_a_class_of_that_name_stays_what_it_is() -> None:
    classes = Multiclass(("cat", "other")).with_other().classes
    assert classes[:2] == ("cat", "other") and len(set(classes)) == 3


def test_no_number_is_left_for_it() -> None:
    with pytest.raises(SegfoldError, match="255 classes and no background"):
        Multiclass([str(number) for number in range(255)]).with_other()


def test_planes_beyond_the_classes_go_from_logits_and_pixel_heads() -> None:
    logits, levels, image = torch.randn(2, 4, 5, 6), torch.randn(2, 3, 4, 5, 6), torch.randn(2, 1)
    kept = Output(logits, {"levels": levels, "nonempty": logits + 1, "image": image}).of_classes(3)
    assert torch.equal(kept.logits, logits[:, :3])
    assert torch.equal(kept.heads["levels"], levels[:, :, :3])
    assert torch.equal(kept.heads["nonempty"], logits[:, :3] + 1)
    assert kept.heads["image"] is image


def experiment(*boxes: object, epochs: int = 1) -> Experiment:
    stages = {
        f"s{number}": {"epochs": epochs, "loss": {"mask": {"bce": 1}}, "boxes": each}
        for number, each in enumerate(boxes)
    }
    model = {"name": "unet_original", "depth": 2, "width": 4}
    return check_experiment({"competition": "x", "input": {"size": 64}, "model": model, "stages": stages}, "here")


@pytest.mark.parametrize(
    ("task", "planes"), [(Multiclass(("a", "b")), 3), (Multiclass(("a", "b"), 0), 2), (Multilabel(("a", "b")), 2)]
)
def test_a_network_knows_it_where_a_stage_trains_on_objects(task: Task, planes: int) -> None:
    def classes(*boxes: object, epochs: int = 1) -> int:
        network = build_network(experiment(*boxes, epochs=epochs), 3, task, fresh=False).eval()
        return int(network(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).logits.shape[1])

    assert classes(None) == classes({"of": "proposals"}) == 2
    # A stage that is left out keeps its plane, so that a run can start from one that had it.
    assert classes({}, None) == classes({"of": "proposals"}, {"of": "objects"}) == classes({}, epochs=0) == planes


def test_networks_with_and_without_it_are_not_averaged() -> None:
    streets = TINY.model_copy(update={"task_name": "multiclass", "classes": ("a", "b")})

    def entry(*boxes: object, competition: Competition = streets) -> Entry:
        return Entry(RunFolder(Path("nowhere")), experiment(*boxes), competition, {}, "one")

    said = ["whether a stage trains on objects"]
    assert _differences(entry({}), entry(None)) == said == _differences(entry(None), entry({"of": "objects"}, None))
    assert _differences(entry({}), entry({}, None)) == []
    assert _differences(entry({}, competition=TINY), entry(None, competition=TINY)) == []
