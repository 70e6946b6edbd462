"""What the hardware decides, once a fold: device, precision, compilation, threads."""

import logging
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from segfold.cores import cores
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
    def device_name(self) -> str:
        """The device, as its maker calls it."""
        return _name(self.device)

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
    share = max(cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)
    threads = share if machine.threads == "auto" else machine.threads
    torch.set_num_threads(threads)
    precision = _precision(device) if machine.precision == "auto" else machine.precision
    if machine.workers == "auto":
        # A CPU that trains has no core to spare: one worker overlaps decoding with the step.
        workers = max(1, min(8, share - 1)) if device.type == "cuda" else 1
    else:
        workers = machine.workers
    compiled = machine.compile
    if compiled == "auto":
        # A float32 CPU spends its time in convolutions, which compiling leaves as they are.
        slow = device.type == "cpu" and precision == "fp32"
        compiled = not slow and images >= COMPILE_PAYS_FROM.get(device.type, images + 1)
    return Runtime(device, precision, compiled, threads, workers)


def resume(machine: Machine, images: int, decided: Mapping[str, Any]) -> tuple[Runtime, list[str]]:
    """Runtime of a job that has begun, perhaps on another machine.

    What a setting names is obeyed. What was left to us stays as it was decided, so that the job goes on to the bit,
    for as long as this machine can do it.

    Args:
        images: as for ``resolve``.
        decided: what the beginning kept of its runtime: ``device``, ``precision``, ``compile``, ``threads``.

    Returns:
        The runtime, and a line for each decision that is another one now.
    """
    now = resolve(machine, images)
    if decided["device"] == now.device.type:
        if machine.precision == "auto" and decided["precision"] in _able(now.device):
            now = replace(now, precision=decided["precision"])
        if machine.compile == "auto":
            now = replace(now, compile=decided["compile"])
        if machine.threads == "auto":
            now = replace(now, threads=min(decided["threads"], cores()))
    torch.set_num_threads(now.threads)
    found = {"device": now.device.type, "precision": now.precision, "compile": now.compile, "threads": now.threads}
    changed = [name for name, value in found.items() if value != decided[name]]
    return now, [f"begun with {name} {decided[name]}, going on with {found[name]}" for name in changed]


def _able(device: torch.device) -> set[str]:
    """Precisions that a device computes in hardware."""
    if device.type == "cuda":
        return {"fp32", "fp16"} | ({"bf16"} if _precision(device) == "bf16" else set())
    return {"fp32", _precision(device)}


_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "status_alloc_failed")


@contextmanager
def memory_errors(runtime: Runtime, advice: str) -> Iterator[None]:
    """Turns memory that is used up, the GPU's or the machine's, into one line.

    Args:
        advice: what to do, such as ``lower batch_size``.

    Raises:
        SegfoldError: in place of whatever torch, CUDA's libraries or Python said.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error).lower()
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not any(s in text for s in _OUT_OF_MEMORY):
            raise
        raise SegfoldError(
            f"out of memory on {runtime.device}: {advice}; the same command goes on from here"
        ) from error


class Compiled:
    """Calls the compiled network; if compiling fails, says so once and goes on with the plain one."""

    def __init__(self, network: nn.Module, say: Callable[[str], None]) -> None:
        # Where there is a CUDA compiler but no GPU, torch says so while it compiles for the CPU.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        self._plain: Callable[..., Any] = network
        self._forward: Callable[..., Any] = torch.compile(network)
        self._say = say
        self._worked = False

    def __call__(self, images: Tensor) -> Any:
        try:
            output = self._forward(images)
        except torch.OutOfMemoryError:
            raise  # the plain network needs no less
        except Exception as error:
            if self._worked or self._forward is self._plain:
                raise
            reason = " ".join(str(error).split())[:120]
            self._say(f"torch.compile failed ({type(error).__name__}: {reason}); going on uncompiled")
            self._forward = self._plain
            output = self._forward(images)
        self._worked = True
        return output


def on_share(fold: int, jobs: int) -> list[str]:
    """Overrides for one of ``jobs`` trainings that share this machine: a part of the cores, or a GPU of its own."""
    if jobs <= 1:
        return []
    if torch.cuda.is_available():
        return [f"machine.device=cuda:{fold % torch.cuda.device_count()}"]
    return [f"machine.threads={max(cores() // jobs, 1)}"]


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
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
    if device.type == "cpu" and cpu_has_bf16():
        return "bf16"
    return "fp32"


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AMX or AVX512-BF16); emulated it is slower than float32.

    oneDNN, which does it, must be there and may be told to leave such instructions alone (``ONEDNN_MAX_CPU_ISA``).
    """
    tests = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    if not any(bool(getattr(torch.cpu, test, bool)()) for test in tests):
        return False
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a torch without oneDNN
        return False


def device_name(machine: Machine) -> str:
    """The device that training would run on, as its maker calls it."""
    return _name(_device(machine.device))


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"
