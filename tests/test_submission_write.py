"""The CSV and its manifest: whole, checked, in the order of the sample submission, or not there."""

import csv
import errno
import hashlib
import json

import numpy as np
import pytest

import segfold.submission.write as write_module
from segfold.competition import Competition
from segfold.errors import SegfoldError
from segfold.layouts.rle import decode
from segfold.submission.write import manifest_path, write_submission

ORDER = ["00123", "1e1000", "b", "NA"]
DETAILS = {"members": [{"run": "unet", "folds": [0, 1], "weight": 1.0}], "threshold": 0.5, "min_area": 0}


def competition(**changes):
    values = {"name": "x", "title": "X", "slug": "x", "layout": "kaggle-rle", "task": "binary"}
    return Competition(**{**values, "classes": ("salt",), "metric": "precision", **changes})


def masks():
    """In another order than the sample, and of different sizes."""
    rng = np.random.default_rng(0)
    return {
        "b": (rng.random((4, 6)) > 0.5).astype(np.uint8),
        "NA": np.zeros((3, 3), np.uint8),
        "00123": np.ones((2, 5), np.uint8) * 255,
        "1e1000": np.asfortranarray(rng.random((5, 4)) > 0.3),
    }


def write(path, check=lambda path: [], order=ORDER, given=None, changes=None):
    given = masks().items() if given is None else given
    return write_submission(path, given, competition(**(changes or {})), order, check, DETAILS)


def test_rows_are_in_the_order_of_the_sample_and_decode_to_the_masks(tmp_path):
    path = tmp_path / "submissions" / "blend.csv"
    write(path)
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", "rle_mask"] and [row[0] for row in rows] == ORDER
    for image_id, text in rows:
        mask = masks()[image_id]
        assert np.array_equal(decode(text, mask.shape), mask > 0)
    assert dict(rows)["NA"] == "" and dict(rows)["00123"] == "1 10"


def test_columns_and_pixel_order_are_the_competition_s(tmp_path):
    mask = np.array([[1, 1, 0], [0, 0, 0]], np.uint8)
    for order, text in [("column", "1 1 3 1"), ("row", "1 2")]:
        changes = {"id_column": "ImageId", "mask_column": "EncodedPixels", "rle_order": order}
        write(tmp_path / "s.csv", order=["a"], given=[("a", mask)], changes=changes)
        assert (tmp_path / "s.csv").read_bytes() == f"ImageId,EncodedPixels\na,{text}\n".encode()


def test_manifest_says_how_the_csv_was_made(tmp_path):
    path = tmp_path / "s.csv"
    returned = write(path).manifest
    manifest = json.loads(manifest_path(path).read_text())
    assert manifest == returned and manifest_path(path) == tmp_path / "s.json"
    assert manifest["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest["empty_share"] == 0.25 and manifest["images"] == 4 and manifest["csv"] == "s.csv"
    assert {key: manifest[key] for key in DETAILS} == DETAILS
    assert set(manifest["git"]) == {"commit", "diff"} and manifest["competition"] == "x"


def test_check_sees_the_whole_file_before_it_has_its_name(tmp_path):
    path, seen = tmp_path / "s.csv", []

    def check(temporary):
        assert not path.exists() and not manifest_path(path).exists()
        seen.append(temporary.read_bytes())
        return []

    write(path, check)
    assert seen == [path.read_bytes()]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def failing_check(path):
    return [f"row {n}: bad" for n in range(5)]


def interrupted_check(path):
    raise KeyboardInterrupt


@pytest.mark.parametrize("before", [False, True], ids=["nothing there", "an older pair there"])
@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (
            {"check": failing_check},
            SegfoldError,
            "fails the check: row 0: bad; row 1: bad; row 2: bad and 2 more",
        ),
        ({"check": interrupted_check}, KeyboardInterrupt, None),
        ({"given": [*masks().items(), ("b", masks()["b"])]}, SegfoldError, "image b has two masks"),
        (
            {"given": [*masks().items(), ("c", masks()["b"])]},
            SegfoldError,
            "image c is not in sample_submission.csv",
        ),
        ({"given": [("b", masks()["b"])]}, SegfoldError, r"3 of 4 ids .* \(00123, 1e1000, NA\)"),
    ],
    ids=["check", "ctrl-c", "doubled", "unknown", "missing"],
)
def test_what_fails_leaves_nothing_behind(tmp_path, before, fault, error, message):
    if before:
        write(tmp_path / "s.csv", order=["a"], given=[("a", np.ones((2, 2)))])
    kept = files(tmp_path)
    with pytest.raises(error, match=message) as caught:
        write(tmp_path / "s.csv", **fault)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == kept


@pytest.mark.parametrize("call", [1, 2], ids=["manifest", "csv"])
def test_full_disk_leaves_the_older_pair(tmp_path, call, monkeypatch):
    """Both files are safe on disk before either is renamed."""
    write(tmp_path / "s.csv", order=["a"], given=[("a", np.ones((2, 2)))])
    kept, calls = files(tmp_path), []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write_module.os, "fsync", full)
    with pytest.raises(SegfoldError, match="disk is full"):
        write(tmp_path / "s.csv")
    monkeypatch.undo()
    assert files(tmp_path) == kept


def test_a_new_pair_replaces_an_old_one(tmp_path):
    write(tmp_path / "s.csv", order=["a"], given=[("a", np.ones((2, 2)))])
    write(tmp_path / "s.csv")
    manifest = json.loads((tmp_path / "s.json").read_text())
    assert manifest["sha256"] == hashlib.sha256((tmp_path / "s.csv").read_bytes()).hexdigest()
    assert sorted(files(tmp_path)) == ["s.csv", "s.json"]


def test_the_name_must_end_in_csv(tmp_path):
    with pytest.raises(SegfoldError, match=r"name it blend\.csv"):
        write(tmp_path / "blend")
