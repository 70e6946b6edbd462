"""From an experiment to its network and back: build, load, save, and the sizing around it."""

import hashlib
from pathlib import Path

import safetensors
import safetensors.torch
from torch import nn

from segfold.competition import Competition
from segfold.data.geometry.sizing import Sizing
from segfold.data.images import ImageSet
from segfold.errors import SegfoldError
from segfold.models import build_model
from segfold.runs.folder import write_atomic
from segfold.settings import Experiment, Stage


def sizing_of(experiment: Experiment, stage: Stage | None = None) -> Sizing:
    """Sizing of the experiment's input, or of a stage that has a size of its own."""
    return experiment.input.sizing(None if stage is None else stage.size)


def input_channels(experiment: Experiment, images: ImageSet) -> int:
    """Channels of the network's input: the image's own, and one for each added channel."""
    counts = {int(count) for count in images.images.shapes[:, 2]}
    if len(counts) != 1:
        raise SegfoldError(f"images have {sorted(counts)} channels; a network needs one number for all images")
    own = counts.pop()
    return sum(own if channel == "image" else 1 for channel in experiment.input.channels)


def build_network(experiment: Experiment, competition: Competition, images: ImageSet, fresh: bool = True) -> nn.Module:
    """The experiment's network; with ``fresh`` its encoder starts from ``model.weights``, else nothing is loaded."""
    settings = experiment.model.model_dump()
    if not fresh and "weights" in settings:
        settings["weights"] = "none"
    return build_model(
        settings.pop("name"),
        in_channels=input_channels(experiment, images),
        classes=len(competition.classes),
        **settings,
    )


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
