"""Encoder weights from a file: found, adapted, refused where they do not fit, and never executed."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from segfold.errors import SegfoldError
from segfold.models.encoders import Encoder


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    torch.manual_seed(5)
    state = timm.create_model("mobilenetv3_small_050").state_dict()
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file({k: v.contiguous() for k, v in state.items()}, path)
    return path, state


def test_weights_from_a_file_with_the_stem_adapted(weights_file) -> None:
    path, state = weights_file
    loaded = dict(Encoder("mobilenetv3_small_050", 3, str(path)).net.named_parameters())
    for name, value in loaded.items():
        torch.testing.assert_close(value.data, state[name])
    grey = dict(Encoder("mobilenetv3_small_050", 1, str(path)).net.named_parameters())
    stem = state["conv_stem.weight"]
    torch.testing.assert_close(grey["conv_stem.weight"].data, stem.sum(1, keepdim=True))
    torch.testing.assert_close(grey["blocks.0.0.conv_dw.weight"].data, state["blocks.0.0.conv_dw.weight"])
    four = dict(Encoder("mobilenetv3_small_050", 4, str(path)).net.named_parameters())
    expected = torch.cat([stem, stem[:, :1]], dim=1) * 3 / 4
    torch.testing.assert_close(four["conv_stem.weight"].data, expected)


def test_weights_from_a_pth_file_survive_gates_and_stem(tmp_path) -> None:
    state = timm.create_model("resnet10t").state_dict()
    torch.save(state, tmp_path / "tiny.pth")
    encoder = Encoder("resnet10t", 3, str(tmp_path / "tiny.pth"), stem_pool=False, attention="scse")
    torch.testing.assert_close(encoder.net["layer4"].stage[0].conv1.weight.data, state["layer4.0.conv1.weight"])


def test_wrong_weights_files_are_refused(weights_file, tmp_path) -> None:
    path, state = weights_file
    with pytest.raises(SegfoldError, match=r"does not hold weights of resnet10t"):
        Encoder("resnet10t", 3, str(path))
    save_file({f"{k}_": v.contiguous() for k, v in state.items()}, tmp_path / "renamed.safetensors")
    with pytest.raises(SegfoldError, match=r"weights of mobilenetv3_small_050: only 0 of its \d+ tensors fit"):
        Encoder("mobilenetv3_small_050", 3, str(tmp_path / "renamed.safetensors"))
    with pytest.raises(SegfoldError, match=r"does not hold weights of mobilenetv3_small_100"):
        Encoder("mobilenetv3_small_100", 3, str(path))
    with pytest.raises(SegfoldError, match=r"no weights at .*absent\.pth"):
        Encoder("resnet10t", 3, str(tmp_path / "absent.pth"))
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(SegfoldError, match=r"text\.pth does not hold weights"):
        Encoder("resnet10t", 3, str(tmp_path / "text.pth"))


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def test_a_pickle_in_a_weights_file_never_executes(tmp_path, monkeypatch) -> None:
    """Whatever timm's own reader does: some versions that requirements allow unpickle anything."""
    state = timm.create_model("resnet10t").state_dict()
    trap = tmp_path / "executed"
    torch.save({**state, "trap": Payload(trap)}, tmp_path / "trap.pth")
    torch.save({"state_dict": state}, tmp_path / "sound.pth")
    load, asked = torch.load, []

    def watched(*arguments: Any, **options: Any) -> Any:
        asked.append(options.get("weights_only"))
        return load(*arguments, **options)

    monkeypatch.setattr(torch, "load", watched)
    unsafe = lambda *_, **__: pytest.fail("timm reads the file by its own reader")
    monkeypatch.setattr("timm.models._builder.load_state_dict", unsafe)
    monkeypatch.setattr("timm.models.load_state_dict", unsafe)
    with pytest.raises(SegfoldError, match=r"trap\.pth does not hold weights"):
        Encoder("resnet10t", 3, str(tmp_path / "trap.pth"))
    assert not trap.exists()
    Encoder("resnet10t", 3, str(tmp_path / "sound.pth"))
    assert asked == [True, True]


@pytest.mark.parametrize("wrap", [lambda s: {"model": s}, lambda s: {f"module.{k}": v for k, v in s.items()}])
def test_weights_as_training_scripts_save_them(tmp_path, wrap) -> None:
    state = timm.create_model("resnet10t").state_dict()
    torch.save(wrap(state), tmp_path / "wrapped.pth")
    found = Encoder("resnet10t", 3, str(tmp_path / "wrapped.pth"))
    assert torch.equal(found.net.state_dict()["layer1.0.conv1.weight"], state["layer1.0.conv1.weight"])
    # The file's tensors are not kept beside the network's.
    assert not any("state_dict" in getattr(module, "pretrained_cfg", {}) for module in found.modules())
