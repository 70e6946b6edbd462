"""Files of weights: what is read of them, what is taken of it, what is said; and that nothing in them ever executes."""

import argparse
import shlex
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from forked import segfold
from segfold.errors import SegfoldError
from segfold.models.checkpoints import fill, loaded_lines, read_tensors
from small_project import make_project

TENSORS = {f"layer{i}.weight": torch.arange(i + 2.0) for i in range(12)}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor] = TENSORS) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".tar", ""])
def test_files_are_known_by_what_they_hold_and_not_by_their_names(tmp_path: Path, suffix: str) -> None:
    for name, write in {
        "zip": torch.save,
        "old": lambda tensors, path: torch.save(tensors, path, _use_new_zipfile_serialization=False),
        "safe": save_file,
    }.items():
        write(TENSORS, tmp_path / f"{name}{suffix}")
        assert_same(read_tensors(tmp_path / f"{name}{suffix}"))


@pytest.mark.parametrize(
    "nested",
    [
        {"state_dict": TENSORS, "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
        {"model": {"layer": torch.zeros(1)}, "model_ema": TENSORS},
        {"checkpoint": 1, "model": {"state_dict": TENSORS}},
        {"state_dict": {f"module.{k}": v for k, v in TENSORS.items()}},
        {f"_orig_mod.module.{k}": v for k, v in TENSORS.items()},
        {"state_dict": {f"model._orig_mod.{k}": v for k, v in TENSORS.items()}},
        {**TENSORS, "epoch": 3},
    ],
)
def test_what_training_scripts_wrap_weights_in_is_taken_off(tmp_path: Path, nested: dict[str, Any]) -> None:
    torch.save(nested, tmp_path / "file.pth")
    assert_same(read_tensors(tmp_path / "file.pth"))


def test_wrappers_are_taken_off_where_nearly_all_names_have_them(tmp_path: Path) -> None:
    lightning = {**{f"model.{k}": v for k, v in TENSORS.items()}, "criterion.weight": torch.ones(2)}
    torch.save(lightning, tmp_path / "file.pth")
    assert_same(read_tensors(tmp_path / "file.pth"), {**TENSORS, "criterion.weight": torch.ones(2)})
    halves = {f"{'model.' if i % 2 else 'head.'}{k}": v for i, (k, v) in enumerate(TENSORS.items())}
    torch.save(halves, tmp_path / "file.pth")
    assert_same(read_tensors(tmp_path / "file.pth"), halves)
    clash = {"layer0.weight": torch.ones(9), **{f"model.{k}": v for k, v in TENSORS.items()}}
    torch.save(clash, tmp_path / "file.pth")
    assert_same(read_tensors(tmp_path / "file.pth"), clash)


def refused(path: Path) -> str:
    with pytest.raises(SegfoldError) as caught:
        read_tensors(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text
    return text


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    assert "no weights at" in refused(path)
    assert "folder" in refused(tmp_path)
    path.write_bytes(b"")
    assert "empty" in refused(path)
    path.write_text("not weights")
    assert "does not hold weights" in refused(path)
    for value, kind in (
        ([torch.ones(1)], "list"),
        (torch.ones(1), "Tensor"),
        ({"lr": 0.1}, "dict"),
        (None, "NoneType"),
    ):
        torch.save(value, path)
        assert f"no tensors by name, but {kind}" in refused(path)
    loop: dict[str, Any] = {"lr": 0.1}
    loop["model"] = loop
    torch.save(loop, path)
    assert "no tensors" in refused(path)
    torch.jit.trace(nn.Identity(), torch.ones(1)).save(str(path))
    assert "TorchScript" in refused(path)


@pytest.mark.parametrize("write", [torch.save, save_file], ids=["torch", "safetensors"])
def test_damaged_files(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "file"
    write({"weight": torch.arange(5000.0)}, path)
    sound = path.read_bytes()
    for length in (1, 8, 100, len(sound) // 2, len(sound) - 1):
        path.write_bytes(sound[:length])
        assert "does not hold weights" in refused(path)
    if write is torch.save:  # which has checksums
        place = len(sound) // 2
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        assert "checksum" in refused(path)


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


class Touch(Payload):
    """The same by way of a class that no list of bad ones has."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
@pytest.mark.parametrize("bomb", [Payload, Touch])
def test_a_pickle_is_never_executed(tmp_path: Path, bomb: type[Payload], zipped: bool) -> None:
    trap, path = tmp_path / "executed", tmp_path / "trap.pth"
    torch.save({"state_dict": TENSORS, "trap": bomb(trap)}, path, _use_new_zipfile_serialization=zipped)
    assert ("do not trust it" in refused(path)) == (bomb is Payload)
    assert not trap.exists()
    torch.load(path, weights_only=False)  # the trap would have sprung
    assert trap.exists()


def test_foreign_objects_are_refused_by_name_with_a_command_that_converts(tmp_path: Path, monkeypatch) -> None:
    """mmengine's files hold a history of losses, others their arguments or numpy's numbers."""
    package = tmp_path / "mmengine"
    package.mkdir()
    (package / "__init__.py").write_text("class HistoryBuffer:\n    def __init__(self):\n        self.values = [1.0]\n")
    monkeypatch.syspath_prepend(tmp_path)
    history = __import__("mmengine").HistoryBuffer()
    path = tmp_path / "a model's file.pth"
    for foreign, name in (
        (history, "mmengine.HistoryBuffer"),
        (argparse.Namespace(lr=0.1), "argparse.Namespace"),
        (np.float64(0.5), ".multiarray.scalar"),
        (types.SimpleNamespace(lr=0.1), "types.SimpleNamespace"),
    ):
        torch.save({"state_dict": TENSORS, "meta": {"seen": foreign}}, path)
        assert name in refused(path)
    torch.save({"state_dict": TENSORS, "model": nn.Linear(2, 2), "message_hub": history}, path)
    text = refused(path)
    command = shlex.split(text[text.index("python -c") :])
    assert command[:2] == ["python", "-c"]
    monkeypatch.setattr("sys.argv", ["-c", *command[3:]])
    exec(command[2], {})
    assert_same(read_tensors(Path(command[-1])))


class Net(nn.Module):
    """A backbone and two heads, one of which ends in classes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.decode_head = nn.ModuleDict({"conv": nn.Conv2d(4, 4, 1), "conv_seg": nn.Conv2d(4, classes, 1)})
        self.own = nn.Linear(2, 2)


def test_fill_takes_what_fits_and_says_what_it_left(tmp_path: Path) -> None:
    theirs, ours = Net(19).half(), Net(11)
    start = {name: x.clone() for name, x in ours.state_dict().items()}
    torch.save(
        {"state_dict": {f"module.net.{k}": v for k, v in theirs.state_dict().items()}}, path := tmp_path / "net.pth"
    )
    fill(ours, path, needed=("backbone.",), also=("decode_head",))
    for name, tensor in ours.state_dict().items():
        taken = name.startswith("backbone") or ".conv." in name
        assert torch.equal(tensor, (theirs.state_dict()[name].to(tensor.dtype) if taken else start[name])), name
        assert tensor.dtype == start[name].dtype
    assert loaded_lines(nn.Sequential(ours)) == [
        f"6 of 6 tensors of backbone and 2 of 4 tensors of decode_head from {path}; left: decode_head.conv_seg.weight "
        "(19×4×1×1 in the file, 11×4×1×1 here), decode_head.conv_seg.bias (19 in the file, 11 here)"
    ]
    fill(ours, path, also=("own.",))
    assert loaded_lines(ours)[1:] == [f"2 of 2 tensors of own from {path}"]


def test_fill_says_nothing_of_a_file_without_what_it_might_have_taken(tmp_path: Path) -> None:
    """A classifier's file for a network whose encoder says what it took of it."""
    ours = Net(2)
    torch.save({f"backbone.{k}": v for k, v in Net(2).backbone.state_dict().items()}, path := tmp_path / "net.pth")
    fill(ours, path, also=("decode_head",))
    assert loaded_lines(ours) == []


def test_fill_refuses_another_network_and_changes_nothing(tmp_path: Path) -> None:
    path, net = tmp_path / "net.pth", Net(2)
    start = {name: x.clone() for name, x in net.state_dict().items()}
    torch.save({**Net(2).state_dict(), "backbone.0.weight": torch.zeros(4, 3, 5, 5)}, path)
    with pytest.raises(
        SegfoldError, match=r"5 of its 6 .* not backbone\.0\.weight \(4×3×5×5 in the file, 4×3×3×3 here\)"
    ):
        fill(net, path, needed=("backbone.",), also=("decode_head",))
    torch.save(TENSORS, path)
    with pytest.raises(
        SegfoldError, match=r"0 of its 6 .*\(none in the file.* and 3 more; the file has layer0\.weight \(2\)"
    ):
        fill(net, path, needed=("backbone.",))
    assert all(torch.equal(x, start[name]) for name, x in net.state_dict().items())
    torch.save({**Net(2).state_dict(), "backbone.1.bias": torch.full((4,), torch.nan)}, path)
    with pytest.raises(SegfoldError, match=r"backbone\.1\.bias holds NaN"):
        fill(net, path, needed=("backbone.",))


def test_training_says_once_what_it_took_and_refuses_in_one_line(tmp_path: Path) -> None:
    home = make_project(tmp_path / "home")
    train = (
        "train",
        "--config",
        "configs/small.yaml",
        "--fold",
        "0",
        "--run",
        "one",
        "fast=true",
        "model.weights=w.pth",
    )
    state = timm.create_model("test_resnet").state_dict()
    trap = tmp_path / "executed"
    for content, expected in (
        ({"state_dict": state, "trap": Payload(trap)}, "io.open"),
        ({"state_dict": state, "arguments": argparse.Namespace()}, "argparse.Namespace"),
        (timm.create_model("test_vit").state_dict(), "weights of test_resnet: only"),
    ):
        torch.save(content, home / "w.pth")
        done = segfold(home, *train)
        assert done.returncode == 2 and not trap.exists()
        lines = [line for line in done.stderr.splitlines() if not line.startswith("decoding")]
        assert len(lines) == 1 and expected in lines[0], lines
        assert not [x for x in (home / "runs/one").glob("fold0/*") if x.suffix in (".pt", ".safetensors")]
        assert not (home / "runs/one/run.json").exists()
    torch.save({"model": state}, home / "w.pth")
    begun = segfold(home, *train, fault="step:3")
    said = [line for line in (begun.stdout + begun.stderr).splitlines() if "of encoder test_resnet from w.pth" in line]
    assert len(said) == 1 and said[0].endswith("beside it: fc.weight, fc.bias"), (begun.stdout, begun.stderr)
    (home / "w.pth").unlink()  # what goes on needs it no more
    done = segfold(home, *train)
    assert done.returncode == 0 and "of encoder" not in done.stdout + done.stderr, done.stderr
