"""What the hardware decides, with the hardware played by stand-ins."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from segfold.errors import SegfoldError
from segfold.inference import device
from segfold.inference.device import resolve
from segfold.settings import Machine
from segfold.training.compiling import Compiled


@pytest.fixture(autouse=True)
def threads() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def play(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] | None = None, bf16: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "A card")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_70", "sm_80", "sm_90", "compute_90"])
    monkeypatch.setattr(device, "_cpu_has_bf16", lambda: bf16)


@pytest.mark.parametrize(
    ("capability", "bf16", "kind", "precision"),
    [
        (None, False, "cpu", "fp32"),
        (None, True, "cpu", "bf16"),
        ((7, 0), False, "cuda", "fp16"),
        ((7, 5), False, "cuda", "fp16"),
        ((8, 6), False, "cuda", "bf16"),
        ((9, 0), True, "cuda", "bf16"),
        ((12, 0), False, "cuda", "bf16"),
    ],
)
def test_precision(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] | None, bf16: bool, kind: str, precision: str
) -> None:
    play(monkeypatch, capability, bf16)
    runtime = resolve(Machine())
    assert (runtime.device.type, runtime.precision) == (kind, precision)
    assert runtime.pinned == (kind == "cuda")


def test_a_card_that_torch_was_not_built_for(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, (6, 1))
    with pytest.raises(SegfoldError, match=r"A card is sm_61.*sm_70.*machine\.device=cpu"):
        resolve(Machine())


@pytest.mark.parametrize(
    ("capability", "bf16", "images", "expected"),
    [
        ((8, 0), False, 200_000, True),
        ((8, 0), False, 1_000, False),
        (None, True, 50_000, True),
        (None, True, 1_000, False),
        (None, False, 10_000_000, False),
    ],
)
def test_compiles_when_it_pays(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] | None, bf16: bool, images: int, expected: bool
) -> None:
    play(monkeypatch, capability, bf16)
    assert resolve(Machine(), images).compile is expected
    assert resolve(Machine(compile=not expected), images).compile is not expected


def test_settings_win(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, (8, 0))
    runtime = resolve(Machine(device="cpu", precision="bf16", threads=1, workers=3))
    assert (runtime.device.type, runtime.precision, runtime.threads, runtime.workers) == ("cpu", "bf16", 1, 3)
    assert torch.get_num_threads() == 1


def test_autocast_is_of_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch)
    layer, x = nn.Linear(2, 2), torch.ones(1, 2)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with resolve(Machine(precision=precision)).autocast():  # type: ignore[arg-type]
            assert layer(x).dtype == dtype


@pytest.mark.parametrize("name", ["cuda", "warp", "cuda:x", "cuda:" + "9" * 21, "meta", ""])
def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    play(monkeypatch)
    with pytest.raises(SegfoldError, match=f"machine.device={name}"):
        resolve(Machine(device=name))


def test_failed_compile_falls_back_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(network: nn.Module) -> Callable[[Tensor], Tensor]:
        def forward(images: Tensor) -> Tensor:
            raise RuntimeError("no compiler\nhere")

        return forward

    monkeypatch.setattr(torch, "compile", broken)
    said: list[str] = []
    forward = Compiled(nn.Identity(), said.append)
    assert torch.equal(forward(torch.ones(2)), torch.ones(2))
    assert torch.equal(forward(torch.zeros(2)), torch.zeros(2))
    assert len(said) == 1 and "no compiler here" in said[0]


def test_compiled_network_that_worked_shows_its_own_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda network: lambda images: 1 / images)
    forward = Compiled(nn.Identity(), pytest.fail)
    assert forward(2) == 0.5  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        forward(0)  # type: ignore[arg-type]
