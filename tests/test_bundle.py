"""A recipe's bundle on a host without internet: its notebook predicts what is mounted, from what lies in the bundle alone."""

import csv
import json
import shutil
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest

from bundled import make_recipe, mount, run_notebook, same_host
from made_run import made_run
from segfold import road
from segfold.bundling.applying import apply, predict_share
from segfold.bundling.contents import competition_files, read_applied
from segfold.bundling.making import BundleOptions, TimeLimit, bundle_recipe
from segfold.bundling.mounted import caches_in, lay_out, link_data
from segfold.bundling.pace import Pace
from segfold.bundling.packing import MANIFEST, check_files, read_manifest
from segfold.competition import load_competition
from segfold.data.cache import cache_folder
from segfold.data.images import load_split
from segfold.ensemble.recipe import read_recipe
from segfold.errors import SegfoldError
from segfold.files import read_json, write_json
from segfold.observer import Observer
from segfold.store import Shard
from segfold.submission.blended import SubmissionOptions
from small_project import make_project
from tiny_competition import write_image

RECIPE = Path("submissions/ours.recipe.yaml")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    make_recipe(home)
    return home


@pytest.fixture(scope="module")
def options(home: Path) -> BundleOptions:
    return BundleOptions(host=same_host(home / "host.txt"), force=True)


