"""Weights that others have trained: their files, the names in them, and what of them a network takes."""

import pickle
import re
import shlex
import struct
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from segfold.errors import SegfoldError

# Where training scripts keep the weights beside other things, averaged ones first.
_NESTS = (
    "state_dict_ema",
    "model_ema",
    "params_ema",
    "state_dict",
    "model_state_dict",
    "model",
    "network",
    "net",
    "params",
)
# What torch.compile, DistributedDataParallel and Lightning put before every name.
_WRAPPERS = ("_orig_mod.", "module.", "model.")
_NEARLY_ALL = 0.9
_NAMED = 3
"""Tensors that a message names."""

_CONVERT = (
    'import sys, torch; keep = lambda x: keep(x.state_dict()) if hasattr(x, "state_dict") else '
    "{k: keep(v) for k, v in x.items()} if isinstance(x, dict) else x if torch.is_tensor(x) else None; "
    'torch.save(keep(torch.load(sys.argv[1], map_location="cpu", weights_only=False)), sys.argv[2])'
)
# Parts of Python that do things; what refers to them was not made by saving a training.
_DO_THINGS = {"__builtin__", "builtins", "importlib", "io", "nt", "os", "posix", "runpy", "shutil", "subprocess", "sys"}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU, read so that nothing in it can execute.

    Safetensors, and whatever ``torch.save`` wrote, in its zip or its older form. What training scripts nest the weights in, and
    what wrappers put before (nearly) all of their names, is taken off.

    Raises:
        SegfoldError: no file, a damaged one, one with objects of foreign classes, or without tensors.
    """
    if path.is_dir():
        raise SegfoldError(f"{path} is a folder; set model.weights to a file of tensors in it")
    if not path.is_file():
        raise SegfoldError(f"no weights at {path}; set model.weights to none, or the path of a file")
    try:
        found = safetensors.torch.load_file(path) if _is_safetensors(path) else _unpickled(path)
    except OSError as error:
        raise SegfoldError(f"{path} cannot be read ({error.strerror or _first_line(error)})") from None
    while isinstance(found, Mapping):
        inner = next((found[key] for key in _NESTS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = inner
    tensors = {str(k): v for k, v in found.items() if _is_plain(v)} if isinstance(found, Mapping) else {}
    if not tensors:
        raise SegfoldError(
            f"{path} holds {type(found).__name__} without tensors by name; set model.weights to a file of weights"
        )
    return _unwrapped(tensors)


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized


def _is_safetensors(path: Path) -> bool:
    """By its beginning, as files are renamed: the length of its header, then the header."""
    with path.open("rb") as file:
        begin = file.read(9)
    return path.suffix == ".safetensors" or (
        len(begin) == 9 and begin[8:] == b"{" and struct.unpack("<Q", begin[:8])[0] < path.stat().st_size
    )


def _unpickled(path: Path) -> Any:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if (damaged := archive.testzip()) is not None:  # torch writes checksums and does not read them
                    raise ValueError(f"its part {damaged} has another checksum")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        if named is None:
            raise _unreadable(path, "no pickle of tensors") from None
        raise _foreign(path, named[1]) from None
    except Exception as error:  # torch's readers fail by whatever they stumble over first
        raise _unreadable(path, _first_line(error)) from None


def _unreadable(path: Path, reason: str) -> SegfoldError:
    return SegfoldError(
        f"{path} does not hold weights that can be read ({reason}): it is damaged, or neither safetensors nor of torch.save"
    )


def _foreign(path: Path, kind: str) -> SegfoldError:
    library = kind.partition(".")[0]
    if library in _DO_THINGS:
        return SegfoldError(
            f"{path} does not hold weights alone: to read it would run {kind}, so do not trust it; use another file"
        )
    command = shlex.join(["python", "-c", _CONVERT, str(path), f"{path.with_suffix('')}.tensors.pth"])
    return SegfoldError(
        f"{path} does not hold weights alone: it refers to {kind}, and to read that could run whatever its maker wanted; if you "
        f"trust it, convert it where Python has {library}: {command}"
    )


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    while True:
        for wrapper in _WRAPPERS:
            bare = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
            wrapped = sum(name.startswith(wrapper) for name in tensors)
            if wrapped >= _NEARLY_ALL * len(tensors) and len(bare) == len(tensors):
                tensors = bare
                break
        else:
            return tensors


def common_place(theirs: Iterable[str], known: Callable[[str], bool]) -> str:
    """The beginning after which most of a file's names are known ones: where in the file's network ours is."""
    votes: Counter[str] = Counter()
    for name in theirs:
        starts = [0, *(i + 1 for i, mark in enumerate(name) if mark == ".")]
        votes.update(name[:start] for start in starts if known(name[start:]))
    return max(votes, key=lambda place: (votes[place], -len(place)), default="")


def fits(theirs: Tensor | None, ours: Tensor) -> bool:
    """Whether a file's tensor can stand for the network's; its precision may be another."""
    return theirs is not None and theirs.shape == ours.shape and theirs.is_floating_point() == ours.is_floating_point()


def shape_text(tensor: Tensor | None) -> str:
    """A tensor's shape, for messages."""
    return "none" if tensor is None else "×".join(map(str, tensor.shape)) or "one number"


