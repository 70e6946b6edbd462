"""Test-time augmentation, prediction at the original size, and the store around it."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.symmetry import TRANSFORMS
from segfold.inference import predict as predicting
from segfold.inference import stored
from segfold.inference.answers import probabilities
from segfold.inference.manner import PredictionSettings
from segfold.inference.networks import load_weights
from segfold.inference.predict import predict
from segfold.inference.stored import StoredImages, store_predictions
from segfold.machine import Runtime
from segfold.models import Output
from segfold.observer import Observer
from segfold.settings.views import views_of
from segfold.store import MeanStore, StoreWriter
from small_project import fold_job, make_project, train

RUNTIME = Runtime(torch.device("cpu"), "fp32", False, 1, 0)
FLIP = ("identity", "hflip")
SIZING = Sizing(32, 32, "pad", "reflect")


class Brightness(nn.Module):
    """Logit = a function of the pixel's own value: equivariant to every symmetry."""

    def forward(self, pixels: Tensor) -> Output:
        return Output(pixels.float().mean(dim=1, keepdim=True) / 64 - 2)


class Position(nn.Module):
    """Logit = the column: not equivariant to a mirror."""

    def forward(self, pixels: Tensor) -> Output:
        n, _, h, w = pixels.shape
        return Output(torch.arange(w).float().expand(n, 1, h, w) / w)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_inverse_is_exact(name: str) -> None:
    images = torch.rand(2, 3, 5, 5)
    transform = TRANSFORMS[name]
    assert torch.equal(transform.inverse(transform.forward(images)), images)


def test_the_eight_symmetries_are_different() -> None:
    image = torch.arange(9).reshape(1, 1, 3, 3)
    seen = {tuple(transform.forward(image).flatten().tolist()) for transform in TRANSFORMS.values()}
    assert len(seen) == len(TRANSFORMS) == 8


def test_tta_of_an_equivariant_network_is_the_plain_output() -> None:
    images = torch.randint(0, 255, (2, 3, 6, 6), dtype=torch.uint8)
    plain, none = probabilities(Brightness(), images, ["identity"], RUNTIME)
    full, _ = probabilities(Brightness(), images, list(TRANSFORMS), RUNTIME)
    assert none is None
    torch.testing.assert_close(full, plain)


def test_tta_is_the_mean_of_its_parts() -> None:
    images = torch.zeros(1, 1, 2, 4)
    column = torch.arange(4).float() / 4
    expected = (column.sigmoid() + column.flip(0).sigmoid()) / 2
    found, _ = probabilities(Position(), images, ["identity", "hflip"], RUNTIME)
    torch.testing.assert_close(found, expected.expand(1, 1, 2, 4))
    assert not torch.allclose(found, probabilities(Position(), images, ["identity"], RUNTIME)[0])


class Doubtful(nn.Module):
    """Every pixel is object; the image head looks at the first pixel."""

    def forward(self, pixels: Tensor) -> Output:
        logits = pixels[:, :1].float() * 0 + 3
        return Output(logits, {"image": pixels[:, 0, 0, :1].float() / 100 - 1})


def test_image_logits_are_one_a_view() -> None:
    """The image head looks at the first pixel, which the mirror puts elsewhere."""
    images = torch.zeros(3, 1, 2, 4)
    images[1], images[2, ..., 2:] = 200, 250
    _, logits = probabilities(Doubtful(), images, ["identity", "hflip"], RUNTIME)
    assert logits is not None and logits.tolist() == [[-1, -1], [1, 1], [-1, 1.5]]


def test_the_image_probability_is_the_mean_over_the_views(tmp_path: Path) -> None:
    """Mean probabilities of not being empty, by hand: .269, .731, .543; and the mean over sets of weights."""
    stores = []
    for folder, last in (("one", 1.5), ("two", -1)):
        with StoreWriter(tmp_path / folder, "test", ["a", "b", "c"], [(1, 2, 2)] * 3, {}) as writer:
            for name, logits in (("a", [-1, -1]), ("b", [1, 1]), ("c", [-1, last])):
                writer.append(name, np.full((1, 2, 2), 0.75), logits)
            stores.append(writer.finish())
    one = [round(65535 * value) for value in (0.2689414, 0.7310586, 0.5432579)]
    assert [stores[0].nonempty(row) for row in range(3)] == one
    both = MeanStore(stores)
    assert [both.nonempty(row) for row in range(2)] == one[:2]
    assert both.nonempty(2) == int((one[2] + one[0]) / 2 + 0.5)
    with StoreWriter(tmp_path / "none", "test", ["a", "b", "c"], [(1, 2, 2)] * 3, {}) as writer:
        for name in "abc":
            writer.append(name, np.full((1, 2, 2), 0.75))
        silent = writer.finish()
    assert silent.nonempty(0) is None and MeanStore([stores[0], silent]).nonempty(0) is None


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.mark.parametrize("fit", ["pad", "resize"])
def test_predictions_have_the_original_size_and_order(project: Path, fit: str) -> None:
    images = fold_job(project).images
    rows = np.array([7, 2, 11])
    sizing = Sizing(32, 32, fit, "reflect")  # type: ignore[arg-type]
    found = list(predict(Brightness(), images, rows, PredictionSettings(sizing, RUNTIME, FLIP, batch_size=2)))
    assert [each.id for each in found] == list(images.ids[rows])
    assert all(each.image_logits is None for each in found)
    for row, (_, values, _) in zip(rows, found):
        grey = images.images[row].mean(axis=2)
        assert values.shape == (1, *grey.shape)
        expected = 1 / (1 + np.exp(-(grey / 64 - 2)))
        if fit == "pad":
            np.testing.assert_allclose(values[0], expected, atol=1e-6)
        else:
            assert np.abs(values[0] - expected).mean() < 0.1


