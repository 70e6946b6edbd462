"""Every loss in every mode, and inputs to try it on."""

import pytest
import torch

from segfold.losses import LOSSES

Z = torch.tensor([2.0, -1.0, 0.5, -3.0]).reshape(1, 1, 2, 2)
Y = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 2, 2)

CASES = {
    "bce": ("bce", {}),
    "bce-smoothed": ("bce", {"smoothing": 0.1}),
    "ce": ("ce", {}),
    "ce-batch": ("ce", {"average": "batch"}),
    "ce-all": ("ce", {"average": "all"}),
    "ce-classes": ("ce", {"class_weights": {"a": 3.0}, "smoothing": 0.1}),
    "weighted": ("weighted", {}),
    "weighted-classes": ("weighted", {"positive": 3.0, "balance": True}),
    "weighted-border": ("weighted", {"border": 10.0, "sigma": 2.0}),
    "weighted-by-class": ("weighted", {"class_weights": {"a": 3.0}}),
    "focal": ("focal", {}),
    "focal-alpha": ("focal", {"gamma": 1.5, "alpha": 0.25}),
    "focal-smoothed": ("focal", {"smoothing": 0.2}),
    "focal-classes": ("focal", {"class_weights": {"a": 3.0}}),
    "bootstrapped": ("bootstrapped", {}),
    "bootstrapped-pixels": ("bootstrapped", {"pixels": 9}),
    "bootstrapped-fraction": ("bootstrapped", {"fraction": 0.3}),
    "bootstrapped-warmup": ("bootstrapped", {"warmup": 0.5}),
    "bootstrapped-below": ("bootstrapped", {"fraction": 0.1, "below": 0.7}),
    "bootstrapped-classes": ("bootstrapped", {"fraction": 0.3, "class_weights": {"a": 3.0}}),
    "dice": ("dice", {}),
    "dice-unsmoothed": ("dice", {"smooth": 0.0}),
    "dice-batch": ("dice", {"mode": "batch"}),
    "inverse-dice": ("inverse_dice", {}),
    "inverse-dice-batch": ("inverse_dice", {"mode": "batch", "smooth": 0.0}),
    "jaccard": ("jaccard", {}),
    "jaccard-batch": ("jaccard", {"mode": "batch", "smooth": 0.5}),
    "tversky": ("tversky", {"alpha": 0.3, "beta": 0.7}),
    "tversky-focal": ("tversky", {"gamma": 0.75, "smooth": 0.5}),
    "tversky-batch": ("tversky", {"mode": "batch", "alpha": 0.3, "beta": 0.7, "gamma": 1.5}),
    "lovasz": ("lovasz", {}),
    "lovasz-elu": ("lovasz", {"activation": "elu"}),
    "lovasz-symmetric": ("lovasz", {"symmetric": True}),
    "lovasz-symmetric-elu": ("lovasz", {"symmetric": True, "activation": "elu"}),
    "lovasz-batch": ("lovasz", {"symmetric": True, "per_image": False}),
    "lovasz-softmax": ("lovasz_softmax", {}),
    "lovasz-softmax-all": ("lovasz_softmax", {"classes": "all"}),
    "lovasz-softmax-batch": ("lovasz_softmax", {"per_image": False}),
    "boundary": ("boundary", {}),
}
NOT_ADDITIVE = {"lovasz-batch", "lovasz-softmax-batch"}
"""Losses that look at the whole batch at once and cannot be put together from parts."""
NOT_LINEAR = {"dice-batch", "inverse-dice-batch", "jaccard-batch", "tversky-batch", *NOT_ADDITIVE}
"""Losses that are no means over images."""
DILUTED = {"ce-all"}
"""Losses that are divided by pixels that do not count, too."""

EVERY = {case: LOSSES[name](**settings) for case, (name, settings) in CASES.items()}
ADDITIVE = {case: loss for case, loss in EVERY.items() if case not in NOT_ADDITIVE}
every = pytest.mark.parametrize("loss", EVERY.values(), ids=EVERY)
UNDILUTED = {case: loss for case, loss in EVERY.items() if case not in DILUTED}
undiluted = pytest.mark.parametrize("loss", UNDILUTED.values(), ids=UNDILUTED)
additive = pytest.mark.parametrize("loss", ADDITIVE.values(), ids=ADDITIVE)


def value(loss, z, y, valid=None, weight=None):
    return loss.value(loss.sums(z, y, valid, weight))


def value_and_gradient(loss, z, y, valid=None, weight=None):
    z = z.detach().clone().requires_grad_()
    result = value(loss, z, y, valid, weight)
    result.backward()
    return result.detach(), z.grad


def random_batch(n=4, c=1, h=9, w=7, seed=0):
    """Logits, masks (the first empty, the second full), and a valid area that differs from image to image."""
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, c, h, w, generator=g) * 2
    y = (torch.rand(n, c, h, w, generator=g) < 0.3).float()
    y[0], y[1] = 0, 1
    valid = torch.rand(n, 1, h, w, generator=g) < 0.7
    return z, y, valid
