"""What the hardware decides: device, precision, compilation, threads."""

import os
import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from segfold.errors import SegfoldError
from segfold.settings import Machine

_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

COMPILE_PAYS_FROM = {"cuda": 100_000, "cpu": 20_000}
"""Images through the network from which compiling is worth its minutes."""


@dataclass(frozen=True)
class Runtime:
    """Decided once a fold and kept in its checkpoint, so that a resumed run computes the same."""

    device: torch.device
    precision: str
    compile: bool
    threads: int
    workers: int

    def autocast(self) -> AbstractContextManager[object]:
        """Context in which the network runs; losses and metrics stay in float32 outside it."""
        dtype = _DTYPES[self.precision]
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    @property
    def pinned(self) -> bool:
        return self.device.type == "cuda"


def resolve(machine: Machine, images: int = 0) -> Runtime:
    """Runtime of this machine for a job that sends ``images`` images through the network in training.

    Raises:
        SegfoldError: the device does not exist, or this build of torch cannot run on it.
    """
    device = _device(machine.device)
    # torchrun starts several processes on one machine, each with its share of the cores.
    cores = max(_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)
    threads = cores if machine.threads == "auto" else machine.threads
    torch.set_num_threads(threads)
    precision = _precision(device) if machine.precision == "auto" else machine.precision
    if machine.workers == "auto":
        # A CPU that trains has no core to spare: one worker overlaps decoding with the step.
        workers = max(1, min(8, cores - 1)) if device.type == "cuda" else 1
    else:
        workers = machine.workers
    compiled = machine.compile
    if compiled == "auto":
        # A float32 CPU spends its time in convolutions, which compiling leaves as they are.
        slow = device.type == "cpu" and precision == "fp32"
        compiled = not slow and images >= COMPILE_PAYS_FROM.get(device.type, images + 1)
    return Runtime(device, precision, compiled, threads, workers)


def on_share(fold: int, jobs: int) -> list[str]:
    """Overrides for one of ``jobs`` trainings that share this machine: a part of the cores, or a GPU of its own."""
    if jobs <= 1:
        return []
    if torch.cuda.is_available():
        return [f"machine.device=cuda:{fold % torch.cuda.device_count()}"]
    return [f"machine.threads={max(_cores() // jobs, 1)}"]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        known = device.type in ("cpu", "cuda", "mps", "xpu")  # on "meta" a network would train without numbers
    except RuntimeError:
        known = False
    if not known:
        raise SegfoldError(f"machine.device={name}: unknown device; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise SegfoldError(f"machine.device={name}: torch sees no GPU here; use machine.device=cpu")
        _check_architecture(device)
    return device


def _check_architecture(device: torch.device) -> None:
    major, minor = torch.cuda.get_device_capability(device)
    built = torch.cuda.get_arch_list()
    # Code for sm_80 also runs on later cards of its generation (sm_86, sm_89); compute_80 is compiled for any later card.
    generation = any(arch == f"sm_{major}{low}" for arch in built for low in range(minor + 1))
    portable = any(
        int(arch.removeprefix("compute_").rstrip("a")) <= 10 * major + minor
        for arch in built
        if arch.startswith("compute_")
    )
    if generation or portable:
        return
    raise SegfoldError(
        f"{torch.cuda.get_device_name(device)} is sm_{major}{minor}, this torch {torch.__version__} is built for "
        f"{', '.join(built)}; install a torch that supports the card, or use machine.device=cpu"
    )


def _precision(device: torch.device) -> str:
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"
    if device.type == "cpu" and _cpu_has_bf16():
        return "bf16"
    return "fp32"


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AMX or AVX512-BF16); emulated it is slower than float32."""
    tests = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, test, bool)()) for test in tests)


def device_name(machine: Machine) -> str:
    """The device that training would run on, as its maker calls it."""
    device = _device(machine.device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"