def trained(project: Path, run: str, *overrides: str):  # type: ignore[no-untyped-def]
    job = fold_job(project, *overrides, run=run)
    done = train(job)
    network = load_weights(job.network(fresh=False), job.folder.weights())
    return job, done, network


def store(job, done, network):  # type: ignore[no-untyped-def]
    return store_predictions(wanted(job), network, done["weights"]["model"], "model", RUNTIME)


def wanted(job, split="test", rows=range(10)):  # type: ignore[no-untyped-def]
    return StoredImages(job.folder, job.experiment, job.images, np.array(rows), split, 1)


def test_stored_scores_are_those_of_the_loaded_weights(project: Path) -> None:
    """Weights → file → network → store → score is one chain without a break."""
    job, done, network = trained(project, "chain")
    oof = wanted(job, "oof", job.validation_rows).find(done["weights"]["model"])
    assert oof is not None and list(oof.ids) == done["held_out"] == list(job.images.ids[job.validation_rows])
    sizing = Sizing(32, 32, "pad", "reflect")
    predicted = predict(
        network, job.images, job.validation_rows, PredictionSettings(sizing, RUNTIME, FLIP, batch_size=3)
    )
    fresh = {found.id: found.planes for found in predicted}
    for row, name in enumerate(oof.ids):
        assert np.abs(oof.probability(row) - fresh[name]).max() < 1e-4


def test_predicted_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, done, network = trained(project, "once")
    first = store(job, done, network)
    monkeypatch.setattr(stored, "predict_strips", lambda *_, **__: pytest.fail("predicted again"))
    again = store(job, done, network)
    assert all(np.array_equal(first.codes(row), again.codes(row)) for row in range(10))


@pytest.mark.parametrize("change", [{"predict": {"tta": ("identity",)}}, {"input": {"size": 64}}])
def test_other_settings_are_predicted_anew(project: Path, change: dict[str, dict[str, object]]) -> None:
    job, done, network = trained(project, "anew" + "".join(filter(str.isalnum, str(change))))
    store(job, done, network)
    ((key, values),) = change.items()
    part = getattr(job.experiment, key).model_copy(update=values)
    other = replace(job, experiment=job.experiment.model_copy(update={key: part}))
    assert wanted(job).find(done["weights"]["model"]) is not None
    assert wanted(other).find(done["weights"]["model"]) is None
    assert wanted(job).find("other weights") is None


def test_the_store_holds_what_the_image_head_says(project: Path) -> None:
    job, done, network = trained(project, "gated", "model.heads.image=true", "stages.lovasz.loss.heads.image=0.1")
    plain = store(job, done, network)
    batch = torch.stack([torch.from_numpy(SIZING.image(job.images.images[row])).permute(2, 0, 1) for row in range(10)])
    with torch.no_grad():
        logits = torch.stack([network(batch).image[:, 0], network(batch.flip(-1)).image[:, 0]], dim=1)
    assert plain.image_logits is not None
    np.testing.assert_allclose(plain.image_logits, logits.numpy(), atol=1e-4)
    means = logits.double().sigmoid().mean(dim=1).numpy()
    assert [plain.nonempty(row) for row in range(10)] == pytest.approx(65535 * means, abs=1.5)


def test_interrupted_prediction_goes_on(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, done, network = trained(project, "resume")
    whole = [store(job, done, network).codes(row) for row in range(10)]
    for path in job.folder.path.rglob("test.*"):
        path.unlink()
    real, seen = predicting.predict_strips, []

    def dies(network, images, rows, *arguments, **options):  # type: ignore[no-untyped-def]
        seen.append(len(rows))
        for count, item in enumerate(real(network, images, rows, *arguments, **options)):
            if count == 9 and len(seen) == 1:
                raise KeyboardInterrupt
            yield item

    monkeypatch.setattr(stored, "predict_strips", dies)
    with pytest.raises(KeyboardInterrupt):
        store(job, done, network)
    again = store(job, done, network)
    # Eight are predicted together, so the last two are left.
    assert seen == [10, 2]
    assert all(np.array_equal(again.codes(row), whole[row]) for row in range(10))


def test_progress_counts_tiles_and_goes_on_where_a_stop_left_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, done, network = trained(project, "tiles", "predict.tiles.size=32", "predict.tta=[identity,scale2]")
    counts = [
        len(views_of(job.experiment).views(tuple(job.images.images.shapes[row, :2].tolist()))) for row in range(10)
    ]
    assert min(counts) > 1
    told: list[tuple[int, int]] = []

    class Told(Observer):
        stop_at = 1

        def predicting(self, title: str, done: int, total: int) -> None:
            told.append((done, total))
            if len(told) == self.stop_at:
                raise KeyboardInterrupt

    observer = Told()
    with pytest.raises(KeyboardInterrupt):
        store_predictions(wanted(job), network, done["weights"]["model"], "model", RUNTIME, observer)
    store_predictions(wanted(job), network, done["weights"]["model"], "model", RUNTIME, observer)
    assert {total for _, total in told} == {sum(counts)} and told[-1][0] == sum(counts)
    assert told[1][0] > 0 and all(before < after for (before, _), (after, _) in itertools.pairwise(told[1:]))
