"""Run folders with damaged files: a submission as it would have been, or one line."""

import contextlib
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import segfold.submission.write
from fuzzing import ALL, TOKENS, WrongError, counts, fuzz, mutated, mutated_words, some
from segfold.cli import main
from segfold.competition import load_competition
from segfold.config import load_experiment
from segfold.data.images import load_split
from segfold.errors import SegfoldError
from segfold.files import read_records
from segfold.inference.networks import load_weights
from segfold.store.reader import open_store
from segfold.store.writer import StoreWriter
from segfold.submission.check import check_submission
from segfold.training import checkpoint
from small_project import make_project

SMALL = (
    "seed=3",
    "stages.warm.epochs=1",
    "stages.lovasz.epochs=0",
    "machine.precision=fp32",
    "model.decoder_channels=2",
)
TRAIN = ("train", "--config", "configs/small.yaml", "--fold", "0", "--run", "one", *SMALL)
SUBMIT = ("submit", "--ensemble", "runs/one", "--name", "s")
ODD = (
    *TOKENS,
    "null",
    "[]",
    "{}",
    "true",
    '"x"',
    "-5",
    "1e2",
    "NaN",
    "Infinity",
    '"model"',
    '"model": 1',
    "[" * 100_000,
    "fold",
    "0",
)
RIGHT = ("held_out", "weights", "data_hash", "folds_hash", "competition", "fold")
"""What decides a submission in the record of a finished fold."""


def quiet_main(*arguments: str) -> tuple[int, str]:
    """A command's exit code and what it says on the standard error."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        code = main(arguments)
    return code, errors.getvalue()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a finished fold, whose predictions are its truth with noise."""
    home = make_project(tmp_path_factory.mktemp("runs"))
    before = Path.cwd()
    os.chdir(home)
    try:
        assert quiet_main(*TRAIN)[0] == 0
        assert quiet_main(*SUBMIT)[0] == 0
        shutil.rmtree("submissions")
        competition = load_competition("configs/competitions/small.yaml")
        (folder,) = Path("runs/one/fold0/pred").iterdir()
        rng = np.random.default_rng(0)
        for split, name in (("oof", "train"), ("test", "test")):
            old = open_store(folder, split, None)
            assert old is not None
            images = load_split(competition, name)  # type: ignore[arg-type]
            shutil.copytree(folder, "spare", dirs_exist_ok=True)
            (folder / f"{split}.u16").unlink()
            with StoreWriter(folder, split, old.ids, old.shapes, old.meta) as writer:
                for image_id in old.ids:
                    pixels = images.images[int(images.position([image_id])[0])][:, :, 0]
                    writer.append(image_id, (pixels[None] / 300 + rng.random(pixels.shape) / 9).astype(np.float32))
                writer.finish()
        shutil.rmtree("spare")
    finally:
        os.chdir(before)
    return home