def named(lines: Sequence[str]) -> str:
    """The first of some descriptions, for messages."""
    more = len(lines) - _NAMED
    return ", ".join(lines[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def is_weight(name: str) -> bool:
    """Whether a network needs the tensor of that name; a count of batches only weighs statistics in training."""
    return not name.endswith("num_batches_tracked")


def misfits(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> list[str]:
    """Those of ``ours`` that the file lacks or has in another shape: each by name, what the file has, and what it is here."""
    return [
        f"{name} ({shape_text(theirs.get(name))} in the file, {shape_text(tensor)} here)"
        for name, tensor in ours.items()
        if is_weight(name) and not fits(theirs.get(name), tensor)
    ]


def refused(path: Path, whose: str, read: Mapping[str, Tensor], wrong: Sequence[str], wanted: int) -> SegfoldError:
    """The error of a file that is of another network.

    Args:
        whose: the network that it was to fill, in words.
        read: all tensors of the file.
        wrong: what does not fit, as ``misfits`` says it.
        wanted: tensors that were looked for.
    """
    begins = named([f"{name} ({shape_text(tensor)})" for name, tensor in read.items() if is_weight(name)])
    return SegfoldError(
        f"{path} does not hold weights of {whose}: only {wanted - len(wrong)} of its {wanted} tensors fit, not {named(wrong)}; "
        f"the file has {begins}; set model.weights to a file that fits"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(":")


@torch.no_grad()
def take(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], path: Path) -> None:
    """Copies the file's tensors to those of the network that they fit, in the network's precision.

    Raises:
        SegfoldError: one of them has numbers that are not finite.
    """
    for name, tensor in ours.items():
        if fits(theirs.get(name), tensor):
            tensor.copy_(theirs[name])
            if not bool(torch.isfinite(tensor).all()):
                raise SegfoldError(f"{path}: {name} has numbers that are not finite; set model.weights to a sound file")


def fill(network: nn.Module, path: Path, needed: Sequence[str] = (), also: Sequence[str] = ()) -> None:
    """Fills parts of a network from a file whose names are the network's own, perhaps behind a common beginning.

    What there is to say of it is added to ``network.loaded``, a list of lines that training prints.

    Args:
        needed: beginnings of the names that the file must have, every one of them, in the network's shapes.
        also: beginnings of names that are taken where the file has them in the network's shapes; the last layer of other classes
            does not fit and keeps its start.

    Raises:
        SegfoldError: the file cannot be read, or lacks what is needed; the first tensors that do not fit are named.
    """
    read = read_tensors(path)
    ours = {name: tensor for name, tensor in network.state_dict().items() if name.startswith((*needed, *also))}
    place = common_place(read, ours.__contains__)
    theirs = {name.removeprefix(place): tensor for name, tensor in read.items() if name.startswith(place)}
    said = []
    for beginnings, of in ((needed, "needed"), (also, "others")):
        part = {name: tensor for name, tensor in ours.items() if name.startswith(tuple(beginnings))}
        wanted = sum(map(is_weight, part))
        wrong = misfits(theirs, part)
        if wrong and of == "needed":
            raise refused(path, f"this network ({', '.join(needed)})", read, wrong, wanted)
        take(part, theirs, path)
        if part:
            left = f"; left: {named(wrong)}" if wrong else ""
            said.append(f"{wanted - len(wrong)} of {wanted} tensors of {', '.join(beginnings)}{left}")
    network.loaded = [*getattr(network, "loaded", []), f"{' and '.join(said)}, from {path}"]  # type: ignore[assignment]


def loaded_lines(network: nn.Module) -> list[str]:
    """What a network and its parts say of the files that they were filled from."""
    return [line for module in network.modules() for line in getattr(module, "loaded", ())]
