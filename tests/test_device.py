"""What the hardware decides, with the hardware played by stand-ins."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from segfold import machine as device
from segfold.errors import SegfoldError
from segfold.machine import Compiled, Runtime, memory_errors, resolve, resume
from segfold.settings import Machine

CPU = Runtime(torch.device("cpu"), "fp32", compile=False, threads=1, workers=0)


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
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: bf16)


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


@pytest.mark.parametrize("name", ["cuda", "cuda:7"])
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


DECIDED = {"device": "cpu", "precision": "fp32", "compile": False, "threads": 1}


@pytest.mark.parametrize(
    ("decided", "machine", "capability", "bf16", "expected"),
    [
        # What was left to us stays: begun without AMX, going on with it.
        (DECIDED, Machine(), None, True, DECIDED),
        # ... but only while the machine can do it: begun with AMX, or on 60 cores, going on without.
        ({**DECIDED, "precision": "bf16"}, Machine(), None, False, DECIDED),
        ({**DECIDED, "threads": 60}, Machine(), None, False, {**DECIDED, "threads": 4}),
        ({**DECIDED, "compile": True}, Machine(), None, False, {**DECIDED, "compile": True}),
        # What a setting names is obeyed, also in the middle of a training.
        (DECIDED, Machine(precision="bf16"), None, False, {**DECIDED, "precision": "bf16"}),
        ({**DECIDED, "precision": "bf16"}, Machine(precision="fp32"), None, True, DECIDED),
        ({**DECIDED, "compile": True}, Machine(compile=False), None, True, DECIDED),
        (DECIDED, Machine(threads=3), None, False, {**DECIDED, "threads": 3}),
        # Other hardware decides anew.
        (DECIDED, Machine(), (7, 5), False, {"device": "cuda", "precision": "fp16", "compile": False, "threads": 4}),
        (
            {"device": "cuda", "precision": "bf16", "compile": False, "threads": 4},
            Machine(),
            (7, 5),
            False,
            {"device": "cuda", "precision": "fp16", "compile": False, "threads": 4},
        ),
        (
            {"device": "cuda", "precision": "fp16", "compile": False, "threads": 4},
            Machine(),
            (8, 0),
            False,
            {"device": "cuda", "precision": "fp16", "compile": False, "threads": 4},
        ),
        ({"device": "cuda", "precision": "bf16", "compile": True, "threads": 4}, Machine(), None, False, None),
    ],
)
def test_going_on_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
    decided: dict[str, object],
    machine: Machine,
    capability: tuple[int, int] | None,
    bf16: bool,
    expected: dict[str, object] | None,
) -> None:
    play(monkeypatch, capability, bf16)
    monkeypatch.setattr(device, "cores", lambda: 4)
    runtime, said = resume(machine, 0, decided)
    found = {
        "device": runtime.device.type,
        "precision": runtime.precision,
        "compile": runtime.compile,
        "threads": runtime.threads,
    }
    assert found == (expected or {**DECIDED, "threads": 4})
    assert torch.get_num_threads() == runtime.threads
    # Every change is said, and nothing else.
    changed = [name for name, value in found.items() if value != decided[name]]
    assert [line.split()[2] for line in said] == changed


def test_bfloat16_as_onednn_will_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor alone does not decide: ``ONEDNN_MAX_CPU_ISA`` holds the library back."""
    for amx, onednn in ((True, True), (True, False), (False, True), (False, False)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda onednn=onednn: onednn)
        assert device.cpu_has_bf16() is (amx and onednn)


def test_held_back_by_the_variable() -> None:
    """What ``cpu_has_bf16`` asks of oneDNN obeys it; torch's own look at the processor does not."""
    code = "import torch; print(torch.ops.mkldnn._is_mkldnn_bf16_supported())"
    held = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    assert subprocess.run([sys.executable, "-c", code], env=held, capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:113] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
)
def test_memory_that_is_used_up(error: Exception) -> None:
    with pytest.raises(SegfoldError, match="out of memory on cpu: lower it") as found, memory_errors(CPU, "lower it"):
        raise error
    assert "\n" not in str(found.value)


def test_other_errors_are_no_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="sizes differ"), memory_errors(CPU, "lower it"):
        raise RuntimeError("sizes differ")


def test_a_network_that_needs_too_much_is_not_run_again_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(images: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "compile", lambda network: compiled)
    with pytest.raises(torch.OutOfMemoryError):
        Compiled(nn.Identity(), pytest.fail)(torch.ones(2))
