"""Ids beyond ASCII: files, tables, zips and submissions meet whichever Unicode form each of them is in."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from import_files import contents, kaggle_files, set_fields, write_files, zipped
from segfold.data.images import ImageSet, load_split
from segfold.errors import SegfoldError
from segfold.importing.check import data_problems
from segfold.importing.kaggle import import_data
from segfold.layouts.ids import one_form
from segfold.layouts.table import read_table
from segfold.submission.check import shapes_by_id, submission_problems
from segfold.submission.score import score_submission
from segfold.submission.write import write_submission
from tiny_competition import TINY, write_tiny

# An accent, a syllable of three letters, a sign whose composed form is another letter.
NAMES = {"0b": "café", "nan": "한글", "zz": "5\u212b"}
FORMS = ("NFC", "NFD", "typed")
UTF8_FLAG = 1 << 11


def spelled(form: str, text: str) -> str:
    return text if form == "typed" else unicodedata.normalize(form, text)  # type: ignore[arg-type]


def renamed(files: dict[str, bytes], names: str, tables: str) -> dict[str, bytes]:
    """Files of ``write_tiny`` under other ids, in a form in the names of files and in one in the tables."""
    result = {}
    for path, data in files.items():
        for old, new in NAMES.items():
            path = path.replace(f"/{old}.png", f"/{spelled(names, new)}.png")
            if path.endswith(".csv"):
                data = data.replace(f"\n{old},".encode(), f"\n{spelled(tables, new)},".encode())
        result[path] = data
    return result


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("raw")
    write_tiny(root)
    return contents(root)


@pytest.fixture(scope="module")
def expected(plain: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, ImageSet]:
    """What the same pixels load as under ASCII ids."""
    home = tmp_path_factory.mktemp("ascii")
    write_files(home / "data" / "tiny", plain)
    return {split: load_split(TINY, split, home) for split in ("train", "test")}  # type: ignore[arg-type]


def check_loaded(home: Path, expected: dict[str, ImageSet]) -> str:
    """The loaded splits are the expected ones under composed ids; returns the fingerprint of the first."""
    for split, plain in expected.items():
        found = load_split(TINY, split, home)  # type: ignore[arg-type]
        names = {one_form(NAMES.get(name, name)): row for row, name in enumerate(plain.ids)}
        assert list(found.ids) == sorted(names)
        for row, name in enumerate(found.ids):
            assert np.array_equal(found.images[row], plain.images[names[name]])
            assert found.extra.loc[name, "depth"] == plain.extra["depth"].iloc[names[name]]
            if plain.masks is not None and found.masks is not None:
                assert np.array_equal(found.masks[row], plain.masks[names[name]])
    return load_split(TINY, "train", home).fingerprint


@pytest.mark.parametrize("tables", ["NFC", "NFD"])
@pytest.mark.parametrize("names", FORMS)
@pytest.mark.parametrize("packing", ["folder", "zip", "zip of macOS"])
def test_an_import_composes_ids(
    tmp_path: Path, plain: dict[str, bytes], expected: dict[str, ImageSet], packing: str, names: str, tables: str
) -> None:
    files = renamed(plain, names, tables)
    source = write_files(tmp_path / "raw", files)
    if packing != "folder":
        packed = {
            # macOS writes names in UTF-8 without the flag that says so.
            name: set_fields(data, 6, 8, 0, keep=~UTF8_FLAG & 0xFFFF) if packing == "zip of macOS" else data
            for name, data in kaggle_files(source).items()
        }
        source = tmp_path / "all.zip"
        source.write_bytes(zipped(packed))
    import_data(TINY, source, tmp_path)
    assert contents(tmp_path / "data" / "tiny") == {one_form(name): data for name, data in files.items()}
    check_loaded(tmp_path, expected)


@pytest.mark.parametrize("masks", ["files", "table"])
def test_a_folder_filled_by_hand(
    tmp_path: Path, plain: dict[str, bytes], expected: dict[str, ImageSet], masks: str
) -> None:
    prints = set()
    for names in FORMS:
        home = tmp_path / names
        files = renamed(plain, names, "NFC" if names == "NFD" else "NFD")
        write_files(home / "data" / "tiny", {n: d for n, d in files.items() if masks == "files" or "masks" not in n})
        assert data_problems(TINY, home) == []
        prints.add(check_loaded(home, expected))
        # Imported anew, it is the same data.
        if masks == "files":
            other = write_files(tmp_path / "other", renamed(plain, "NFC", "NFC" if names == "NFD" else "NFD"))
            assert "same data" in import_data(TINY, other, home)
    assert len(prints) == 1


def test_an_import_over_decomposed_names_leaves_one_of_each(tmp_path: Path, plain: dict[str, bytes]) -> None:
    write_files(tmp_path / "data" / "tiny", renamed(plain, "NFD", "NFC") | {"notes.txt": b"kept"})
    changed = renamed(plain, "NFC", "NFC") | {"depths.csv": plain["depths.csv"].replace(b"5", b"6")}
    changed["depths.csv"] = renamed({"depths.csv": changed["depths.csv"]}, "NFC", "NFC")["depths.csv"]
    import_data(TINY, write_files(tmp_path / "source", changed), tmp_path, force=True)
    assert contents(tmp_path / "data" / "tiny") == changed | {"notes.txt": b"kept"}


def test_one_id_in_two_forms_is_refused(tmp_path: Path, plain: dict[str, bytes]) -> None:
    both = renamed(plain, "NFC", "NFC") | {
        name: data for name, data in renamed(plain, "NFD", "NFC").items() if "train/images" in name
    }
    source = write_files(tmp_path / "source", both)
    with pytest.raises(SegfoldError, match="in two Unicode forms"):
        import_data(TINY, source, tmp_path)
    write_files(tmp_path / "data" / "tiny", both)
    assert any("in two Unicode forms" in problem for problem in data_problems(TINY, tmp_path))
    table = tmp_path / "t.csv"
    table.write_text("id,fold\n" + "".join(f"{spelled(form, 'é')},0\n" for form in ("NFC", "NFD")))
    with pytest.raises(SegfoldError, match="more than once"):
        read_table(table, ["id", "fold"])


def test_a_name_that_is_not_utf8(tmp_path: Path, plain: dict[str, bytes]) -> None:
    root = write_files(tmp_path / "data" / "tiny", plain)
    try:
        (root / "train" / "images" / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(SegfoldError, match=r"not UTF-8: rename"):
        load_split(TINY, "train", tmp_path)
    assert any(r"\udcff.png" in problem for problem in data_problems(TINY, tmp_path))


@pytest.mark.parametrize("form", FORMS)
def test_a_submission_spells_ids_as_the_sample_does(tmp_path: Path, plain: dict[str, bytes], form: str) -> None:
    """The host compares bytes."""
    write_files(tmp_path / "data" / "tiny", renamed(plain, "NFC", form))
    test = load_split(TINY, "test", tmp_path)
    order = list(read_table(tmp_path / "data/tiny/sample_submission.csv", ["id"], spelled=True)["id"])
    shapes = shapes_by_id(test, order)
    masks = {name: np.eye(*shape[:2], dtype=np.uint8) for name, shape in zip(test.ids, test.images.shapes)}
    path = tmp_path / "s.csv"
    write_submission(path, masks.items(), TINY, order, lambda file: submission_problems(file, TINY, shapes), {})
    written = [line.split(",")[0] for line in path.read_text().splitlines()[1:]]
    assert written == ["7e2", "NA", spelled(form, NAMES["zz"])]
    other = path.with_name("other.csv")
    other.write_text(spelled("NFC" if form == "NFD" else "NFD", path.read_text()))
    assert any("another Unicode form" in problem for problem in submission_problems(other, TINY, shapes))
    assert score_submission(path, other, TINY, shapes).mean == 1
