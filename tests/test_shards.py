"""Shards of a prediction: joined they are, to the byte, the store that one process writes, whoever is killed or late."""

import hashlib
import itertools
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from forked import Running, segfold, start
from segfold.cli import main
from segfold.files import read_json, write_json
from segfold.locks import Lock
from segfold.store import open_store
from segfold.store.shards import shares
from small_project import make_project

TRAIN = (
    *("train", "--config", "configs/small.yaml", "--fold", "0", "--run", "one"),
    *("stages.warm.epochs=1", "model.heads={image: true}", "stages.lovasz.loss.heads={image: 0.1}"),
    "predict={tta: [identity], batch_size: 3}",
)
PLACE = "runs/one/fold0/pred/model-identity"
UNITS = {"oof": [3, 3, 3, 1], "test": [3, 3]}
"""Images that are predicted together."""

Predict = Callable[..., str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a trained fold, and in ``whole`` what one process predicts with it; else nothing is predicted."""
    home = make_project(tmp_path_factory.mktemp("trained"))
    for arguments in (TRAIN, ("predict", "runs/one")):
        done = segfold(home, *arguments, before=one_core)
        assert done.returncode == 0, done.stderr
    (home / PLACE).rename(home / "whole")
    return home


@pytest.fixture
def home(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    one_core()
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def all_cores() -> Iterator[None]:
    from segfold import machine

    cores = machine.cores
    yield
    machine.cores = cores


@pytest.fixture
def predict(capsys: pytest.CaptureFixture[str]) -> Predict:
    """``segfold predict runs/one …`` in this process; returns what it prints."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert main(["predict", "runs/one", *arguments]) == 0
        return capsys.readouterr().out

    return run


def one_core() -> None:
    """Predict with one thread, whatever the machine has."""
    from segfold import machine

    machine.cores = lambda: 1  # type: ignore[attr-defined]


def count_every_image() -> None:
    """Have shards count each image at once, so that a kill finds some counted."""
    import functools

    from segfold.inference import shards

    one_core()
    shards.StoreWriter = functools.partial(shards.StoreWriter, sync_seconds=0)  # type: ignore[attr-defined]


def files(folder: Path) -> dict[str, bytes]:
    """All below a folder but locks, and what a clock said."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock" and not path.name.endswith(".seconds.json")
    }


def check_whole(home: Path, place: str = PLACE) -> None:
    """What lies in the place is what one process has written, and nothing else."""
    found, expected = files(home / place), files(home / "whole")
    assert found.keys() == expected.keys() and len(found) == 7
    for made in (found, expected):  # of meta.json the entries, which lie in the order in which they were finished
        entries = json.loads(made.pop("meta.json"))
        made |= {f"meta.json {split}": json.dumps(entry).encode() for split, entry in entries.items()}
    assert [name for name in expected if found.get(name) != expected[name]] == []
    assert not (home / place / "shards").exists()
    for split in UNITS:
        store = open_store(home / place, split, None)
        assert store is not None and store.cost is not None and 0 < store.cost.images <= len(store)


def states(shown: str) -> dict[str, str]:
    """By split, from the table: images and state."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│ one" in line]
    return {row[2]: f"{row[4]}: {row[5]}" for row in rows}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_joined_shards_are_what_one_process_writes(home: Path, predict: Predict, count: int) -> None:
    """In any order, and where shards are more than batches; each shard begins with a batch."""
    order = np.random.default_rng(count).permutation(np.arange(1, count + 1)).tolist()
    seen: dict[str, list[str]] = {"oof": [], "test": []}
    for number in order:
        shown = states(predict("--shard", f"{number}/{count}"))
        for split, units in UNITS.items():
            seen[split].append(shown[split])
            store = open_store(home / PLACE / "shards" / f"{split}-{number}of{count}", split, None)
            if store is not None:
                whole = open_store(home / "whole", split, None)
                assert whole is not None and whole.rows[store.ids[0]] in np.cumsum([0, *units])
                listed = hashlib.sha256(json.dumps(whole.ids.tolist()).encode()).hexdigest()
                assert store.meta == {**whole.meta, "shard": f"{number}/{count}", "of": listed}
    for split, units in UNITS.items():
        assert sum(state.endswith("joined") for state in seen[split]) == 1
        empty = {number for number, state in zip(order, seen[split]) if state.startswith("0: ")}
        assert all(number > len(units) for number in empty)
    check_whole(home)
    assert set(states(predict("--shard", f"1/{count}")).values()) == {"10: was there", "6: was there"}


def test_a_shard_says_what_the_whole_waits_for(home: Path, predict: Predict) -> None:
    shown = predict("--shard", "2/4")
    assert states(shown) == {
        "oof": "3: shard 2/4 done, waits for 1, 3, 4",
        "test": "3: shard 2/4 done, waits for 1",
    }
    assert "oof with model: 3 images" in shown
    assert states(predict("--shard", "4/4")) == {
        "oof": "1: shard 4/4 done, waits for 1, 3",
        "test": "0: shard 4/4 is empty, waits for 1",
    }
    assert "predicting" not in predict("--shard", "2/4")
    assert states(predict("--shard", "1/4", "--split", "test")) == {"test": "3: joined"}
    assert states(predict()) == {"oof": "10: predicted", "test": "6: was there"}
    check_whole(home)


