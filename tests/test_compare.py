"""Two runs or ensembles are compared on the images of both, by what each image scores by hand."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from made_run import bright, made_run
from segfold.cli import main
from segfold.comparison.compare import compare
from segfold.comparison.side import read_side
from segfold.competition import load_competition
from segfold.data.images import ImageSet, load_split
from segfold.errors import SegfoldError
from small_project import make_project

Compare = Callable[..., tuple[int, str, str]]


def shy(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
    """The truth of the large discs; nothing of the others."""
    return bright(name, mask if mask is not None and mask.mean() > 0.2 else np.zeros((28, 26), np.uint8), fold)


def doubtful(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
    """The truth at a threshold between 0.55 and 0.7; one half takes everything."""
    return np.where(bright(name, mask, fold) > 0.5, 0.7, 0.55)


def speckled(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
    """The truth, but for a third of the pixels, which are as sure of the contrary."""
    sound = np.random.default_rng(len(name) + fold).random((28, 26)) > 0.33
    return np.where((bright(name, mask, fold) > 0.5) == sound, 0.6, 0.4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Depths, and runs: ``good`` of both folds, ``shy`` with other settings, ``half`` of one fold, ``doubtful``."""
    home = make_project(tmp_path_factory.mktemp("made"))
    file = home / "configs/competitions/small.yaml"
    file.write_text(file.read_text() + "tables:\n  depth: {file: depths.csv, column: z}\n")
    named = {
        split: sorted(path.stem for path in (home / f"data/small/{split}/images").iterdir())
        for split in ("train", "test")
    }
    depths = dict.fromkeys(named["test"], 999) | {name: 10 * number for number, name in enumerate(named["train"])}
    lines = [f"{name},{depth}" for name, depth in depths.items()]
    (home / "data/small/depths.csv").write_text("\n".join(["id,z", *lines]) + "\n")
    made_run(home, "good")
    made_run(home, "shy", "seed=1", "model.dropout=0.2", paint=shy)
    made_run(home, "half", "seed=2", folds=(1,), paint=shy)
    made_run(home, "doubtful", "seed=3", paint=doubtful)
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Compare:
    def go(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return main(list(arguments)), *capsys.readouterr()

    return go


def truth(home: Path) -> ImageSet:
    return load_split(load_competition("configs/competitions/small.yaml", home), "train", home)


def by_hand(train: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    """Scores of ``good`` and ``shy`` for each image: all right, or nothing where a small disc is."""
    small = np.array([0 < mask.mean() <= 0.2 for mask in train.masks or ()])
    return np.ones(len(train)), np.where(small, 0.0, 1.0)


def test_scores_and_tables_are_those_by_hand(home: Path) -> None:
    train = truth(home)
    good, other = by_hand(train)
    found = compare(Path("runs/shy"), Path("runs/good"), home, draws=500)
    assert found.a.ids == found.b.ids == train.ids.tolist()
    assert (found.a.features[:, 0] == other).all() and (found.b.features[:, 0] == good).all()
    missed = float(np.mean(good - other))
    assert 0 < missed < 1 and found.found.difference == pytest.approx(missed)
    assert found.found.standard_error == pytest.approx(np.std(good - other) / np.sqrt(20), rel=0.1)
    assert found.line.startswith(f"good beats shy by {missed:.4f} ± ") and "on 20 images" in found.line
    turned = compare(Path("runs/good"), Path("runs/shy"), home, draws=500)
    assert turned.line == found.line

    coverage, depth = found.tables
    assert coverage.title == "coverage" and depth.title == "depth"
    for table in found.tables:
        assert sum(group.found.images for group in table.groups) == 20
        assert sum(group.adds for group in table.groups) == pytest.approx(missed)
    empty, least, less, *rest = coverage.groups
    assert (empty.name, empty.found.images) == ("empty", int((train.coverage == 0).sum()))
    assert empty.found.difference == 0 and least.name == "0 to 10 %"
    assert least.adds + less.adds == pytest.approx(missed) and least.found.a.mean == less.found.a.mean == 0
    assert rest and all(group.found.difference == 0 for group in rest)
    names = [group.name for group in depth.groups]
    assert names == ["0 to 30", "40 to 70", "80 to 110", "120 to 150", "160 to 190"]
    last = np.isin(train.extra["depth"].to_numpy(), [160, 170, 180, 190])
    assert depth.groups[-1].found.a.mean == pytest.approx(other[last].mean())


def test_settings_that_differ_are_named(home: Path) -> None:
    found = compare(Path("runs/good"), Path("runs/shy"), home, draws=50)
    assert {path: values for path, *values in found.differing} == {"model.dropout": [0.1, 0.2], "seed": [0, 1]}


def test_command_says_it(home: Path, run: Compare) -> None:
    code, out, _ = run("compare", "runs/good", "runs/shy")
    assert code == 0 and "good beats shy by 0." in out and "probability" in out
    assert "model.dropout" in out and "by depth" in out and "by coverage" in out
    assert "160 to 190" in out


def test_images_that_one_lacks_are_left_out(home: Path) -> None:
    found = compare(Path("runs/good"), Path("runs/half"), home, draws=50)
    assert found.found.images == len(found.b.ids) == 10
    assert found.remarks == ["good predicts 10 further images, which are left out here"]
    assert (found.a.folds, found.b.folds) == ([0, 1], [1])


def test_recipes_and_submissions_are_scored_as_they_decide(home: Path, run: Compare) -> None:
    code, _, error = run("submit", "--ensemble", "runs/doubtful", "--name", "d", "--steps")
    assert code == 0, error
    recipe, run_folder = Path("submissions/d.recipe.yaml"), Path("runs/doubtful")
    threshold = read_side(recipe, home).gathered.recipe
    assert threshold is not None and 0.55 < float(threshold.threshold or 0) < 0.7
    for ensemble in (recipe, Path("submissions/d.csv"), Path("submissions/d.json")):
        found = compare(run_folder, ensemble, home, draws=50)
        assert found.found.b.mean == 1 and found.found.a.mean == 0 and found.b.name == "d"
        assert [path for path, *_ in found.differing] == ["masks"]
    plain = compare(run_folder, recipe, home, "plain", draws=50)
    assert plain.found.b.mean == 0 and plain.line == "doubtful and d score alike on each of 20 images"
    assert read_side(run_folder, home, "nested").features.mean() == 1  # each part by a threshold chosen on the others


def test_a_costly_step_is_chosen_anew_only_for_a_recipe_that_takes_it(home: Path, run: Compare) -> None:
    made_run(home, "speckled", "seed=4", paint=speckled)
    assert run("submit", "--ensemble", "runs/speckled", "--name", "d", "--steps")[0] == 0
    plain = Path("submissions/d.recipe.yaml")
    Path("crf.yaml").write_text(plain.read_text().replace("steps: {}", "steps: {crf: {}}"))
    without, taken = (read_side(path, home, "nested") for path in (plain, Path("crf.yaml")))
    assert taken.features.mean() > without.features.mean() + 0.1
    assert taken.masks == f"{without.masks}, crf tried too"


def test_ensembles_differ_in_members_and_weights(home: Path, run: Compare) -> None:
    assert run("submit", "--ensemble", "runs/good", "runs/shy", "--weights", "3", "1", "--name", "e", "--steps")[0] == 0
    found = compare(Path("runs/good"), Path("submissions/e.recipe.yaml"), home, draws=50)
    assert ("members.good", 1.0, 3.0) in found.differing and ("members.shy", None, 1.0) in found.differing


def test_blend_is_combined_as_its_recipe_says(home: Path, run: Compare) -> None:
    """A mean of .9 and .1 is foreground at .45, the geometric one is not."""
    equal = "--weights", "1", "1", "--threshold", "0.45", "--steps"
    assert run("submit", "--ensemble", "runs/good", "runs/shy", "--name", "m", *equal)[0] == 0
    text = (home / "submissions/m.recipe.yaml").read_text()
    (home / "geometric.yaml").write_text(text.replace("combine: mean", "combine: geometric"))
    found = compare(Path("geometric.yaml"), Path("submissions/m.recipe.yaml"), home, draws=50)
    good, other = by_hand(truth(home))
    assert (found.b.features[:, 0] == good).all() and (found.a.features[:, 0] == other).all()
    assert ("combine", "geometric", "mean") in found.differing


def test_what_cannot_be_compared_is_refused_by_name(home: Path, run: Compare) -> None:
    for path, word in (("runs/none", "runs/none"), ("submissions/x.csv", "submissions/x.csv does not exist")):
        code, out, error = run("compare", "runs/good", path)
        assert code == 2 and word in error and not out.startswith("good")
    (home / "submissions").mkdir()
    (home / "submissions/x.csv").write_text("id,rle_mask\n")
    code, _, error = run("compare", "runs/good", "submissions/x.csv")
    assert code == 2 and "no recipe beside it" in error
    shutil.rmtree(home / "runs/shy/fold1")
    code, _, error = run("compare", "runs/half", "runs/shy")
    assert code == 2 and "no image is predicted out of fold by both runs/half and runs/shy" in error
    file = home / "configs/competitions/small.yaml"
    (home / "configs/competitions/other.yaml").write_text(file.read_text().replace("name: small", "name: other"))
    shutil.copytree(home / "data/small", home / "data/other")
    made_run(home, "away", "competition=configs/competitions/other.yaml")
    with pytest.raises(SegfoldError, match="runs/good is of small, runs/away of other"):
        compare(Path("runs/good"), Path("runs/away"), home)


def test_groups_are_drawn_together(home: Path) -> None:
    """Of two halves of the images, drawn whole, there are but three draws."""
    alone = compare(Path("runs/shy"), Path("runs/good"), home, draws=400)
    file = home / "configs/competitions/small.yaml"
    file.write_text(file.read_text() + "groups: {file: groups.csv, column: patient}\n")
    lines = [f"{name},{'early' if number < 10 else 'late'}" for number, name in enumerate(alone.a.ids)]
    (home / "data/small/groups.csv").write_text("\n".join(["id,patient", *lines]) + "\n")
    found = compare(Path("runs/shy"), Path("runs/good"), home, draws=400)
    assert "images of a group are drawn together: 2 groups" in found.remarks
    difference = (found.b.features - found.a.features)[:, 0]
    halves = difference[:10].mean(), difference[10:].mean()
    assert (found.found.low, found.found.high) == pytest.approx((min(halves), max(halves)))
    assert found.found.difference == pytest.approx(alone.found.difference)


def test_metric_that_is_a_ratio_of_sums(home: Path) -> None:
    """IoU over the set: what is missed are the pixels of the small discs."""
    file = home / "configs/competitions/small.yaml"
    file.write_text(file.read_text().replace("metric: precision", "metric: miou"))
    found = compare(Path("runs/shy"), Path("runs/good"), home, draws=200)
    train = truth(home)
    assert train.areas is not None
    areas, small = train.areas[:, 0], by_hand(train)[1] == 0
    assert found.found.b.mean == 1 and found.found.a.mean == pytest.approx(1 - areas[small].sum() / areas.sum())
    assert sum(group.adds for group in found.tables[0].groups) == pytest.approx(found.found.difference)
    assert found.found.difference > found.found.standard_error > 0
