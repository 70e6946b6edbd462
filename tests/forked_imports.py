"""Imported once by the server that ``forked`` forks from: all that a process would else spend seconds on by itself.

Nothing here may start a thread that stays, or run a backward pass, whose engine does not survive a fork.
"""

import importlib

import albumentations  # noqa: F401
import numpy as np
import torch

from segfold.layouts.rle import encode
from segfold.losses import LOSSES
from segfold.metrics import overlap

for _module in ("road", "cli.progress", "cli.show", "cli.submit", "cli.train"):
    importlib.import_module(f"segfold.{_module}")

# The first call of a compiled kernel readies all of numba.
_mask = np.ones((2, 2), np.uint8)
overlap([_mask], [_mask])
encode(_mask)
with torch.no_grad():
    LOSSES["lovasz"]().sums(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2), None, torch.ones(1))
