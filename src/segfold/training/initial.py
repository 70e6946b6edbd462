"""Weights to start from: another run's, of the same fold of the same fold file."""

import safetensors
import safetensors.torch
import torch
from torch import nn

from segfold.errors import SegfoldError
from segfold.paths import user_path
from segfold.runs.folder import RunFolder, read_done
from segfold.training.plan import FoldJob, recorded_parts


@torch.no_grad()
def start_from(network: nn.Module, job: FoldJob) -> str:
    """Fill ``network`` with the tensors of ``init: runs/OTHER`` that have its names and shapes.

    Returns:
        A line that says how many there were.

    Raises:
        SegfoldError: the other run has not finished this fold, was trained on other data or folds (it may have seen
            what is held out here), or shares no tensor.
    """
    assert job.experiment.init is not None
    other = RunFolder(user_path(job.experiment.init)).fold(job.fold)
    if not other.finished:
        raise SegfoldError(f"init: {other.path} is not a finished fold; train it first, or set init=null")
    if changed := job.changed(recorded_parts(read_done(other))):
        raise SegfoldError(
            f"init: {other.path} was trained on other {' and '.join(changed)}, so it may have seen what fold {job.fold} "
            "holds out; start from a run on the same data and fold file"
        )
    try:
        theirs = safetensors.torch.load_file(other.weights())
    except (OSError, safetensors.SafetensorError) as error:
        raise SegfoldError(f"init: {other.weights()} cannot be read ({error}); train that fold again") from None
    ours = network.state_dict()
    matching = [name for name, tensor in ours.items() if name in theirs and theirs[name].shape == tensor.shape]
    if not matching:
        raise SegfoldError(f"init: {other.path} shares no tensor with this model; check model.name and model.encoder")
    for name in matching:
        ours[name].copy_(theirs[name])
    return f"fold {job.fold}: {len(matching)} of {len(ours)} tensors from {other.path}"
