"""segmentation_models_pytorch's Lovász hinge, https://smp.readthedocs.io/en/latest/losses.html."""

import segmentation_models_pytorch as smp
from torch import Tensor


def forward_backward(logits: Tensor, masks: Tensor, per_image: bool) -> Tensor:
    """The loss of N×1×H×W logits and masks of 0 and 1; leaves its gradient in ``logits.grad``."""
    loss: Tensor = smp.losses.LovaszLoss(smp.losses.BINARY_MODE, per_image=per_image)(logits, masks)
    loss.backward()
    return loss.detach()
