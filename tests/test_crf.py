"""The dense CRF against all pairs of pixels, and against what must hold."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.ndimage

from segfold.ensemble.blend import Blended
from segfold.ensemble.evidence import Images, whole_sums
from segfold.ensemble.search import Search
from segfold.ensemble.table import score_table
from segfold.ensemble.wanted import Wanted
from segfold.errors import SegfoldError
from segfold.metrics import METRICS, ScoreSums
from segfold.post import Decision, Decisions, MaskSizes, Seen, gaussians
from segfold.post.crf import CRF
from segfold.post.gaussians import PlaneFilter
from segfold.post.mean_field import gathered, mean_field, mean_field_of_two
from segfold.store.codes import to_codes, to_probability
from segfold.tasks import FOREGROUND, Multiclass, Multilabel, Task

HEIGHT, WIDTH = 40, 52
COLOURS = np.array([[90, 120, 60], [200, 80, 40], [30, 60, 180]])
DECONVNET = {"appearance": 5.0, "position_sigma": 20.0, "colour_sigma": 3.0, "smoothness": 3.0, "smoothness_sigma": 3.0}
PUBLISHED: dict[str, dict[str, Any]] = {
    "deconvnet": {},
    "deeplab": {"position_sigma": 50.0, "colour_sigma": 6.0},
    "pydensecrf": {"appearance": 10.0, "position_sigma": 80.0, "colour_sigma": 13.0, "iterations": 5},
    "near": {"appearance": 4.0, "position_sigma": 5.0, "smoothness_sigma": 1.0},
    "once": {"iterations": 1},
}


def labels() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    found = np.where((y - 18) ** 2 + (x - 20) ** 2 < 120, 1, 0)
    found[25:, 30:] = 2
    return found


def picture(kind: str, seed: int = 0) -> np.ndarray:
    """H×W×3 uint8."""
    rng = np.random.default_rng(seed)
    if kind == "texture":  # smooth, with more colours than objects
        noise = rng.normal(size=(HEIGHT, WIDTH, 3))
        smooth = scipy.ndimage.gaussian_filter(noise, (4, 4, 0))
        return np.asarray((128 + 60 * smooth / smooth.std() + 4 * noise).clip(0, 255).astype(np.uint8))
    image = COLOURS[labels()] + rng.normal(0, 6 if kind != "flat" else 1, (HEIGHT, WIDTH, 3))
    image = image.clip(0, 255).astype(np.uint8)
    return np.repeat(image[..., 1:2], 3, axis=2) if kind == "grey" else image


def doubtful(classes: int = 3, seed: int = 0) -> np.ndarray:
    """C×H×W codes of a network that is often wrong, and sums up to 1."""
    rng = np.random.default_rng(seed)
    planes = np.stack([labels() == index for index in range(classes)]).astype(float)
    noise = scipy.ndimage.gaussian_filter(rng.normal(size=planes.shape), (0, 2, 2))
    scores = 5 * scipy.ndimage.gaussian_filter(planes, (0, 3, 3)) + 1.5 * noise / noise.std()
    exponents = np.exp(scores)
    return to_codes((exponents / exponents.sum(axis=0)).astype(np.float32))


def normalised(points: np.ndarray) -> np.ndarray:
    """N×N Gaussian kernel of N×d points, divided by the roots of the sums of its rows and columns."""
    squares = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    kernel = np.exp(-squares / 2)
    root = np.sqrt(kernel.sum(axis=1))
    return np.asarray(kernel / root / root[:, None])


def exact(planes: np.ndarray, image: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    """C×H×W probabilities by all pairs of pixels, by DeconvNet's settings and others; colours count once where they are equal."""
    step = SimpleNamespace(**{**DECONVNET, "iterations": 10, **settings})
    count, height, width = planes.shape
    places = np.indices((height, width)).reshape(2, -1).T
    colours = image.reshape(height * width, -1).astype(float)
    if (colours == colours[:, :1]).all():
        colours = colours[:, :1]
    kernel = step.appearance * normalised(np.hstack([places / step.position_sigma, colours / step.colour_sigma]))
    kernel += step.smoothness * normalised(places / step.smoothness_sigma)
    network = np.clip(planes.reshape(count, -1), 1e-5, 1)
    found = network / network.sum(axis=0)
    for _ in range(step.iterations):
        found = network * np.exp(found @ kernel)
        found /= found.sum(axis=0)
    return found.reshape(planes.shape)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("kind", ["noisy", "grey", "flat", "texture"])