def test_shards_of_images_that_are_predicted_by_tiles(home: Path, predict: Predict) -> None:
    """At twice the scale an image is of several tiles, and is written in strips."""
    path, place = home / "runs/one/config.yaml", f"{PLACE}+scale2"
    tiled = "- identity\n  - scale2\n  tiles: {size: 32, overlap: 8}"
    path.write_text(path.read_text().replace("- identity", tiled).replace("batch_size: 3", "batch_size: 16"))
    assert states(predict()) == {"oof": "10: predicted", "test": "6: predicted"}
    store = open_store(home / place, "oof", None)
    assert store is not None and store.meta["views"] == {"tiles": {"blend": "linear", "overlap": 8, "size": 32}}
    shutil.rmtree(home / "whole")
    (home / place).rename(home / "whole")
    for number in (3, 2, 1):
        shown = states(predict("--shard", f"{number}/3"))
    assert shown == {"oof": "4: joined", "test": "4: joined"}  # five views of each image, so four go together
    check_whole(home, place)


def test_shares_are_whole_units_of_about_as_many_pixels() -> None:
    assert shares(2, [0, 2, 4], [1, 1, 10, 10, 3]).tolist() == [0, 4, 5]
    assert shares(4, [0, 3], [1] * 5).tolist() == [0, 3, 5, 5, 5]
    rng = np.random.default_rng(0)
    for _ in range(300):
        pixels = rng.integers(1, [10, 1000][rng.integers(2)], rng.integers(1, 40))
        starts = np.flatnonzero(np.append(True, rng.random(len(pixels) - 1) < 0.4))
        count = int(rng.integers(1, 9))
        bounds = shares(count, starts, pixels)
        assert bounds[0] == 0 and bounds[-1] == len(pixels) and set(bounds) <= {*starts, len(pixels)}
        lengths = np.diff(bounds)
        assert (lengths >= 0).all() and np.count_nonzero(lengths) == min(count, len(starts))
        units = np.add.reduceat(pixels, starts)
        parts = [pixels[first:end].sum() for first, end in itertools.pairwise(bounds)]
        assert max(parts) <= pixels.sum() / count + units.max()


def test_a_killed_shard_goes_on_with_a_whole_batch(home: Path, predict: Predict) -> None:
    shard = ("predict", "runs/one", "--split", "oof", "--shard", "1/2")
    done = segfold(home, *shard, fault="prediction:5", before=count_every_image)
    assert done.returncode == -signal.SIGKILL
    part = home / PLACE / "shards" / "oof-1of2" / "oof.part.json"
    assert read_json(part)["images"] == 4
    assert "waits for 1" in predict("--split", "oof", "--shard", "2/2")
    done = segfold(home, *shard, fault="prediction:3", before=count_every_image)
    assert done.returncode == -signal.SIGKILL
    assert read_json(part)["images"] == 5  # the fourth and the fifth were predicted once more
    assert states(predict("--split", "oof", "--shard", "1/2")) == {"oof": "6: joined"}
    predict()
    check_whole(home)


