"""Thousands of broken settings, competition files, overrides, fold files and run-length texts: one line, or right."""

import csv
import io
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segfold.competition import load_competition
from segfold.config import check_experiment, dump, dump_yaml, load_experiment, read_overrides
from segfold.data.folds import read_folds
from segfold.data.rle import RleError, decode, problem
from segfold.errors import SegfoldError
from segfold.yaml_file import parse_yaml
from setting_numbers import of_the_experiment
from small_project import COMPETITION, EXPERIMENT, ROOT

pytestmark = pytest.mark.slow
INPUTS = 2000
TOKENS = [
    *(bytes([mark]) for mark in b"{}[]:,-?|>'\"#&*!%@~=._+01\n\r\t\x00\x1b\x1f\x7f\xff\xe9"),
    *(mark.encode() for mark in "\x85\xa0\u2028\ufeff😀٣²é"),
    *(b"-1", b"2", b"64", b"0.1", b"1.5", b"null", b"true", b"no", b"x", b"\xff\xfe", b"\n\n  "),
    *(b"${oc.env:HOME}", b'"$\\x7bx}"', b"!!python/object/apply:os.system [x]", b"!!binary aGk=", b"!!set {a}", b"&a "),
    *(
        b"<<: ",
        b"<<: *a",
        b"---\n",
        b"...\n",
        b"%YAML 1.2\n",
        b"? ",
        b"- ",
        b": ",
        b"{a: 1, a: 2}",
        b'"\\ud800"',
        b"*a",
    ),
    *(b"9" * 21, b"9" * 5000, b"-" + b"9" * 21, b"0" * 30 + b"1", b"010", b"1:30", b"0x1F", b"1_0", b"1e3", b"1e400"),
    *(b".nan", b".inf", b"-.inf", b"NaN", b"1e-400", b"2018-10-18", b"[" * 500, b"x" * 5000, b"a." * 50, b'"\\x1f"'),
]


def broken(data: bytes, chance: random.Random) -> bytes:
    """``data`` with one to four pieces cut, doubled, replaced or put in."""
    for _ in range(chance.randint(1, 4)):
        a = chance.randint(0, len(data))
        b = min(len(data), a + chance.choice([0, 0, 1, 1, 2, 5, 20]))
        data = data[:a] + chance.choice([b"", data[a:b] * 2, *[chance.choice(TOKENS)] * 3]) + data[b:]
    return data


def refused(call: Callable[..., object], *arguments: object) -> bool:
    """Whether the call refuses its input, which it does in one line."""
    try:
        call(*arguments)
    except SegfoldError as error:
        assert str(error).isprintable() and 10 < len(str(error)) < 4100
        return True
    return False


def test_experiments(tmp_path: Path) -> None:
    chance, path, taken = random.Random(1), tmp_path / "x.yaml", 0
    texts = [EXPERIMENT.encode(), (ROOT / "configs" / "quick.yaml").read_bytes()]
    texts.append(dump_yaml(load_experiment(ROOT / "configs" / "unet-resnet34.yaml")).encode())
    for _ in range(INPUTS):
        path.write_bytes(broken(chance.choice(texts), chance))
        if refused(load_experiment, path):
            continue
        taken += 1
        experiment = load_experiment(path)
        assert check_experiment(parse_yaml(dump_yaml(experiment), "again"), "again") == experiment
    assert INPUTS / 20 < taken < INPUTS / 1.2


def test_competitions(tmp_path: Path) -> None:
    chance, path = random.Random(2), tmp_path / "x.yaml"
    for _ in range(INPUTS):
        path.write_bytes(broken(COMPETITION.encode() + b"tables: {depth: {file: d.csv, column: z}}\n", chance))
        if not refused(load_competition, str(path)):
            found = load_competition(str(path))
            assert len(found.classes) == 1 and not re.search(r"[\x00-\x1f\x7f-\x9f]", str(found.model_dump()))
            assert not Path(found.train_images).is_absolute() and ".." not in Path(found.train_images).parts


def test_overrides(tmp_path: Path) -> None:
    chance, path, taken = random.Random(3), tmp_path / "x.yaml", 0
    path.write_text(EXPERIMENT)
    places = [".".join(n.path if n.path[0] != "model" else ("model", *n.path[2:])) for n in of_the_experiment()]
    places = [place.replace("stages.a.", "stages.warm.") for place in places] + ["fast", "model", "stages", "augment"]
    for _ in range(INPUTS):
        place, value = chance.choice(places).encode(), chance.choice(TOKENS)
        text = (place + b"=" + value if chance.random() < 0.6 else broken(place + b"=" + value, chance)).decode(
            "utf-8", "surrogateescape"
        )
        if refused(load_experiment, path, [text]):
            continue
        taken += 1
        experiment = load_experiment(path, [text])
        assert check_experiment(dump(experiment), "again") == experiment
        # What was asked for is what there is.
        asked, found = read_overrides([text]), dump(experiment)
        while isinstance(asked, dict) and len(asked) == 1 and isinstance(found, dict):
            ((key, asked),) = asked.items()
            found = found.get(key)
        if isinstance(asked, int | float) and isinstance(found, int | float):
            assert float(asked) == float(found), text
    assert taken > INPUTS / 100


def test_fold_files(tmp_path: Path) -> None:
    chance, path, taken = random.Random(4), tmp_path / "folds.csv", 0
    ids = ["a", "00123", "1e1000", "nan", "b c", "d"]
    good = "".join(["id,fold\n", *(f"{name},{number % 3}\n" for number, name in enumerate(ids))]).encode()
    for _ in range(INPUTS):
        path.write_bytes(broken(good, chance))
        if refused(read_folds, path, ids):
            continue
        taken += 1
        header, *rows = csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""))
        at_id, at_fold = header.index("id"), header.index("fold")
        expected = {row[at_id]: int(row[at_fold]) for row in rows if "".join(row).strip()}
        assert read_folds(path, ids).tolist() == [expected[name] for name in ids]
    assert taken > INPUTS / 100


def test_run_length_texts() -> None:
    chance, taken = random.Random(5), 0
    for _ in range(INPUTS):
        runs, at = [], 1
        while at < 30 and chance.random() < 0.7:
            start = at + chance.randint(0, 5)
            runs += [start, chance.randint(1, 5)]
            at = sum(runs[-2:])
        text = broken(" ".join(map(str, runs)).encode(), chance).decode("utf-8", "surrogateescape")
        said = problem(text, (5, 6))
        tokens = [token for token in re.split(r"[\t-\r ]+", text) if token]
        if said is None:
            taken += 1
            mask = np.zeros(30, np.uint8)
            for start, length in zip(map(int, tokens[::2]), map(int, tokens[1::2]), strict=True):
                assert not mask[start - 1 : start - 1 + length].any() and start >= 1 and start - 1 + length <= 30
                mask[start - 1 : start - 1 + length] = 1
            np.testing.assert_array_equal(decode(text, (5, 6), "row"), mask.reshape(5, 6))
        else:
            assert said.isprintable() and len(said) < 300
            with pytest.raises(RleError):
                decode(text, (5, 6))
    assert taken > INPUTS / 20