def test_a_crf_is_that_of_all_pairs(kind: str, name: str) -> None:
    step, image, codes = CRF(**PUBLISHED[name]), picture(kind), doubtful()
    wanted = exact(to_probability(codes), image, PUBLISHED[name])
    found = to_probability(step.together(codes, Seen(lambda: image)))
    changed = wanted.argmax(axis=0) != codes.argmax(axis=0)
    assert (found.argmax(axis=0) == wanted.argmax(axis=0)).mean() >= 0.99
    assert np.abs(found - wanted).mean() <= 0.02
    assert np.abs(found.sum(axis=0) - 1).max() < 1e-4
    assert changed.mean() > 0.01


def test_two_pixels_by_hand() -> None:
    """Published toy of one kernel value of .8 between two pixels, their own left out."""
    kernel = np.array([[0, 0.8], [0.8, 0]], np.float32)
    network = np.array([[0.6, 0.4], [0.3, 0.7]], np.float32)
    rounds = {1: (0.521353, 0.334635), 2: (0.535162, 0.307223), 3: (0.524237, 0.311946)}
    for iterations, first in rounds.items():
        found = mean_field(network, lambda planes: kernel @ planes, iterations)
        np.testing.assert_allclose(found[:, 0], first, atol=1e-6)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
        alone = mean_field_of_two(network[:, :1].copy(), lambda planes: kernel @ planes, iterations)
        np.testing.assert_allclose(alone[:, 0], first, atol=1e-6)


def test_without_weight_nothing_changes() -> None:
    codes, step = doubtful(), CRF(appearance=0.0, smoothness=0.0)
    found = step.together(codes, Seen(lambda: picture("noisy")))
    assert np.abs(found.astype(int) - codes).max() <= 1


def test_where_nothing_is_known_nothing_is_decided() -> None:
    codes = np.full((4, HEIGHT, WIDTH), to_codes(0.25))
    found = CRF().together(codes, Seen(lambda: picture("noisy")))
    assert np.abs(found.astype(int) - codes).max() <= 2
    near = PlaneFilter((HEIGHT, WIDTH), 3.0)
    half = mean_field_of_two(np.full((HEIGHT * WIDTH, 1), 0.5, np.float32), gathered([(8.0, near)]), 10)
    assert np.abs(half - 0.5).max() < 1e-5


def test_a_wrong_pixel_of_a_plain_image_is_put_right() -> None:
    image = np.full((HEIGHT, WIDTH, 3), 77, np.uint8)
    codes = np.full((HEIGHT, WIDTH), to_codes(0.2))
    codes[20, 30] = to_codes(0.9)
    assert (CRF()(codes, Seen(lambda: image)) < to_codes(0.2)).all()


def test_a_class_by_itself_is_decided_as_it_and_its_complement() -> None:
    codes, image = doubtful()[1], picture("noisy")
    both = CRF().together(np.stack([65535 - codes, codes]), Seen(lambda: image))[1]
    assert np.abs(CRF()(codes, Seen(lambda: image)).astype(int) - both).max() <= 20
    task = Multilabel(("a", "b", "c"))
    planes, seen = doubtful(), Seen(lambda: image)
    found = Decisions(task, (Decision.of(0.5, {"crf": {}}),))(planes, seen)
    alone = [CRF()(plane, Seen(lambda: image)) >= 32768 for plane in planes]
    assert np.array_equal(task.planes(found), alone)


def test_exclusive_classes_are_decided_at_once() -> None:
    codes, image = doubtful(), picture("noisy")
    found = Decisions(Multiclass(("a", "b", "c"), 0), (Decision.of(None, {"crf": {}}),))(codes, Seen(lambda: image))
    assert np.array_equal(found, CRF().together(codes, Seen(lambda: image)).argmax(axis=0))


def test_pixels_mean_the_same_in_any_type_and_grey_in_any_number_of_channels() -> None:
    codes, grey, colour = doubtful(), picture("grey"), picture("noisy")
    opaque = np.concatenate([grey, np.full_like(grey[..., :1], 255)], axis=2)
    three, *same = (CRF().together(codes, Seen(lambda image=image: image)) for image in (grey, grey[..., :1], opaque))
    assert all(np.array_equal(three, one) for one in same)
    typed = [colour, colour.astype(np.uint16) * 257, colour.astype(np.float32)]
    first, *others = (CRF().together(codes, Seen(lambda image=image: image)) for image in typed)
    assert all(np.array_equal(first, other) for other in others)
    many = np.concatenate([colour, colour[..., :1] // 2], axis=2)
    wanted = exact(to_probability(codes), many, {})
    found = CRF().together(codes, Seen(lambda: many))
    assert (found.argmax(axis=0) == wanted.argmax(axis=0)).mean() >= 0.99


def test_settings_share_what_they_make_of_an_image_and_nothing_else() -> None:
    codes, image, asked = doubtful(), picture("noisy"), []
    seen = Seen(lambda: asked.append(1) or image)  # type: ignore[func-returns-value]
    settings: list[dict[str, Any]] = [{}, {"appearance": 1.0}, {"iterations": 2}, {"colour_sigma": 9.0}, {}]
    for each in settings:
        found = CRF(**each).together(codes, seen)
        assert np.array_equal(found, CRF(**each).together(codes, Seen(lambda: image)))
    assert len(asked) == 3


def test_published_settings_are_tried_as_shares_of_the_image() -> None:
    published = [{**DECONVNET, "iterations": 10, **PUBLISHED[name]} for name in ("deconvnet", "deeplab", "pydensecrf")]
    _, *large = CRF.grid(MaskSizes(500 * 375, 1))
    assert large == published
    _, *small = CRF.grid(MaskSizes(250 * 188, 1))
    pixels = {"position_sigma", "smoothness_sigma"}
    for half, whole in zip(small, large, strict=True):
        assert half == {
            name: pytest.approx(value / 2, abs=0.15) if name in pixels else value for name, value in whole.items()
        }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 90, 3), (90, 1, 4), (2, 2, 1)])
