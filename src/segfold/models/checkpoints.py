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
    found = _contents(path)
    for _ in _NESTS:  # a pickle can hold itself
        nested = (found[key] for key in _NESTS if isinstance(found, Mapping) and isinstance(found.get(key), Mapping))
        found = next(nested, found)
    tensors = {str(k): v for k, v in found.items() if _is_plain(v)} if isinstance(found, Mapping) else {}
    if not tensors:
        raise SegfoldError(
            f"{path} holds no tensors by name, but {type(found).__name__}; set model.weights to a file of weights"
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


def _contents(path: Path) -> Any:
    try:
        if not path.stat().st_size:
            raise ValueError("it is empty")
        if _is_safetensors(path):
            return safetensors.torch.load_file(path)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if (damaged := archive.testzip()) is not None:  # torch writes checksums and does not read them
                    raise ValueError(f"its part {damaged} has another checksum")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if (foreign := re.search(r"GLOBAL ([\w.]+)", str(error))) is not None:
            raise _refer(path, foreign[1]) from None
        reason = "no tensors of torch.save"
    except Exception as error:  # the readers fail by whatever they stumble over first
        reason = (str(error).strip() or type(error).__name__).split("\n")[0].split(". ")[0].rstrip(":")
    raise SegfoldError(
        f"{path} does not hold weights that can be read ({reason}): it is damaged, or neither safetensors nor of torch.save; "
        "set model.weights to a sound file"
    )


def _refer(path: Path, kind: str) -> SegfoldError:
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


def left_over(how: str, lines: Sequence[str]) -> str:
    """The end of a line that says what was taken: what was not."""
    return f"; {how}: {named(lines)}" if lines else ""


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


def refused(
    source: str | Path, whose: str, read: Mapping[str, Tensor], wrong: Sequence[str], wanted: int
) -> SegfoldError:
    """The error of a file that is of another network.

    Args:
        whose: the network that it was to fill, in words.
        read: all tensors of the file.
        wrong: what does not fit, as ``misfits`` says it.
        wanted: tensors that were looked for.
    """
    begins = named([f"{name} ({shape_text(tensor)})" for name, tensor in read.items() if is_weight(name)])
    return SegfoldError(
        f"{source} does not hold weights of {whose}: only {wanted - len(wrong)} of its {wanted} tensors fit, not {named(wrong)}; "
        f"the file has {begins}; set model.weights to a file that fits"
    )


@torch.no_grad()
def take(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], source: str | Path) -> None:
    """Copies the file's tensors to those of the network that they fit, in the network's precision.

    Raises:
        SegfoldError: one of them holds NaN.
    """
    for name, tensor in ours.items():
        if fits(theirs.get(name), tensor):
            tensor.copy_(theirs[name])
    check_numbers(ours, source)


def check_numbers(filled: Mapping[str, Tensor], source: str | Path) -> None:
    """Raises a SegfoldError that names a tensor with NaN in it, if what was filled from the file has one."""
    wrong = next((name for name, tensor in filled.items() if bool(tensor.isnan().any())), None)
    if wrong is not None:
        raise SegfoldError(f"{source}: {wrong} holds NaN; set model.weights to a sound file")


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
    fill_from(network, read_tensors(path), path, needed, also)


def fill_from(
    network: nn.Module,
    read: Mapping[str, Tensor],
    source: str | Path,
    needed: Sequence[str] = (),
    also: Sequence[str] = (),
) -> None:
    """As ``fill``, from tensors that are read already; ``source`` says whence."""
    ours = network.state_dict()
    must, may = ({name: x for name, x in ours.items() if name.startswith(tuple(starts))} for starts in (needed, also))
    both = {**must, **may}
    place = common_place(read, both.__contains__)
    theirs = {name.removeprefix(place): tensor for name, tensor in read.items() if name.startswith(place)}
    if wrong := misfits(theirs, must):
        raise refused(source, f"this network ({_parts(needed)})", read, wrong, sum(map(is_weight, must)))
    take(both, theirs, source)
    left = misfits(theirs, may)
    said = [
        f"{total - missing} of {total} tensors of {_parts(starts)}"
        for starts, part, missing in ((needed, must, 0), (also, may, len(left)))
        if (total := sum(map(is_weight, part)))
    ]
    line = f"{' and '.join(said)} from {source}{left_over('left', left)}"
    if not must and len(left) == sum(map(is_weight, may)):
        return  # a file of an encoder alone, of which the encoder says what was taken
    network.loaded = [*getattr(network, "loaded", []), line]  # type: ignore[assignment]


def _parts(starts: Sequence[str]) -> str:
    return ", ".join(start.rstrip(".") for start in starts)


def loaded_lines(network: nn.Module) -> list[str]:
    """What a network and its parts say of the files that they were filled from."""
    return [line for module in network.modules() for line in getattr(module, "loaded", ())]
