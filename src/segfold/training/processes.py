"""Several processes as one: started by ``torchrun``, they share out each batch and add up what they found.

Gradients are added in one buffer after the last part of a batch rather than by DistributedDataParallel: heads that a
stage's loss leaves out, a frozen encoder, compiled networks and accumulation then need no special case, and the sums
of a loss travel the same way.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segfold.errors import SegfoldError

PATIENCE = timedelta(hours=6)
"""How long a process waits for another, which may be predicting."""


@dataclass(frozen=True)
class Group:
    """The processes that train one fold together; alone, every method returns what it was given."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    def added(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums over the processes, key by key, without gradient."""
        if self.size == 1:
            return {name: value.detach() for name, value in sums.items()}
        flat = torch.cat([value.detach().flatten() for value in sums.values()])
        dist.all_reduce(flat)
        pieces = flat.split([value.numel() for value in sums.values()])
        return {name: piece.view_as(value) for (name, value), piece in zip(sums.items(), pieces)}

    def add_gradients(self, network: nn.Module) -> None:
        """Replace each gradient by its sum over the processes."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, piece in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
            gradient.copy_(piece.view_as(gradient))

    def alike(self, network: nn.Module) -> None:
        """Give every process the first one's weights and buffers."""
        if self.size > 1:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, 0)

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in some process, so that all leave a loop at the same step."""
        if self.size == 1:
            return flag
        flags: list[Any] = [None] * self.size
        dist.all_gather_object(flags, flag, group=_quiet_group())
        return any(flags)

    def gathered(self, value: Any) -> list[Any]:
        """The plain values of all processes, by rank; also a meeting point."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=_quiet_group())
        return values


ALONE = Group()
_quiet: list[Any] = []


def _quiet_group() -> Any:
    # Over CPU memory, so that polling never waits for the GPU's queue.
    return _quiet[0]


def launched() -> bool:
    """Whether ``torchrun`` started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_rank() -> int:
    """This process's number on its machine, which is the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def join_group(device: str = "auto") -> Group:
    """The group that ``torchrun``'s environment describes: gloo between CPUs, nccl between GPUs.

    Args:
        device: ``machine.device``; with ``auto`` or ``cuda`` each process takes the GPU of its local number.

    Raises:
        SegfoldError: more processes than GPUs, or a torch that cannot do it.
    """
    if not launched():
        return ALONE
    if not dist.is_available():
        raise SegfoldError("this torch is built without torch.distributed; start without torchrun")
    if not dist.is_initialized():
        on_gpu = device != "cpu" and torch.cuda.is_available()
        if on_gpu:
            if local_rank() >= torch.cuda.device_count():
                raise SegfoldError(
                    f"{local_rank() + 1} or more processes for {torch.cuda.device_count()} GPUs: "
                    "lower torchrun's --nproc-per-node, or set machine.device=cpu"
                )
            torch.cuda.set_device(local_rank())
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
        _quiet[:] = [dist.new_group(backend="gloo", timeout=PATIENCE)]
    return Group(dist.get_rank(), dist.get_world_size())


def leave_group() -> None:
    """End the group, where there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
        _quiet.clear()


def synchronised(network: nn.Module, device: torch.device, group: Group) -> nn.Module:
    """The network with batch norm over all processes' images, where the device has it (GPUs)."""
    if group.size == 1 or device.type != "cuda":
        return network
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)


class _LocalNorm(_BatchNorm):
    """Batch norm of any number of dimensions, over this process's images alone."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


def unsynchronised(network: nn.Module) -> nn.Module:
    """The network with batch norms that wait for no other process, as the first one needs when it works alone.

    Weights, statistics and their names stay as they are.
    """
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.SyncBatchNorm):
            local = _LocalNorm(module.num_features, module.eps, module.momentum, module.affine)
            local.__dict__.update({key: module.__dict__[key] for key in ("_parameters", "_buffers", "training")})
            network.set_submodule(name, local)
    return network