@pytest.fixture
def home(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project as the working folder."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    # Asking git takes as long as all the rest.
    monkeypatch.setattr(segfold.submission.write, "git_state", lambda: {"commit": None, "diff": None})
    return project


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put_back(folder: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(folder)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    if rng.random() < 0.4:
        return mutated(data, rng)
    return mutated_words(data.decode(), rng, ODD, some(rng, ["\n", ": ", ","])).encode("utf-8", "surrogatepass")


def record(data: bytes) -> Any:
    """What decides in a fold's record; the damaged text itself where it is none."""
    try:
        values = json.loads(data)
        return {key: values[key] for key in RIGHT}
    except (ValueError, KeyError, TypeError, RecursionError):
        return data


def submitted() -> bytes:
    """The one submission that a command has written."""
    (path,) = Path("submissions").glob("*.csv")
    return path.read_bytes()


@pytest.mark.slow
def test_submissions_from_damaged_runs(home: Path) -> None:
    run = Path("runs/one")
    good = files_of(run)
    experiment = load_experiment(run / "config.yaml")
    assert quiet_main(*SUBMIT)[0] == 0
    expected = submitted()
    assert expected.count(b" ") > 50, "an oracle of empty masks would see nothing"
    test = load_split(load_competition("configs/competitions/small.yaml"), "test")
    shapes = {name: (int(height), int(width)) for name, (height, width, _) in zip(test.ids, test.images.shapes)}

    def same_settings() -> bool:
        try:
            return load_experiment(run / "config.yaml") == experiment
        except (SegfoldError, OSError, ValueError):
            return False

    def case(rng: np.random.Generator) -> None:
        put_back(run, good)
        shutil.rmtree("submissions", ignore_errors=True)
        name = some(
            rng,
            ["config.yaml", "fold0/done.json", "fold0/done.json", "environment.json", "fold0/metrics.jsonl", "more"],
        )
        if name == "more":
            odd = run / some(rng, ["fold1", "fold01", "fold7", "fold0/pred/x", "foldx", "fold٣", "fold" + "9" * 30])
            odd.mkdir(parents=True)
            (odd / some(rng, ["done.json", "x", "last.pt"])).write_bytes(
                some(rng, [b"", b"{}", good["fold0/done.json"]])
            )
        else:
            (run / name).write_bytes(damaged(good[name], rng))
        code, errors = quiet_main(*SUBMIT)
        lines = [line for line in errors.splitlines() if not line.startswith("decoding")]
        if (code, len(lines)) not in ((0, 0), (2, 1)):
            raise WrongError(f"{name}: exit code {code}, said {errors[:300]!r}")
        if code:
            if Path("submissions").exists() and list(Path("submissions").iterdir()):
                raise WrongError(f"{name}: refused, and left {list(Path('submissions').iterdir())}")
            raise SegfoldError(lines[0])
        decided = record((run / "fold0/done.json").read_bytes()) == record(good["fold0/done.json"])
        if same_settings() and decided and name != "more" and submitted() != expected:
            raise WrongError(f"{name}: another submission of the same settings")
        (path,) = Path("submissions").glob("*.csv")
        if check_submission(path, load_competition("configs/competitions/small.yaml"), shapes).problems:
            raise WrongError(f"{name}: a bad submission")

    fuzz(ALL, "runs", case)


@counts
def test_damaged_checkpoints(count: int, tmp_path: Path) -> None:
    """The file of a checkpoint has checksums, so what loads is what was saved."""
    path = tmp_path / "last.pt"
    stream = torch.Generator().manual_seed(0)
    tensors = {f"layer{n}.weight": torch.randn(n + 1, 3, generator=stream) for n in range(4)}
    moments = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(2, 2)}}, "param_groups": [{"lr": 0.1}]}
    position = checkpoint.Position(stage=1, epoch=2, step=3, epochs=4, steps=5)
    whole = checkpoint.Checkpoint(
        tensors,
        moments,
        tensors,
        7,
        {},
        position,
        {"mask": (0.5, 8)},
        {"precision": "fp32"},
        {"data": "x"},
        scores=[(0, 1, 0.5)],
    )
    checkpoint.save(path, whole)
    good = path.read_bytes()

    def case(rng: np.random.Generator) -> None:
        path.write_bytes(mutated(good, rng))
        found = checkpoint.load(path)
        assert found is not None
        if not same(vars(found), vars(whole)):
            raise WrongError("another checkpoint")

    fuzz(count, "checkpoints", case)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


class _Same(torch.nn.Module):
    """A network that takes any tensors of the names and shapes of some others."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name.replace(".", "_"), tensor.clone())


@counts
def test_damaged_weights(count: int, tmp_path: Path) -> None:
    """Tensors of other names or shapes are never loaded; that the numbers are those of training a digest says."""
    path = tmp_path / "weights.safetensors"
    tensors = {f"t{n}": torch.randn(int(size), 3) for n, size in enumerate((1, 7, 40))}
    good = safetensors.torch.save(tensors, {"format": "pt"})
    network = _Same(tensors)

    def case(rng: np.random.Generator) -> None:
        data = mutated(good, rng)
        path.write_bytes(data)
        load_weights(network, path)
        if len(data) != len(good) or set(network.state_dict()) != set(tensors):
            raise WrongError(f"{len(data)} bytes were loaded, saved were {len(good)}")

    fuzz(count, "weights", case)


@counts
def test_damaged_logs(count: int, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [{"epoch": n, "score": n / 7, "text": "±"} for n in range(5)]
    good = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()

    def case(rng: np.random.Generator) -> None:
        data = damaged(good, rng)
        path.write_bytes(data)
        found = read_records(path)
        whole = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]
        if found != [json.loads(line) for line in whole]:
            raise WrongError(f"{data!r}: {found}")

    fuzz(count, "logs", case)


def test_a_bit_of_a_checkpoint(tmp_path: Path) -> None:
    """One wrong bit in a tensor is none of the damage that torch sees."""
    path = tmp_path / "last.pt"
    tensor = torch.arange(1000.0)
    checkpoint.save(path, checkpoint.Checkpoint({"w": tensor}, {}, None, 0, {}, checkpoint.Position(), {}, {}, {}))
    data = bytearray(path.read_bytes())
    data[data.find(tensor.numpy().tobytes()[400:]) + 8] ^= 1
    path.write_bytes(data)
    with pytest.raises(SegfoldError, match=r"not a checkpoint that can be resumed .its part .* is damaged"):
        checkpoint.load(path)
