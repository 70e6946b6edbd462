"""From an experiment, or a run folder, to its network and back: build, load, save."""

import hashlib
from pathlib import Path

import safetensors
import safetensors.torch
from torch import nn

from segfold.data.images import ImageSet
from segfold.errors import SegfoldError
from segfold.files import write_atomic
from segfold.models import build_model
from segfold.models.input import InputLayer
from segfold.runs.folder import FoldFolder, RunFolder
from segfold.runs.record import read_record, read_run
from segfold.settings import Experiment
from segfold.tasks import Task


def image_channels(images: ImageSet) -> int:
    """Channels of the images of a set.

    Raises:
        SegfoldError: they differ.
    """
    counts = {int(count) for count in images.images.shapes[:, 2]}
    if len(counts) != 1:
        raise SegfoldError(f"images have {sorted(counts)} channels; a network needs one number for all images")
    return counts.pop()


def input_channels(experiment: Experiment, channels: int) -> int:
    """Channels of the network's input, for images of so many channels."""
    return sum(channels if name == "image" else 1 for name in experiment.input.channels)


def network_task(experiment: Experiment, task: Task) -> Task:
    """The task with a plane for each of whose classes the experiment's network is built.

    It is the competition's. Where a stage trains on objects, even one of 0 epochs, and no class is the background, it has
    one class more, the last, for what is no class; ``Output.of_classes`` leaves its plane out again.

    Raises:
        SegfoldError: the classes leave no number for one more.
    """
    return task.with_other() if experiment.isolates_objects else task


def build_network(experiment: Experiment, channels: int, task: Task, fresh: bool = True) -> nn.Module:
    """The experiment's network; with ``fresh`` its encoder starts from ``model.weights``, else nothing is loaded.

    Args:
        channels: of the images; the network's input has one more for each added channel.
        task: of the competition; for the network's planes see ``network_task``.

    Raises:
        SegfoldError: settings that do not go together, or classes that leave no number for one more.
    """
    settings = experiment.model.model_dump()
    if not fresh and "weights" in settings:
        settings["weights"] = "none"
    return build_model(
        settings.pop("name"),
        in_channels=input_channels(experiment, channels),
        classes=len(network_task(experiment, task).classes),
        **settings,
    )


def normalisation(network: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel of the network's input, in 0…1, that its first layer takes out; none if it has none."""
    layer = next((module for module in network.modules() if isinstance(module, InputLayer)), None)
    if layer is None:
        return (), ()
    mean, std = ((values.double().flatten() / 255).tolist() for values in (layer.mean, layer.std))
    return tuple(round(value, 9) for value in mean), tuple(round(value, 9) for value in std)


def open_network(fold: FoldFolder, weights: str = "model") -> nn.Module:
    """The network of a fold with a named set of its weights, in eval mode on the CPU, from its run folder alone.

    It takes N×C×H×W raw pixels in 0…255 of the size in ``input.size`` and gives an ``Output`` of logits, of which those of
    the competition's classes come first: ``output.of_classes(len(classes))`` if one more may follow, see ``network_task``.

    Raises:
        SegfoldError: the folder is of a segfold that did not record what its networks take, or is damaged.
    """
    run = RunFolder(fold.path.parent)
    experiment, record = read_run(run), read_record(run)
    if record is None:
        raise SegfoldError(
            f"{run.path} is a run folder of before run.json, which says what its networks take; train one of its folds "
            "again beside its data (a finished one only gets that file)"
        )
    network = build_network(experiment, record.image_channels, record.competition.task, fresh=False)
    return load_weights(network, fold.weights(weights))


def save_weights(network: nn.Module, path: Path) -> str:
    """Write the network's tensors as safetensors, atomically; returns the sha256 of the file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    data = safetensors.torch.save(tensors)
    with write_atomic(path) as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def weights_digest(path: Path) -> str:
    """The sha256 of a weights file, by which predictions know whose they are."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_weights(network: nn.Module, path: Path) -> nn.Module:
    """Fill ``network`` from ``path`` and put it in eval mode.

    Raises:
        SegfoldError: the file is missing or damaged, or holds the tensors of another network.
    """
    try:
        tensors = safetensors.torch.load_file(path)
        network.load_state_dict(tensors)
    except FileNotFoundError:
        raise SegfoldError(f"{path} does not exist; train the fold again") from None
    except (safetensors.SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SegfoldError(f"{path} does not fit the run's network ({reason}); train the fold again") from None
    return network.eval()
