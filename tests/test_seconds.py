"""What predicting an image takes: measured when it is predicted, kept beside the store, and asked of an ensemble's members."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from made_run import made_run
from segfold.ensemble import OofMember, TestMember
from segfold.ensemble.members import Predicted, read_entry
from segfold.files import read_json
from segfold.inference import stopwatch
from segfold.inference.stopwatch import Stopwatch
from segfold.inference.stored import StoredImages, store_predictions
from segfold.machine import Runtime
from segfold.models import Output
from segfold.observer import Observer
from segfold.store import Cost, MeanStore, StoreWriter, open_store
from small_project import fold_job, make_project
from store_samples import IDS, META, SHAPES, images, write

RUNTIME = Runtime(torch.device("cpu"), "fp32", False, 1, 0)
NAP = 0.03


class Sleepy(nn.Module):
    """A network that takes its time, and five times as long over its first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0

    def forward(self, pixels: Tensor) -> Output:
        time.sleep(NAP * (1 if self.batches else 5))
        self.batches += 1
        return Output(pixels[:, :1].float() / 64 - 2)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("seconds"))


def wanted(project: Path, run: str, *overrides: str) -> StoredImages:
    job = fold_job(project, "predict={batch_size: 3, tta: [identity]}", *overrides, run=run)
    return StoredImages(job.folder, job.experiment, job.images, np.arange(15), "test", 1)


def test_a_store_knows_what_its_images_took(project: Path) -> None:
    """Batches of three images that sleep: a third of a nap an image, the slow first batch left out."""
    images = wanted(project, "sleepy")
    begun = time.monotonic()
    store = store_predictions(images, Sleepy().eval(), "d", "model", RUNTIME)
    measured = time.monotonic() - begun - 5 * NAP
    assert store.cost is not None and store.seconds_an_image is not None
    assert NAP / 3 <= store.seconds_an_image <= measured / 12
    assert store.cost.images == 12 and store.cost.device == RUNTIME.device_name and "cpu" in store.cost.device
    again = images.find("d")
    assert again is not None and again.cost == store.cost
    # It is no part of what the codes were made with.
    assert "seconds" not in str(again.meta) and "seconds" not in str(read_json(images.place("model") / "meta.json"))


def test_views_of_an_image_count_together(project: Path) -> None:
    """Two tiles an image at least, each a batch of its own."""
    images = wanted(project, "tiles", "predict={batch_size: 1, tta: [identity], tiles: {size: 16}}", "input.size=16")
    watched: list[int] = []

    class Told(Observer):
        def predicting(self, title: str, done: int, total: int) -> None:
            watched.append(total)

    begun = time.monotonic()
    store = store_predictions(images, Sleepy().eval(), "d", "model", RUNTIME, Told())
    measured = time.monotonic() - begun - 5 * NAP
    views = watched[0] / 15
    assert views > 1 and store.seconds_an_image is not None
    assert NAP <= store.seconds_an_image / views <= measured / (watched[0] - 1)


def test_a_resumed_prediction_counts_what_it_measured(project: Path) -> None:
    class Stops(Observer):
        def predicting(self, title: str, done: int, total: int) -> None:
            if done == 9:
                raise KeyboardInterrupt

    images = wanted(project, "resumed")
    with pytest.raises(KeyboardInterrupt):
        store_predictions(images, Sleepy().eval(), "d", "model", RUNTIME, Stops())
    begun = time.monotonic()
    store = store_predictions(images, Sleepy().eval(), "d", "model", RUNTIME)
    measured = time.monotonic() - begun
    assert store.cost is not None and store.cost.images < 12
    assert NAP / 3 <= store.cost.seconds <= measured / store.cost.images


def test_a_single_batch_counts_and_none_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 13.0, 15.0])
    monkeypatch.setattr(stopwatch.time, "monotonic", lambda: next(clock))
    watch = Stopwatch()
    assert watch.views == 0
    watch.mark(4)
    assert (watch.views, watch.seconds) == (4, 2.0)
    watch.mark(4)
    watch.mark(2)
    assert (watch.views, watch.seconds) == (6, 3.0)


def costly(folder: Path, cost: Cost | None, seed: int = 0) -> None:
    with StoreWriter(folder, "oof", IDS, SHAPES, META) as writer:
        for image_id, values in zip(IDS, images(seed)):
            writer.append(image_id, values)
        writer.finish(cost)


def test_stores_of_before_stay_valid_and_say_nothing(tmp_path: Path) -> None:
    write(tmp_path / "old")
    old = open_store(tmp_path / "old", "oof", META)
    assert old is not None and old.cost is None and old.seconds_an_image is None
    costly(tmp_path / "new", Cost(0.5, 3, "cpu"))
    for content in ("", "{", "[]", '{"seconds": -1, "images": 3, "device": ""}', '{"seconds": NaN, "images": 3}'):
        (tmp_path / "new/oof.seconds.json").write_text(content)
        damaged = open_store(tmp_path / "new", "oof", META)
        assert damaged is not None and damaged.seconds_an_image is None
    # A store that is written anew does not keep what the one before it took.
    costly(tmp_path / "new", Cost(0.5, 3, "cpu"))
    with StoreWriter(tmp_path / "new", "oof", IDS, SHAPES, META | {"weights": "x"}) as writer:
        for image_id, values in zip(IDS, images(1)):
            writer.append(image_id, values)
        assert writer.finish().cost is None


def test_several_sets_of_weights_take_their_sum(tmp_path: Path) -> None:
    for name, cost in (("a", Cost(0.5, 3, "cpu")), ("b", Cost(0.25, 5, "cpu")), ("c", None)):
        costly(tmp_path / name, cost)
    a, b, c = (open_store(tmp_path / name, "oof", META) for name in "abc")
    assert a and b and c
    assert MeanStore([a, b]).seconds_an_image == 0.75 and MeanStore([a, c]).seconds_an_image is None


def test_parts_count_by_their_images() -> None:
    parts = [Cost(1.0, 10, "cpu"), None, Cost(4.0, 20, "NVIDIA H200"), Cost(1.0, 10, "cpu")]
    assert Cost.joined(parts) == Cost(2.5, 40, "cpu, NVIDIA H200")
    assert Cost.joined([None, None]) is None


def test_a_member_takes_what_all_its_folds_take(project: Path) -> None:
    run = made_run(project, "member")
    entry = read_entry(run, project, "member")

    def member(split: str) -> dict[int, object]:
        places = {fold: run.fold(fold).predictions("model", "identity+hflip") for fold in (0, 1)}
        return {fold: open_store(place, split, None) for fold, place in places.items()}

    for fold, seconds in ((0, 0.5), (1, 0.25)):
        place = run.fold(fold).predictions("model", "identity+hflip")
        for split, more in (("oof", 0), ("test", 1)):
            text = f'{{"seconds": {seconds + more}, "images": 2, "device": "cpu"}}'
            (place / f"{split}.seconds.json").write_text(text)
    oof, tests = OofMember("m", member("oof")), TestMember("m", member("test"))  # type: ignore[arg-type]
    assert Predicted(entry, {}, oof).seconds_an_image == 0.75
    assert Predicted(entry, {}, oof, tests).seconds_an_image == 2.75
    (place / "oof.seconds.json").unlink()
    lacking = OofMember("m", member("oof"))  # type: ignore[arg-type]
    assert Predicted(entry, {}, lacking).seconds_an_image is None
