"""Whether a network takes and gives the sizes that it is to be shown: looked at without data, by shapes alone."""

import torch
from torch import nn
from torch.func import functional_call

from segfold.data.geometry.symmetry import TRANSFORMS
from segfold.data.geometry.view import ViewPlan, pose_of
from segfold.errors import SegfoldError
from segfold.models.output import Output
from segfold.resize import Shape

_STEP = 32  # of the sizes that are proposed instead


def meta_output(network: nn.Module, shape: tuple[int, int, int, int]) -> Output:
    """What the network makes of images of this shape, N×C×H×W: tensors without numbers.

    Raises:
        SegfoldError, ValueError, RuntimeError: as the network does.
    """
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    with torch.no_grad(), torch.random.fork_rng(devices=[]), torch.device("meta"):
        shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
        found: Output = functional_call(network, shapes, (torch.empty(shape, dtype=torch.uint8),))
    return found


def check_frames(network: nn.Module, plan: ViewPlan, channels: int) -> None:
    """Refuses views that the network does not take, or does not give an answer of the right size to.

    Args:
        network: left in the mode in which it is.
        channels: of its input.

    Raises:
        SegfoldError: names the setting, and scales that would do.
    """
    training, seen = network.training, set()
    network.eval()
    try:
        for name in plan.tta:
            pose = pose_of(name)
            sizing = plan.sizing if plan.tiles else plan.sizing.larger(pose.scale)
            frame = TRANSFORMS[pose.symmetry].shape((sizing.height, sizing.width))
            given = TRANSFORMS[pose.symmetry].shape(sizing.given)
            if frame in seen or (reason := _refusal(network, frame, given, channels)) is None:
                seen.add(frame)
                continue
            raise SegfoldError(f"{_setting(plan, name)}: {reason}{_instead(network, plan, name, channels)}")
    finally:
        network.train(training)


def _refusal(network: nn.Module, frame: Shape, given: Shape, channels: int) -> str | None:
    try:
        found = meta_output(network, (1, channels, *frame)).logits.shape[-2:]
    except SegfoldError as error:
        return str(error)
    except (RuntimeError, ValueError):  # what only data can tell
        return None
    if tuple(found) == given:
        return None
    return (
        f"the network gives {found[0]}×{found[1]} for an input of {frame[0]}×{frame[1]}, and its model says that it gives "
        f"{given[0]}×{given[1]}"
    )


def _setting(plan: ViewPlan, name: str) -> str:
    if pose_of(name).scale != 1 and plan.tiles is None:
        return f"predict.tta has {name}"
    return "predict.tiles" if plan.tiles else "prediction"


def _instead(network: nn.Module, plan: ViewPlan, name: str, channels: int) -> str:
    """Scales near by that the network takes."""
    pose = pose_of(name)
    if plan.tiles or pose.scale == 1:
        return ""
    length, found = plan.sizing.given[0], []
    below = int(length * pose.scale) // _STEP * _STEP
    for size in (below, below + _STEP):
        scale = round(size / length, 6)
        sizing = plan.sizing.larger(scale) if size else plan.sizing
        if size and scale != 1 and _refusal(network, (sizing.height, sizing.width), sizing.given, channels) is None:
            found.append(f"{scale:g}")
    return f"; a scale of {' or '.join(found)} would do" if found else ""
