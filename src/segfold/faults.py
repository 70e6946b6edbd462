"""Death on demand: named points at which a test has the process killed, as the kernel or a power cut would.

``SEGFOLD_FAULT=point:n`` sends SIGKILL at the ``n``-th time, from 1, that the process comes to ``point``:

- ``step``: the gradients are there, the optimiser has not moved yet;
- ``temporary``: a temporary file holds everything, but is not synced and has no name;
- ``rename``: it is synced, and the old file still has the name;
- ``weights``: the weights are written, the out-of-fold predictions are not;
- ``scores``: ``scores.csv`` is written, ``done.json`` is not;
- ``prediction``: the codes of an image are in the part of a probability store, which does not count them yet;
- ``line``: half of a log line is in the file.
"""

import os
import signal

from segfold.errors import SegfoldError

_point = ""
_left = 0


def arm(text: str) -> None:
    """Sets the fault of this process: ``point:n``, or nothing.

    Raises:
        SegfoldError: not a point and a number from 1.
    """
    global _point, _left
    point, _, count = text.partition(":")
    if text and not (point and count.isdecimal() and int(count)):
        raise SegfoldError(f"SEGFOLD_FAULT={text}: expected point:n with n from 1, such as step:3; unset it to train")
    _point, _left = point, int(count or 0)


def fault(point: str) -> None:
    """Ends the process if it was armed for ``point`` and comes here for the n-th time; else one comparison."""
    global _left
    if point == _point:
        _left -= 1
        if _left == 0:
            die()


def die() -> None:
    """Ends the process at once: no handler runs and nothing is flushed."""
    os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ.get("SEGFOLD_FAULT", ""))
