"""The score of a submission of any form against known masks, by brute force over the masks."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segfold.competition import Competition
from segfold.errors import SegfoldError
from segfold.metrics import MeanScore
from segfold.submission.score import score_submission
from segfold.submission.write import write_submission
from submission_forms import (
    ALL,
    ANIMALS,
    CHESTS,
    IDS,
    ORGANS,
    ROOFS,
    SHAPES,
    SHIPS,
    STEEL,
    STREETS,
    competition,
    flood,
    plane,
    random_masks,
)

Masks = dict[str, np.ndarray]


def submission(path: Path, given: Competition, masks: Masks) -> Path:
    write_submission(path, masks.items(), given, IDS, lambda file: [], {})
    return path


def both(tmp_path: Path, given: Competition) -> tuple[Path, Path, Masks, Masks]:
    suffix = "zip" if given.form.form == "png" else "csv"
    pred, truth = random_masks(given, 1), random_masks(given, 2)
    truth["b"][:, :4] = pred["b"][:, :4]
    paths = [submission(tmp_path / f"{name}.{suffix}", given, m) for name, m in (("pred", pred), ("truth", truth))]
    return *paths, pred, truth


def dice(one: np.ndarray, other: np.ndarray) -> float:
    total = one.sum() + other.sum()
    return 2 * (one & other).sum() / total if total else 1.0


def mean(values: list[float]) -> MeanScore:
    return MeanScore(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))), len(values))


def close(found: MeanScore, expected: MeanScore) -> None:
    assert found.images == expected.images
    assert found.mean == pytest.approx(expected.mean, abs=1e-12)
    assert found.standard_error == pytest.approx(expected.standard_error, abs=1e-9)


@pytest.mark.parametrize("given", [STEEL, ORGANS, CHESTS, ROOFS], ids=["steel", "organs", "chests", "roofs"])
def test_a_mean_over_images_and_classes(tmp_path: Path, given: Competition) -> None:
    pred_path, truth_path, pred, truth = both(tmp_path, given)
    each = [
        float(
            np.mean(
                [dice(*(plane(given, masks[name], c) for masks in (pred, truth))) for c in range(len(given.classes))]
            )
        )
        for name in IDS
    ]
    close(score_submission(pred_path, truth_path, given, SHAPES), mean(each))
    close(score_submission(pred_path, pred_path, given, SHAPES), mean([1.0] * 3))


def miou(pred: Masks, truth: Masks, count: int, void: int | None = None) -> float:
    inter, union = np.zeros(count), np.zeros(count)
    for name in pred:
        valid = truth[name] != void
        for label in range(count):
            one, other = (pred[name] == label) & valid, (truth[name] == label) & valid
            inter[label] += (one & other).sum()
            union[label] += (one | other).sum()
    return float((inter / union).mean())


def test_rows_of_exclusive_classes(tmp_path: Path) -> None:
    """The background has no rows, and counts."""
    pred_path, truth_path, pred, truth = both(tmp_path, ANIMALS)
    score = score_submission(pred_path, truth_path, ANIMALS, SHAPES)
    assert score.mean == pytest.approx(miou(pred, truth, 3), abs=1e-12) and score.standard_error
    without = miou({n: np.where(m == 0, 7, m) for n, m in pred.items()}, truth, 3)
    assert score.mean != pytest.approx(without, abs=1e-3)


def png(mask: np.ndarray, palette: bool) -> bytes:
    image, data = Image.fromarray(mask), io.BytesIO()
    if palette:
        image.putpalette(bytes(range(256)) * 3)
    image.save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize("kind", ["zip", "folder"])
@pytest.mark.parametrize("palette", [True, False])
def test_pictures_against_a_zip_or_a_folder_with_void(tmp_path: Path, kind: str, palette: bool) -> None:
    pred_path, _, pred, truth = both(tmp_path, STREETS)
    truth["b"][0] = 255
    assert not np.array_equal(pred["b"][0], truth["b"][0])
    known = tmp_path / "known"
    files = {f"{name}.png": png(mask, palette) for name, mask in truth.items()} | {"other.png": b"not looked at"}
    if kind == "zip":
        with zipfile.ZipFile(known, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        known.mkdir()
        for name, data in files.items():
            (known / name).write_bytes(data)
    score = score_submission(pred_path, known, STREETS, SHAPES)
    assert score.mean == pytest.approx(miou(pred, truth, 3, 255), abs=1e-12)
    assert score.mean != pytest.approx(miou(pred, truth, 3), abs=1e-4)


def object_f2(pred: list[np.ndarray], truth: list[np.ndarray]) -> float:
    scores = []
    for threshold in np.arange(10, 20):
        hits = sum(20 * (one & other).sum() > threshold * (one | other).sum() for one in pred for other in truth)
        whole = 5 * hits + 4 * (len(truth) - hits) + len(pred) - hits
        scores.append(5 * hits / whole if whole else 1.0)
    return float(np.mean(scores))


def test_objects(tmp_path: Path) -> None:
    shapes = {f"i{n}": (9, 11) for n in range(12)}
    rng = np.random.default_rng(0)
    truth = {name: (rng.random(shape) < 0.25).astype(np.uint8) for name, shape in shapes.items()}
    pred = {name: mask ^ (rng.random(mask.shape) < 0.03).astype(np.uint8) for name, mask in truth.items()}
    truth["i3"][:] = pred["i3"][:] = pred["i4"][:] = truth["i5"][:] = 0
    paths = []
    for name, masks in (("pred", pred), ("truth", truth)):
        paths.append(tmp_path / f"{name}.csv")
        write_submission(paths[-1], masks.items(), SHIPS, list(shapes), lambda file: [], {})
    each = [object_f2(*(flood(masks[name], "column") for masks in (pred, truth))) for name in shapes]
    assert 0.1 < np.mean(each) < 0.9
    close(score_submission(*paths, SHIPS, shapes), mean(each))


@pytest.mark.parametrize("metric", ["object_f2", "object_precision"])
def test_objects_that_touch_are_as_many_as_their_rows(tmp_path: Path, metric: str) -> None:
    given = competition(rows="instance", metric=metric)
    apart, joined = tmp_path / "apart.csv", tmp_path / "joined.csv"
    apart.write_text("id,rle_mask\na,1 2\na,3 2\nb,\n")
    joined.write_text("id,rle_mask\na,1 4\nb,\n")
    shapes = {"a": (2, 2), "b": (2, 2)}
    assert score_submission(apart, apart, given, shapes).mean == 1
    # One object of four pixels is none of two of two each; the empty image is right.
    assert score_submission(joined, apart, given, shapes).mean == 0.5
    assert score_submission(apart, joined, given, shapes).mean == 0.5


def test_rows_by_object_and_a_metric_of_pixels(tmp_path: Path) -> None:
    given = competition(rows="instance", metric={"global_dice": {}})
    pred, truth, one, other = both(tmp_path, given)
    inter = sum((one[name] & other[name]).sum() for name in IDS)
    total = sum(one[name].sum() + other[name].sum() for name in IDS)
    assert score_submission(pred, truth, given, SHAPES).mean == pytest.approx(2 * inter / total, abs=1e-12)


def test_a_table_of_known_masks_may_leave_an_empty_one_blank(tmp_path: Path) -> None:
    pred, truth = tmp_path / "p.csv", tmp_path / "t.csv"
    pred.write_text("id,rle_mask\na,-1\nb,0 2\n")
    shapes = {"a": (1, 4), "b": (1, 4)}
    for text in ("-1", ""):
        truth.write_text(f"id,rle_mask,Usage\nb,1 2,Public\na,{text},Public\nz,1 1,Public\n")
        assert score_submission(pred, truth, CHESTS, shapes).mean == (1 + 0.5) / 2


@pytest.mark.parametrize("name", ALL)
def test_what_cannot_be_scored_is_one_line(tmp_path: Path, name: str) -> None:
    given = ALL[name]
    pred, truth, masks, _ = both(tmp_path, given)
    less = {name: mask for name, mask in masks.items() if name != "b"}
    part = tmp_path / f"part{pred.suffix}"
    write_submission(part, less.items(), given, [*less], lambda file: [], {})
    with pytest.raises(SegfoldError, match=r"lacks \d (id|row|mask)s?: .*\bb.*expected the masks of all 3"):
        score_submission(pred, part, given, SHAPES)
    with pytest.raises(SegfoldError, match=r"part\.(csv|zip) cannot be scored: missing"):
        score_submission(part, truth, given, SHAPES)
    with pytest.raises(SegfoldError, match="no images to score"):
        empty = tmp_path / f"empty{pred.suffix}"
        write_submission(empty, [], given, [], lambda file: [], {})
        score_submission(empty, truth, given, {})
    with pytest.raises(SegfoldError, match="none") as caught:
        score_submission(pred, tmp_path / f"none{pred.suffix}", given, SHAPES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (np.zeros((6, 7, 3), np.uint8), r"b\.png is of mode RGB, expected class indices"),
        (np.full((6, 7), 8, np.uint8), "b holds class index 8: expected 0 to 2"),
        (np.zeros((7, 6), np.uint8), "mask of b is 7×6, expected 6×7"),
        (None, r"b\.png cannot be read"),
    ],
)
def test_known_pictures_that_are_none(tmp_path: Path, pixels: np.ndarray | None, says: str) -> None:
    pred, _, masks, _ = both(tmp_path, STREETS)
    for name, mask in masks.items():
        (tmp_path / f"{name}.png").write_bytes(png(mask, True))
    (tmp_path / "b.png").write_bytes(b"x" if pixels is None else png(pixels, False))
    with pytest.raises(SegfoldError, match=says) as caught:
        score_submission(pred, tmp_path, STREETS, SHAPES)
    assert "\n" not in str(caught.value)


def test_known_pictures_in_another_unicode_form_and_what_is_no_zip(tmp_path: Path) -> None:
    pred, known = tmp_path / "s.zip", tmp_path / "known"
    known.mkdir()
    mask = random_masks(STREETS)["b"]
    write_submission(pred, [("caf\u00e9", mask)], STREETS, ["caf\u00e9"], lambda file: [], {})
    (known / "cafe\u0301.png").write_bytes(png(mask, True))
    assert score_submission(pred, known, STREETS, {"caf\u00e9": (6, 7)}).mean == 1
    with pytest.raises(SegfoldError, match=r"is no zip .*: expected a zip or a folder of masks"):
        score_submission(pred, Path(__file__), STREETS, {"caf\u00e9": (6, 7)})


def test_doubled_rows_of_known_masks(tmp_path: Path) -> None:
    pred, truth, _, _ = both(tmp_path, ORGANS)
    truth.write_text(truth.read_text() + "b,stomach,1 1\n")
    with pytest.raises(SegfoldError, match="b, stomach more than once"):
        score_submission(pred, truth, ORGANS, SHAPES)