@pytest.fixture(scope="module")
def bundle(home: Path, options: BundleOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, unpacked."""
    made = bundle_recipe(RECIPE, options, home)
    folder = tmp_path_factory.mktemp("bundle") / "ours"
    with zipfile.ZipFile(made.written.path) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def expected(home: Path) -> dict[str, str]:
    """The rows that the recipe gives at home, by id."""
    made = road.submit((), SubmissionOptions(recipe=RECIPE, name="expected", force=True), home)
    return dict(rows(made.written.path))


def rows(path: Path) -> list[tuple[str, str]]:
    found = [(row[0], row[1]) for row in csv.reader(path.open())]
    assert found[0] == ("id", "rle_mask")
    return found[1:]


def test_the_notebook_writes_the_submission_without_network_and_training_images(
    home: Path, bundle: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    mount(home, tmp_path / "input")
    shutil.copytree(bundle, tmp_path / "input/ours")
    for path in (tmp_path / "input").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    done = run_notebook(bundle / "notebook/notebook.ipynb", tmp_path / "input", tmp_path / "working")
    for path in (tmp_path / "input").rglob("*"):
        path.chmod(0o755)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (tmp_path / "working/submission.csv").read_bytes() == (home / "submissions/expected.csv").read_bytes()
    assert any(expected.values()) and "6 images predicted" in done.stdout
    assert [path.name for path in (tmp_path / "working").iterdir()] == ["submission.csv"]


def test_notebook_and_metadata_are_what_jupyter_and_kaggle_read(bundle: Path) -> None:
    nbformat.validate(nbformat.read(bundle / "notebook/notebook.ipynb", 4))
    kernel = json.loads((bundle / "notebook/kernel-metadata.json").read_text())
    assert kernel["competition_sources"] == ["small-slug"] and kernel["enable_internet"] is False


def test_a_bundle_holds_of_the_runs_only_what_predicts(home: Path, bundle: Path) -> None:
    held = {path.relative_to(bundle / "runs").as_posix() for path in (bundle / "runs").rglob("*") if path.is_file()}
    folds = {f"small/fold{fold}/{name}" for fold in (0, 1) for name in ("done.json", "model.safetensors")}
    assert held == {"small/config.yaml", "small/run.json", "small/environment.json"} | folds
    assert read_recipe(bundle / "recipe.yaml").members["small"].run == "runs/small"
    check_files(bundle, read_manifest(bundle / MANIFEST, "files"), "ours")


def test_more_images_than_were_known_and_fewer_than_the_sample_names(
    home: Path, bundle: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    root = mount(home, tmp_path / "input")
    order = list(expected)
    (root / f"test/images/{order[1]}.png").unlink()
    shutil.copy(root / f"test/images/{order[0]}.png", root / "test/images/another.png")
    (tmp_path / "scratch").mkdir()
    made = apply(bundle, tmp_path / "input", tmp_path, tmp_path / "scratch")
    assert (made.images, made.blank, made.added) == (6, 1, 1)
    assert rows(made.path) == [
        *((name, "" if name == order[1] else expected[name]) for name in order),
        ("another", expected[order[0]]),
    ]


def test_a_sample_of_other_images_keeps_its_rows(home: Path, bundle: Path, tmp_path: Path) -> None:
    """Where the host shows no test image until the notebook is submitted, it runs through."""
    root = mount(home, tmp_path / "input")
    shutil.rmtree(root / "test/images")
    (tmp_path / "scratch").mkdir()
    made = apply(bundle, tmp_path / "input", tmp_path, tmp_path / "scratch")
    assert rows(made.path) == [(name, "") for name, _ in rows(root / "sample_submission.csv")]
    shutil.rmtree(root)
    with pytest.raises(SegfoldError, match=r"^no test images of Small in .*: add the competition as an input"):
        apply(bundle, tmp_path / "input", tmp_path, tmp_path / "scratch")


def test_an_image_of_another_size_is_predicted_at_its_own(home: Path, bundle: Path, tmp_path: Path) -> None:
    root = mount(home, tmp_path / "input")
    shutil.rmtree(root / "test/images")
    write_image(root / "test/images/wide.png", np.full((20, 30, 3), 90, np.uint8))
    (root / "sample_submission.csv").write_text("id,rle_mask\nwide,1 1\n")
    (tmp_path / "scratch").mkdir()
    assert [name for name, _ in rows(apply(bundle, tmp_path / "input", tmp_path, tmp_path / "scratch").path)] == [
        "wide"
    ]


def test_what_will_not_fit_is_refused_before_anything_is_written(home: Path, options: BundleOptions) -> None:
    (home / "bundles/late.zip").unlink(missing_ok=True)
    late = BundleOptions("late", host=options.host)
    with pytest.raises(SegfoldError, match=r"^9,000,000 images through 2 networks take [0-9.]+ h at .* s an image"):
        bundle_recipe(RECIPE, late, home, TimeLimit(3600, 9_000_000))
    assert not (home / "bundles/late.zip").exists()
    made = bundle_recipe(RECIPE, late, home, TimeLimit(36000, device="cpu"))
    assert made.images == 6 and made.pace is not None and made.needed == 6 * made.pace.seconds
    for fold in (0, 1):
        place = home / f"runs/small/fold{fold}/pred/model-identity+hflip"
        write_json(place / "test.seconds.json", {"seconds": 0.25, "images": 6, "device": "T4"})
    made = bundle_recipe(RECIPE, BundleOptions("late", host=options.host, force=True), home, TimeLimit(36000, 8))
    assert made.pace is not None and made.pace == Pace(0.5, 2, "T4") and made.needed == 4.0


def test_a_damaged_weight_is_named(home: Path, bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "ours")
    path = tmp_path / "ours/runs/small/fold1/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(SegfoldError, match=r"'runs/small/fold1/model\.safetensors' is damaged"):
        check_files(tmp_path / "ours", read_manifest(tmp_path / "ours" / MANIFEST, "files"), "ours")


def test_a_taken_name_is_refused(home: Path, options: BundleOptions, bundle: Path) -> None:
    with pytest.raises(SegfoldError, match=r"ours.zip is there already: replace it with --force"):
        bundle_recipe(RECIPE, BundleOptions(host=options.host), home)


class Lines(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_shares_of_several_gpus_are_the_whole(
    home: Path, bundle: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    root, scratch = mount(home, tmp_path / "input"), tmp_path / "scratch"
    scratch.mkdir()
    lay_out(bundle, scratch)
    link_data(load_competition("small", scratch), root, scratch)
    assert [predict_share(scratch, Shard(number, 2)) for number in (1, 2)] == [1, 1]
    told = Lines()
    assert dict(rows(apply(bundle, tmp_path / "input", tmp_path, scratch, told).path)) == expected
    assert not [line for line in told.lines if line.startswith("predicting")]


def test_a_recipe_is_applied_without_the_training_images(home: Path, expected: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(home, tmp_path / "home", ignore=shutil.ignore_patterns("cache", "train", "train.csv"))
    options = SubmissionOptions(recipe=RECIPE, name="alone", without_train=True)
    made = road.submit((), options, tmp_path / "home")
    assert dict(rows(made.written.path)) == expected and made.empty_truth is None
    before = read_json(home / "submissions/expected.json")
    assert made.written.manifest["data"] == before["data"] and made.written.manifest["recipe"] == before["recipe"]
    with pytest.raises(SegfoldError, match=r"^--without-train applies a recipe: name it with --recipe FILE"):
        road.submit([tmp_path / "home/runs/small"], SubmissionOptions(without_train=True), tmp_path / "home")


def test_hidden_tables_are_scaled_as_those_of_the_training(tmp_path: Path) -> None:
    home = make_project(tmp_path)
    path = home / "configs/competitions/small.yaml"
    path.write_text(path.read_text() + "tables: {depth: {file: depths.csv, column: z}}\n")
    names = sorted({each.stem for each in (home / "data/small").glob("*/images/*.png")})
    table = home / "data/small/depths.csv"
    table.write_text("\n".join(["id,z", *(f"{name},{50 + row}" for row, name in enumerate(names))]) + "\n")
    made_run(home, "deep", "input.channels=[image,depth]")
    road.submit([home / "runs/deep"], SubmissionOptions(name="deep"), home)
    files = competition_files(read_applied(Path("submissions/deep.recipe.yaml"), home).entries, home)
    text = files["configs/competitions/small.yaml"]
    assert isinstance(text, bytes)
    path.write_bytes(text)
    table.write_text(table.read_text().replace(",50\n", ",-900\n"))
    assert load_split(load_competition("small", home), "test", home).limits == {"depth": (50, 49 + len(names))}


def test_caches_lie_elsewhere_only_while_a_bundle_is_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (None, str(tmp_path / "own")):
        monkeypatch.delenv("SEGFOLD_CACHE", raising=False)
        if before is not None:
            monkeypatch.setenv("SEGFOLD_CACHE", before)
        usual = cache_folder(tmp_path / "data")
        with caches_in(tmp_path / "scratch"):
            assert cache_folder(tmp_path / "data").is_relative_to(tmp_path / "scratch/cache")
        assert cache_folder(tmp_path / "data") == usual
