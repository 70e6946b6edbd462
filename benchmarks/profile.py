"""Where a training step's time goes: ``python -m benchmarks.profile [--network peer|default] [--size 128]``.

Prints the ten dearest operations of some steps through the engine, and what kinds of work they add up to.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.engine import RawPixels, Trained
from benchmarks.measure import machine
from benchmarks.training import BATCH, SAME_LOSS, SIZE
from benchmarks.workload import FULL_TRAINING, first_stage, make_images
from segfold.machine import resolve

SHOWN = 10
KINDS: Mapping[str, tuple[str, ...]] = {
    "loader": ("DataLoader",),
    "compiled code": ("triton", "graph_", "cpp_fused", "CompiledFunction", "inductor", "Torch-Compiled"),
    "pooling and upsampling": ("pool", "upsample"),
    "convolution": ("conv", "::linear", "::addmm", "::mm", "::bmm"),
    "batch norm": ("batch_norm",),
    "optimiser, average and clipping": ("_foreach", "_fused", "lerp", "clip", "linalg_vector_norm"),
    "copies, casts and layouts": ("copy_", "_to_copy", "contiguous", "clone", "::cat", "slice", "fill_", "zero_"),
}
"""Kinds of work by parts of an operation's name; the first that fits counts."""

OTHER = "all else: additions, activations, gates, loss"


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--network", choices=("peer", "default"), default="default")
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="segfold-bench-") as folder:
        costs = step_costs(options.network, options.size, options.steps, Path(folder))
    whole = sum(costs.values())
    shown = Table(
        title=f"{options.network} network, {options.size}², a step of {BATCH} images; {machine()}", title_justify="left"
    )
    for name in ("operation", "ms a step", "share"):
        shown.add_column(name, justify="left" if name == "operation" else "right")
    for name, cost in sorted(costs.items(), key=lambda pair: -pair[1])[:SHOWN]:
        shown.add_row(name, f"{cost:.1f}", f"{cost / whole:.1%}")
    shown.add_section()
    for name, cost in sorted(by_kind(costs).items(), key=lambda pair: -pair[1]):
        shown.add_row(name, f"{cost:.1f}", f"{cost / whole:.1%}")
    Console().print(shown)
    return 0


def step_costs(network: str, size: int, steps: int, folder: Path) -> dict[str, float]:
    """Milliseconds a step that each operation takes itself, what it calls left out."""
    make_images(folder, steps * BATCH)
    job = first_stage(folder, size, BATCH, SAME_LOSS if network == "peer" else ())
    runtime = resolve(job.experiment.machine, FULL_TRAINING)
    built: nn.Module
    if network == "peer":
        from benchmarks.peers import smp_training

        built = RawPixels(smp_training.network(), smp_training.MEAN, smp_training.STD)
    else:
        built = job.network()
    trained = Trained(job, built, runtime)
    trained.epoch()
    on_gpu = runtime.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as found:
        trained.epoch()
    trained.close()
    attribute = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    costs = {event.key: getattr(event, attribute) / 1000 / steps for event in found.key_averages()}
    return {name: cost for name, cost in costs.items() if cost > 0}


def by_kind(costs: Mapping[str, float]) -> dict[str, float]:
    """The costs added up by kind of work."""
    kinds: dict[str, float] = {}
    for name, cost in costs.items():
        kind = next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), OTHER)
        kinds[kind] = kinds.get(kind, 0.0) + cost
    return kinds


if __name__ == "__main__":
    sys.exit(main())