@pytest.fixture(scope="module")
def finished(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each of three shards, as another machine has predicted it alone: two of the test set, for it has two batches."""
    folder = tmp_path_factory.mktemp("finished")
    other = tmp_path_factory.mktemp("machine") / "home"
    shutil.copytree(trained, other)
    for number in (1, 2, 3):
        done = segfold(other, "predict", "runs/one", "--shard", f"{number}/3", before=one_core)
        assert done.returncode == 0, done.stderr
        for path in (other / PLACE / "shards").iterdir():
            path.rename(folder / path.name)
    assert len(list(folder.iterdir())) == 5
    return folder


@pytest.fixture
def copied(home: Path, finished: Path) -> Path:
    """Where all of them have been copied to one machine."""
    return Path(shutil.copytree(finished, home / PLACE / "shards"))


def test_processes_that_find_all_shards_at_once(home: Path, copied: Path) -> None:
    commands = [(), ("--shard", "1/3"), ("--shard", "3/3"), ("--split", "oof")]
    running: list[Running] = [start(home, "predict", "runs/one", *each, before=one_core) for each in commands]
    ends = [each.wait() for each in running]
    assert [done.returncode for done in ends] == [0] * 4, ends
    found = {state for done in ends for state in states(done.stdout).values()}
    assert {"10: joined", "6: joined"} <= found <= {"10: joined", "6: joined", "10: was there", "6: was there"}
    check_whole(home)


def test_two_that_finish_the_last_shards_at_once(home: Path, copied: Path) -> None:
    for name in ("oof-2of3", "oof-3of3", "test-1of3", "test-2of3"):
        shutil.rmtree(copied / name)
    running = [start(home, "predict", "runs/one", "--shard", each, before=one_core) for each in ("1/3", "2/3", "3/3")]
    ends = [each.wait() for each in running]
    assert [done.returncode for done in ends] == [0] * 3, ends
    assert any("joined" in done.stdout for done in ends)
    check_whole(home)


@pytest.mark.parametrize("fault", ["prediction:4", "rename:4"])
def test_killed_while_it_joins(home: Path, copied: Path, fault: str) -> None:
    done = segfold(home, "predict", "runs/one", fault=fault, before=one_core)
    assert done.returncode == -signal.SIGKILL
    assert len(list(copied.iterdir())) == 5  # nothing is removed before all is there
    done = segfold(home, "predict", "runs/one", before=one_core)
    assert done.returncode == 0 and "predicting" not in done.stdout
    check_whole(home)


def test_a_submission_joins_shards_and_predicts_nothing(
    home: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segfold.inference.stored.write_predictions", lambda *_: pytest.fail("predicted"))
    assert main(["submit", "--ensemble", "runs/one", "--name", "joined"]) == 0
    check_whole(home)


def change_meta(folder: Path, split: str, **values: str) -> None:
    entries = read_json(folder / "meta.json")
    entries[split]["meta"] |= values
    write_json(folder / "meta.json", entries)


def test_what_is_no_shard_of_this_store_is_left_out_and_removed_with_the_others(
    home: Path, copied: Path, predict: Predict
) -> None:
    """Shards of other weights, of another list, of another count, damaged ones, and what is none."""
    change_meta(copied / "oof-1of3", "oof", weights="0" * 64)
    change_meta(copied / "test-2of3", "test", of="0" * 64)
    shutil.copytree(copied / "oof-2of3", copied / "oof-2of7")
    (copied / "oof-9of3").mkdir()
    (copied / "mine").mkdir()
    with (copied / "oof-3of3" / "oof.u16").open("r+b") as file:
        file.truncate(100)
    assert states(predict("--shard", "1/3"))["oof"] == "3: shard 1/3 done, waits for 3"
    assert states(predict("--shard", "3/3"))["oof"] == "4: joined"
    assert [path.name for path in sorted(copied.iterdir())] == ["mine", "oof-9of3", "test-1of3", "test-2of3"]
    assert states(predict()) == {"oof": "10: was there", "test": "6: predicted"}
    assert [path.name for path in sorted(copied.iterdir())] == ["mine", "oof-9of3"]
    shutil.rmtree(copied)
    check_whole(home)


def test_a_shard_that_is_being_predicted_is_not_removed(home: Path, copied: Path, predict: Predict) -> None:
    folder = copied / "test-1of2"
    folder.mkdir()
    with Lock(folder / "test.lock"):
        assert "joined" in predict() and "was there" in predict()
        assert [path.name for path in copied.iterdir()] == [folder.name]
    predict()
    check_whole(home)


def test_shards_of_other_batches_do_not_fit(home: Path, copied: Path, predict: Predict) -> None:
    """Their images are others; nothing is joined that does not make the whole list."""
    path = home / "runs/one/config.yaml"
    path.write_text(path.read_text().replace("batch_size: 3", "batch_size: 4"))
    shutil.rmtree(copied / "oof-3of3")
    shown = states(predict("--split", "oof", "--shard", "3/3"))
    assert shown["oof"].startswith("2: shard 3/3 done, waits for 1, 2")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--shard", "0/4"), "'0/4' is no shard; expected I/N with I from 1 to N, such as 2/4"),
        (("--shard", "5/4"), "'5/4' is no shard"),
        (("--shard", "x"), "'x' is no shard"),
        (("--shard", "1/0"), "'1/0' is no shard"),
        (("--shard", "-1/2"), "expected one argument"),
        (("--split", "train"), "invalid choice"),
        (("--fold", "1"), "fold 1 is finished in none of the runs; finished: 0"),
        (("--fold", "x"), "no whole number"),
        (("--use", "swa"), "no weights named swa; it has model"),
        (("--device", "abacus"), "--device 'abacus': expected auto, cpu"),
        (("--competition", "other"), "no usable run"),
    ],
)
def test_what_is_refused(home: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str) -> None:
    assert main(["predict", "runs/one", *arguments]) == 2
    err = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("decoding")]
    assert len(err) == 1 and said in err[0]
    assert not (home / PLACE).exists()


def test_a_submission_on_a_device_that_nobody_knows(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "--ensemble", "runs/one", "--device", "abacus"]) == 2
    assert len(err := capsys.readouterr().err.splitlines()) == 1 and "expected auto, cpu" in err[0]


def test_a_run_that_cannot_be_used_does_not_stop_the_others(home: Path, predict: Predict) -> None:
    shutil.copytree(home / "runs/one", home / "runs/two")
    path = home / "runs/two/config.yaml"
    path.write_text(path.read_text().replace("- identity", "- hflip"))
    (home / "runs/two/fold0/model.safetensors").write_bytes(b"x")
    shown = predict("runs/two", "runs/none")
    assert "skipped runs/none: does not exist" in shown and "skipped runs/two: " in shown
    assert states(shown) == {"oof": "10: predicted", "test": "6: predicted"}
    check_whole(home)