def test_the_strongest_settings_stand_any_image(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    codes = np.random.default_rng(1).integers(0, 65536, shape[:2]).astype(np.uint16)
    for sigmas in ((0.5, 0.5, 0.1), (1000.0, 1000.0, 100.0)):
        names = dict(zip(("position_sigma", "colour_sigma", "smoothness_sigma"), sigmas))
        step = CRF(appearance=1000.0, smoothness=1000.0, iterations=100, **names)
        both = step.together(np.stack([codes, 65535 - codes]), Seen(lambda: image))
        assert np.array_equal(both.astype(int).sum(axis=0), np.full(shape[:2], 65535))
        assert step(codes, Seen(lambda: image)).shape == shape[:2]


@pytest.mark.parametrize("deviation", [0.1, 1.0, 3.0, 30.0])
def test_a_filter_of_positions_is_exact(deviation: float) -> None:
    found = np.zeros((15 * 11, 15 * 11), np.float32)
    PlaneFilter((15, 11), deviation).add(np.eye(15 * 11, dtype=np.float32), 2.0, found)
    wanted = 2 * normalised(np.indices((15, 11)).reshape(2, -1).T / deviation)
    assert np.abs(found - wanted).max() < 1e-3 * wanted.max()


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(SegfoldError, match=r"crf: an image of \(9, 9\) was predicted as \(40, 52\)"):
        CRF()(doubtful()[0], Seen(lambda: np.zeros((9, 9, 3), np.uint8)))


@pytest.mark.parametrize("task", [FOREGROUND, Multiclass(("a", "b", "c"), 0)], ids=["binary", "exclusive"])
def test_it_is_chosen_where_it_helps_and_scores_as_it_is_applied(task: Task) -> None:
    names = [str(number) for number in range(6)]
    truth = labels().astype(np.uint8) if task.exclusive else (labels() == 1).astype(np.uint8)
    planes = [doubtful(seed=seed) for seed in range(6)]
    planes = planes if task.exclusive else [each[1:2] for each in planes]
    images = Images(
        lambda: (Blended(name, each, None) for name, each in zip(names, planes)),
        lambda _: truth,
        lambda _: picture("noisy"),
        {name: int(name) % 3 for name in names},
        METRICS["miou" if task.exclusive else "iou"](),
        task=task,
    )
    wanted = Wanted(steps=["crf"], threshold=None if task.exclusive else 0.5)
    axes = wanted.axes(MaskSizes(HEIGHT * WIDTH, 300), False, task)
    found = Search(images, axes, score_table(images, axes)).fitted("3 folds")
    assert set(found.decision.settings) == {"crf"} and found.scores.trials[-1].kept
    assert found.scores.nested is not None and found.scores.nested.mean > found.scores.plain.mean + 0.01
    (sums,) = whole_sums(images, [Decisions(task, (found.decision,))])
    assert sum(sums, ScoreSums()).score(images.metric).mean == pytest.approx(found.scores.tuned.mean)


@pytest.mark.parametrize("dense", [0, 200, 2048])
def test_a_filter_of_points_has_a_deviation_of_one(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaussians, "DENSE", dense)
    points = np.indices((41, 41)).reshape(2, -1).T.astype(np.float32) / 4
    middle = np.flatnonzero((abs(points - 5) <= 0.75).all(axis=1))
    single = np.zeros((len(points), len(middle)), np.float32)
    single[middle, range(len(middle))] = 1
    found = np.zeros_like(single)
    gaussians.PointFilter(points).add(single, 1.0, found)
    away = ((points[:, None] - points[middle]) ** 2).mean(axis=-1)
    assert (found * away).sum() / found.sum() == pytest.approx(1, abs=0.025)
    assert found.sum(axis=0) == pytest.approx(1, abs=0.05)
