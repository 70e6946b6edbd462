"""``segfold data --guess`` on the tiny sets of known competitions: a file that loads, and finds the same masks."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from competition_sets import TinySet
from competition_sets_more import MAKERS
from segfold.competition import Competition, load_competition
from segfold.data.images import ImageSet, load_split
from segfold.importing.guess import guess
from segfold.importing.kaggle import import_data

FILLED_IN = {"name", "title", "slug", "source", "unconfirmed", "classes", "metric", "background", "leaderboard"}
"""What nobody can guess."""

SUGGESTED = {"groups", "group_pattern", "group_column", "tables"}
"""What stands in a comment: whether images that share something are alike, and whether a number helps, is for people."""

IN_PART: dict[str, set[str]] = {
    "clouds": {"submission"},  # nothing says that masks are wanted at another size
    "contrails": {"frame", "values", "submission"},  # nor which of eight times is drawn on, nor what stands for empty
    "siim-pneumothorax": {"submission"},  # nor that a row of the submission is a whole image
    "uw-madison-gi": {"id", "train_images", "test_images"},  # the same ids, put together of other fields
}
"""Keys that are guessed in part, or otherwise; of the other competitions, and other keys, all are as in their files."""


def guessed(root: Path, home: Path) -> Competition:
    """The competition of a guess, through its file."""
    path = home / "guessed.yaml"
    path.write_text(guess(root))
    return load_competition(str(path))


def imported(competition: Competition, root: Path, home: Path) -> ImageSet:
    """The training images of a set that the competition's file brings in; no image may lack or add a mask."""
    import_data(competition, root, home, say=lambda line: None)
    return load_split(competition, "train", home)


def state(root: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in [root, *root.rglob("*")])


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, TinySet]]:
    found = {}
    for name, maker in MAKERS.items():
        root = tmp_path_factory.mktemp(name) / "download"
        root.mkdir()
        found[name] = root, maker(root, np.random.default_rng(3))
    return found


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_a_guess_imports_the_same_masks(name: str, sets: dict[str, tuple[Path, TinySet]], tmp_path: Path) -> None:
    root, made = sets[name]
    before = state(root)
    competition = guessed(root, tmp_path)
    assert state(root) == before, "something below the path was changed"
    images = imported(competition, root, tmp_path)
    assert images.masks is not None and set(images.ids) == set(made.masks)
    for row, each in enumerate(images.ids):
        assert np.array_equal(images.masks[row], made.masks[each]), each
        if made.objects:
            assert images.instances is not None
            pairs = set(zip(images.instances[row].ravel().tolist(), made.objects[each].ravel().tolist()))
            assert len({left for left, _ in pairs}) == len(pairs) == len({right for _, right in pairs})
        if made.held_out:
            assert images.held_out is not None and images.held_out[row] == (each in made.held_out)
    assert set(load_split(competition, "test", tmp_path).ids) == set(made.test)


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_what_is_guessed_is_as_in_the_competitions_file(
    name: str, sets: dict[str, tuple[Path, TinySet]], tmp_path: Path
) -> None:
    found, wanted = meaning(guessed(sets[name][0], tmp_path)), meaning(load_competition(name))
    differing = {key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key)}
    assert differing - FILLED_IN - SUGGESTED == IN_PART.get(name, set())


def meaning(competition: Competition) -> dict[str, Any]:
    """What a competition's file says, spelled in one way, with defaults."""
    layout, form = competition.layout, competition.form
    found = competition.model_dump(by_alias=True, exclude=set(competition.model_extra or ()) | {"submission"})
    patterns = {}
    for key in ("train_images", "test_images", "validation_images"):
        if (paths := getattr(layout, key, None)) is not None:
            patterns[key] = [band.text for band in layout._bands(paths)]  # type: ignore[attr-defined]
    for key in ("train_masks", "validation_masks"):
        if (path := getattr(layout, key, None)) is not None:
            patterns[key] = layout._mask_pattern(path, ()).text  # type: ignore[attr-defined]
    for key in ("images", "masks", "splits", "lists"):
        if hasattr(layout, key):
            patterns[key] = getattr(getattr(layout, key), "text", getattr(layout, key))
    ids = getattr(layout, "ids", None)
    return {
        **found,
        **patterns,
        "count of classes": len(competition.classes),
        "table": replace(layout.table, rows=layout.table.row, mask_column=layout.table.mask_column.strip()),
        "sample": layout.sample,
        "unlisted": layout.unlisted,
        "id": None if ids is None else ids.text,
        "submission": form,
    }


def test_the_comments_say_what_was_found(sets: dict[str, tuple[Path, TinySet]]) -> None:
    text = guess(sets["carvana"][0])
    assert "10 training images: train/*.jpg" in text and "32×40 (height×width), 3×uint8 (10)" in text
    assert "4 test images" in text and "10 mask files: train_masks/*.gif of 10 images" in text
    assert "train_masks.csv: 10 rows of img, rle_mask; 10 images, 0% of them empty" in text
    assert "rle_order: row   # 10 of 10 mask files are just what the table says, read so" in text
    text = guess(sets["tgs-salt"][0])
    assert "10 images, 40% of them empty" in text and "values 0 (" in text and "65535 (" in text
    assert "#   z: {file: depths.csv, column: z}" in text
    text = guess(sets["uw-madison-gi"][0])
    assert "1×uint16" in text and "# white: 16383" in text and "no value is above 15300" in text
    assert "# group_pattern: '^([^_]+)_'" in text
    text = guess(sets["hubmap-kidney"][0])
    assert "# groups: {file: HuBMAP-20-dataset_information.csv, column: patient_number" in text
    text = guess(sets["siim-pneumothorax"][0])
    assert "empty cells: -1 (5)" in text and "several rows an image" in text


def test_most_of_a_large_set_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 400 images a few are decoded, and the text says how many."""
    root = tmp_path / "large"
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for number in range(400):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(root / "images" / f"{number:03d}.png")
        Image.fromarray(rng.integers(0, 2, (8, 8)).astype(np.uint8)).save(root / "masks" / f"{number:03d}.png")
    opened: list[str] = []
    real = Path.read_bytes

    def read(path: Path) -> bytes:
        opened.append(os.fspath(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    text = guess(root)
    assert "400 training images" in text and "24 files were read" in text and "400 mask files" in text
    assert len({path for path in opened if "/images/" in path}) == 24
    assert len({path for path in opened if "/masks/" in path}) < 200
