"""The difference between two submissions of any form, against their masks and the score of one held to the other."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from segfold.cli import main
from segfold.competition import Competition
from segfold.errors import SegfoldError
from segfold.submission.difference import Change, draw_difference, find_difference, read_masks, stated_shapes
from segfold.submission.score import score_submission
from segfold.submission.write import write_submission
from small_images import image_set, store
from small_project import make_project
from submission_forms import ALL, IDS, SHAPES, competition, plane, random_masks


def submission(path: Path, given: Competition, masks: dict[str, np.ndarray]) -> Path:
    path = path.with_suffix(".zip" if given.form.form == "png" else ".csv")
    write_submission(path, masks.items(), given, list(masks), lambda file: [], {})
    return path


def two(tmp_path: Path, given: Competition) -> tuple[Path, Path, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Submissions that differ in a corner of ``b`` and in half of the last image, and not in the other."""
    before, after = random_masks(given, 1), random_masks(given, 1)
    other = random_masks(given, 2)
    after["b"][:2, :3] = other["b"][:2, :3]
    after[IDS[-1]][3:] = 1
    return submission(tmp_path / "a", given, before), submission(tmp_path / "b", given, after), before, after


@pytest.mark.parametrize("name", ALL)
def test_every_form(tmp_path: Path, name: str) -> None:
    given = ALL[name]
    one, other, before, after = two(tmp_path, given)
    found = find_difference(one, other, given, SHAPES)
    assert found.score == score_submission(other, one, given, SHAPES)
    rows = given.task.rows

    def areas(mask: np.ndarray) -> tuple[int, ...]:
        return tuple(int(plane(given, mask, label).sum()) for label in rows)

    expected = {
        image: (int((before[image] != after[image]).sum()), areas(before[image]), areas(after[image]))
        for image in ("b", IDS[-1])
    }
    assert {change.image: (change.pixels, change.before, change.after) for change in found.changes} == expected
    assert [change.score for change in found.changes] == sorted(change.score for change in found.changes)
    for change in found.changes:
        alone = {change.image: after[change.image]}, {change.image: before[change.image]}
        paths = [submission(tmp_path / f"alone{number}", given, masks) for number, masks in enumerate(alone)]
        shape = {change.image: SHAPES[change.image]}
        assert change.score == pytest.approx(score_submission(*paths, given, shape).mean, abs=1e-12)
    for path, masks in ((one, before), (other, after)):
        for read, image in zip(read_masks(path, IDS, given, SHAPES), IDS):
            np.testing.assert_array_equal(given.task.planes(read), given.task.planes(masks[image]))
    assert find_difference(one, one, given, SHAPES).changes == []


def test_objects_told_apart_in_another_way(tmp_path: Path) -> None:
    given = competition(rows="instance", metric="object_f2")
    apart, joined = tmp_path / "apart.csv", tmp_path / "joined.csv"
    apart.write_text("id,rle_mask\na,1 2\na,3 2\nb,\n")
    joined.write_text("id,rle_mask\na,1 4\nb,\n")
    (change,) = find_difference(apart, joined, given, {"a": (2, 2), "b": (2, 2)}).changes
    assert change == Change("a", 0.0, 0, (4,), (4,))


def test_what_cannot_be_compared_is_one_line(tmp_path: Path) -> None:
    given = ALL["steel"]
    one, other, before, _ = two(tmp_path, given)
    less = submission(tmp_path / "less", given, {name: mask for name, mask in before.items() if name != "b"})
    with pytest.raises(SegfoldError, match=r"less\.csv cannot be compared: missing"):
        find_difference(one, less, given, SHAPES)
    with pytest.raises(SegfoldError, match="there are no images"):
        empty = submission(tmp_path / "empty", given, {})
        find_difference(empty, empty, given, {})
    with pytest.raises(SegfoldError, match=r"does not say how large its masks are: import the test images of x"):
        stated_shapes(other, given)


def test_sizes_that_a_submission_says_itself(tmp_path: Path) -> None:
    one, *_ = two(tmp_path, ALL["streets"])
    assert stated_shapes(one, ALL["streets"]) == SHAPES
    sized = competition(submission={"size": [3, 5]}, key="{id}.jpg")
    path = submission(tmp_path / "sized", sized, random_masks(sized))
    assert stated_shapes(path, sized) == dict.fromkeys(IDS, (3, 5))


@pytest.mark.parametrize("name", ["steel", "streets"])
def test_drawn_on_the_images_or_on_grey(tmp_path: Path, name: str) -> None:
    given = ALL[name]
    one, other, *_ = two(tmp_path, given)
    found = find_difference(one, other, given, SHAPES)
    images = image_set(
        3, ids=np.array(IDS, object), images=store([np.full((*SHAPES[n], 3), 90, np.uint8) for n in IDS]), masks=False
    )
    grey = draw_difference(found.changes, one, other, given, SHAPES, None)
    drawn = draw_difference(found.changes, one, other, given, SHAPES, images)
    assert grey.shape == drawn.shape and not np.array_equal(grey, drawn)
    # Two images, each with two masks: four cells that are not the same.
    width = (drawn.shape[1] - 4) // 4
    cells = [drawn[22:182, 4 + width * cell : width * (cell + 1)] for cell in range(4)]
    assert not np.array_equal(cells[0], cells[1]) and not np.array_equal(cells[2], cells[3])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    home = make_project(tmp_path)
    monkeypatch.chdir(home)
    monkeypatch.setenv("COLUMNS", "200")
    truth = home / "data/small/solution.csv"
    lines = truth.read_text().splitlines()
    names = [line.split(",")[0] for line in lines[1:]]
    filled = next(place for place, line in enumerate(lines) if place and line.split(",")[1])
    emptied = [f"{names[filled - 1]}," if place == filled else line for place, line in enumerate(lines)]
    (home / "submissions").mkdir()
    first, second = home / "submissions/first.csv", home / "submissions/second.csv"
    shutil.copy(truth, first)
    second.write_text("\n".join(emptied) + "\n")
    arguments = ["submit", "--diff", "submissions/first.csv", "submissions/second.csv", "--competition", "small"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "1 of 6 images changed" in out and "0.8333 ± 0.1667" in out and "1 emptied, 0 no longer empty" in out
    assert names[filled - 1] in out and "submissions/first-vs-second.png: 1 image," in out
    assert cv2.imread(str(home / "submissions/first-vs-second.png")).shape[1] == 4 + 2 * 164
    assert main([*arguments[:3], arguments[2], "--competition", "small", "--out", "no.png"]) == 0
    assert "the same masks of all 6 images" in capsys.readouterr().out and not (home / "no.png").exists()
    for more, says in (
        (["--ensemble", "runs/x"], "leave --ensemble and --recipe out"),
        (["--images", "0"], "expected 1 to 200"),
    ):
        assert main([*arguments, *more]) == 2
        err = capsys.readouterr().err
        assert says in err and len(err.splitlines()) == 1
    shutil.rmtree(home / "data")
    assert main(arguments) == 2
    assert "does not say how large its masks are" in capsys.readouterr().err
