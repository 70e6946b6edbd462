"""Weights that others have trained: their files, the names in them, and what of them a network takes."""

from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from segfold.errors import SegfoldError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, read so that nothing in it can execute; what training scripts wrap them in is taken off.

    Raises:
        SegfoldError: no file, or one that holds something else.
    """
    if not path.is_file():
        raise SegfoldError(f"no weights at {path}; set model.weights to none, or the path of a file")
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    found = torch.load(path, map_location="cpu", weights_only=True)
    found = found.get("state_dict", found)
    return {str(name): tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}


@torch.no_grad()
def fill(network: nn.Module, path: Path, needed: Sequence[str] = (), also: Sequence[str] = ()) -> None:
    """Fills parts of a network from a file whose names are the network's own.

    What there is to say of it is added to ``network.loaded``, a list of lines that training prints.

    Args:
        needed: beginnings of the names that the file must have, every one of them, in the network's shapes.
        also: beginnings of names that are taken where the file has them in the network's shapes; the last layer of other classes
            does not fit and keeps its start.

    Raises:
        SegfoldError: the file cannot be read, or lacks what is needed; the first tensors that do not fit are named.
    """
    theirs = read_tensors(path)
    ours = network.state_dict()
    taken = 0
    for name, tensor in ours.items():
        fits = name in theirs and theirs[name].shape == tensor.shape
        if not fits and name.startswith(tuple(needed)):
            raise SegfoldError(f"{path} does not hold {name}")
        if fits and name.startswith((*needed, *also)):
            tensor.copy_(theirs[name])
            taken += 1
    lines = getattr(network, "loaded", [])
    network.loaded = [*lines, f"{taken} tensors from {path}"]  # type: ignore[assignment]
