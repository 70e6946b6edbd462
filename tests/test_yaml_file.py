"""Settings in YAML: read as they are written, or refused in one line."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from segfold.errors import SegfoldError
from segfold.yaml_file import parse_yaml, read_yaml

TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp")), max_size=12)
NUMBERS = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
LOOKALIKES = ["010", "08", "1:30", "1:30.5", "1e-3", "1_0", "yes", "null", "~", "=", "<<", "2018-10-18", ".inf", "0x1F"]
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT | st.sampled_from(LOOKALIKES)
VALUES = st.recursive(SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(TEXT, part, max_size=3))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(TEXT | st.sampled_from(LOOKALIKES), VALUES, max_size=4).filter(lambda v: "${" not in str(v)))
def test_what_json_and_omegaconf_write_is_read_back(values: dict[str, Any]) -> None:
    assert parse_yaml(json.dumps(values, ensure_ascii=False), "here") == values
    if "???" not in str(values):  # OmegaConf's own word for a missing value
        assert parse_yaml(OmegaConf.to_yaml(OmegaConf.create(values)), "here") == values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-1E+5", -1e5),
        (".5e3", 500.0),
        ("1_000", 1000),
        ("0x1F", 31),
        ("-0", 0),
        ("on", True),
        ("~", None),
        ("", None),
        ("2018-10-18", "2018-10-18"),
        ("=", "="),
        ("08", "08"),
        ("{1: a, on: b, 2018-10-18: c, ~: d, 010: e}", {"1": "a", "on": "b", "2018-10-18": "c", "~": "d", "010": "e"}),
        ("{a: &x {b: 1, c: 2}, d: {<<: *x, c: 3}, e: {c: 4, <<: [{c: 5, f: 6}, *x]}}", None),
    ],
)
def test_plain_values(text: str, value: Any) -> None:
    if "<<" in text:
        value = {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}, "e": {"b": 1, "c": 4, "f": 6}}
    found = parse_yaml(text, "here")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", [".inf", "-.inf", "1e400", ".nan"])
def test_numbers_that_are_not_finite_are_left_to_the_settings(text: str) -> None:
    assert not math.isfinite(parse_yaml(text, "here"))


def bomb(first: str, open_: str, close: str) -> str:
    lines = [first]
    for mark, before in zip("bcdefghijk", "abcdefghij"):
        lines.append(f"{mark}: &{mark} {open_}{', '.join([f'*{before}'] * 10)}{close}")
    return "\n".join(lines)


REFUSED = {
    "doubled key": ("a: {b: 1, c: 2, b: 3}", "key 'b' is there twice"),
    "doubled key that only reads the same": ("1: a\n'1': b", "key '1' is there twice"),
    "list as a key": ("? [a, b]\n: 1", "a key in line 1 is not text"),
    "octal": ("seed: 010", "found 010, which YAML takes for another number"),
    "minutes": ("minutes: 1:30", "found 1:30, which YAML takes for another number"),
    "python": ("a: !!python/object/apply:os.system [echo]", "the tag .*python.* is not supported"),
    "bytes": ("a: !!binary aGk=", "the tag .*binary of 'aGk=' is not supported"),
    "a number by force": ("a: !!int 010", "the tag .*int of '010' is not supported"),
    "a set": ("a: !!set {b}", "the tag .*set is not supported"),
    "own tag": ("a: !mine b", "the tag !mine of 'b' is not supported"),
    "environment": ("a: ${oc.env:HOME}", "interpolation is not supported"),
    "environment in disguise": ('a: "\\x24{oc.env:HOME}"', "interpolation is not supported"),
    "environment in a key": ('"$\\x7bb}": 1', "interpolation is not supported"),
    "unit separator": ('a: "b\\x1fc"', r"character '\\x1f' in 'b\\x1fc'"),
    "two lines": ("a: |\n  b\n  c", r"character '\\n'"),
    "half a character": ('a: "\\ud800"', r"character '\\ud800'"),
    "no character": ('a: "\\UFFFFFFFF"', "not YAML"),
    "NUL": ("a: \x00", "not YAML"),
    "unknown alias": ("a: *b", "not YAML"),
    "two documents": ("--- a\n--- b", "not YAML"),
    "half a list": ("a: [1, 2", "not YAML"),
    "merged number": ("<<: 1", "<< is for a mapping"),
    "endless": ("a: &b [*b]", "values or 32 levels"),
    "deep": ("[" * 50 + "]" * 50, "values or 32 levels"),
    "deeper": ("[" * 1000, "nested too deeply"),
    "deeper yet": ("{a: " * 5000, "nested too deeply"),
    "bomb": (bomb("a: &a [x, x]", "[", "]"), "more than 100,000 values"),
    "merged bomb": (bomb("a: &a {x: 1}", "{<<: [", "]}"), "more than 100,000 values"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(SegfoldError, match=said) as error:
        parse_yaml(text, "here")
    assert str(error.value).startswith("here: ") and str(error.value).isprintable()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("name: é".encode("latin-1"), "not YAML in UTF-8 .* at byte 6"),
        ("name: a".encode("utf-16"), "not YAML in UTF-8"),
        (b"\xff\xfe\x00", "not YAML in UTF-8"),
        (b"", "found nothing, expected a mapping"),
        (b"[1]", "found list, expected a mapping"),
        (b"a: 1\n" * 300_000, "more than 1,000,000 bytes"),
    ],
)
def test_files_that_are_none(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(data)
    with pytest.raises(SegfoldError, match=said) as error:
        read_yaml(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["nowhere.yaml", "", "a\0b.yaml", "x" * 300 + ".yaml", "x.yaml/y.yaml"])
def test_paths_that_are_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.yaml").write_text("a: 1")
    with pytest.raises(SegfoldError, match="name an existing YAML file"):
        read_yaml(tmp_path / name)


def test_a_byte_order_mark_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read_yaml(tmp_path / "x.yaml") == {"a": 1, "b": 2}
