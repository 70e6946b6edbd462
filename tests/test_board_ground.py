"""Names of the board's files, data as scripts, and what is kept from one build to the next."""

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfold.board.kept import Kept, key_of
from segfold.board.places import BoardPlaces, file_stem
from segfold.board.script import json_text, read_script, script_text, write_script


@given(st.lists(st.text(min_size=1), min_size=2, max_size=2, unique=True))
def test_stems_are_safe_and_no_two_names_share_one(names: list[str]) -> None:
    stems = [file_stem(name) for name in names]
    assert stems[0].lower() != stems[1].lower()
    for stem in stems:
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", stem) and len(stem) <= 61


def test_plain_names_stay_as_they_are() -> None:
    assert file_stem("unet-resnet34") == "unet-resnet34"
    assert file_stem("<script>") == "script-5b63e5b2"
    assert file_stem("script-5b63e5b2") != file_stem("<script>")
    assert file_stem("Unet") != file_stem("unet")  # some disks hold them for one


def test_a_small_value_is_plain_and_a_large_one_packed(tmp_path: Path) -> None:
    small, large = {"a": [1, 2.5, None]}, {"numbers": list(range(5000))}
    assert script_text("x", small) == 'segfold.put("x", {"a":[1,2.5,null]});\n'
    text = script_text("x", large)
    inside = json.loads(text.removeprefix('segfold.put("x", ').removesuffix(");\n"))
    assert json.loads(gzip.decompress(base64.b64decode(inside))) == large
    for value in (small, large):
        write_script(tmp_path / "x.js", "x", value)
        assert read_script(tmp_path / "x.js") == ("x", value)
    assert script_text("x", large) == text


@given(st.text())
def test_no_text_ends_the_script_it_stands_in(text: str) -> None:
    written = json_text({text: text})
    assert not re.search("[<>&\u2028\u2029]", written)
    again = json.loads(written)
    assert again == {text: text}


def test_a_name_that_is_no_utf8_can_be_written(tmp_path: Path) -> None:
    write_script(tmp_path / "x.js", "x", {"name": "a\udcff"})
    assert read_script(tmp_path / "x.js")[1]["name"] == "a\udcff"


def test_arrays_and_odd_numbers_are_json() -> None:
    value = {"a": np.array([[1, 2]]), "b": np.float32(0.5), "c": float("nan"), "d": [np.inf], 3: Path("x")}
    assert json.loads(json_text(value)) == {"a": [[1, 2]], "b": 0.5, "c": None, "d": [None], "3": "x"}


def test_what_is_current_is_not_built_again(tmp_path: Path) -> None:
    made: list[str] = []

    def build(kept: Kept, key: str) -> bool:
        def make(path: Path) -> None:
            path.write_text(key)
            made.append(key)

        return kept.build("a.js", key, make)

    kept = Kept(tmp_path)
    assert build(kept, "1") and not build(kept, "1") and build(kept, "2")
    kept.save()
    kept = Kept(tmp_path)
    assert not build(kept, "2") and kept.made == []
    (tmp_path / "a.js").unlink()
    assert build(kept, "2")  # a file that somebody removed
    assert made == ["1", "2", "2"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 0, "keys": {"a.js": "1"}}', '{"format": 1, "keys": 3}'])
def test_keys_that_cannot_be_read_are_no_keys(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.js").write_text("x")
    (tmp_path / "kept.json").write_text(text)
    assert not Kept(tmp_path).current("a.js", "1")


def test_what_nobody_asks_for_is_removed(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for name in ("a.js", "b.js", "pictures", "c.js"):
        kept.build(name, "1", lambda path: path.mkdir() if path.suffix == "" else path.touch())
    kept.save()
    (tmp_path / "foreign.txt").touch()
    kept = Kept(tmp_path)
    kept.current("a.js", "1")
    kept.use("c.js")
    assert kept.remove_unused() == ["b.js", "pictures"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.js", "c.js", "foreign.txt", "kept.json"]
    assert not kept.current("b.js", "1")


def test_what_a_kill_has_left_is_removed(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for name in ("sets/a/train.js", "sets/a/train-1", "sets/b/train.js", "images/x.js"):
        kept.build(name, "1", lambda path: path.mkdir(parents=True) if not path.suffix else write_script(path, "x", 1))
    for name in (
        "sets/a/train-1/0.jpg",
        "sets/a/train.part/0.jpg",
        "sets/b/train-0/1/0.jpg",
        "images/y.js",
        "mine/z.js",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    kept.save()
    kept = Kept(tmp_path)
    for name in ("sets/a/train.js", "sets/a/train-1", "images/x.js"):
        assert kept.current(name, "1")
    kept.remove_unused()
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    whole = {"sets/a/train.js", "sets/a/train-1/0.jpg", "images/x.js", "mine/z.js", "kept.json"}
    assert left == {*whole, "sets", "sets/a", "sets/a/train-1", "images", "mine"}


def test_a_kill_between_a_file_and_its_key_leaves_no_wrong_key(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.build("a.js", "1", lambda path: path.write_text("1") and None)
    kept.save()

    def killed(path: Path) -> None:
        path.write_text("2")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # and nothing is saved
        Kept(tmp_path).build("a.js", "2", killed)
    assert not Kept(tmp_path).current("a.js", "1")


def test_keys_are_written_in_the_midst_of_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, stored in ((1000, False), (-1, True)):
        monkeypatch.setattr("segfold.board.kept._SECONDS", seconds)
        Kept(tmp_path).build("a.js", "1", lambda path: path.touch())
        assert Kept(tmp_path).current("a.js", "1") is stored


def test_a_key_follows_values_and_what_files_hold(tmp_path: Path) -> None:
    file = tmp_path / "a"
    absent = key_of("x", file)
    file.write_text("1")
    there = key_of("x", file)
    file.write_text("2")
    assert len({absent, there, key_of("x", file), key_of("y", file), key_of("xy"), key_of("x", "y")}) == 6
    file.write_text("1")
    assert key_of("x", file) == there


def test_places_lie_in_runs(tmp_path: Path) -> None:
    places = BoardPlaces(tmp_path)
    assert places.script("epochs/x") == tmp_path / "runs/board-files/epochs/x.js"
    assert places.report("a") == tmp_path / "runs/a/report.html"
