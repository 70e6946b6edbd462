"""Why a mask file is not the mask that its RLE says: what its values are, and which setting would mend it."""

from pathlib import Path

import numpy as np

from segfold.layouts.decode import Palette, Reading, mask_values, palette_of

_SHOWN = 6


def why_different(path: Path, truth: np.ndarray, reading: Reading) -> str:
    """One line on a mask file that decodes.

    Args:
        truth: H×W of 0 and 1, by the RLE.
    """
    values = mask_values(path, exif=reading.exif, palette=palette_of(reading))
    found = np.unique(values)
    shown = ", ".join(map(str, found if len(found) <= _SHOWN else [*found[: _SHOWN - 1], f"… {found[-1]}"]))
    line = f"its values are {shown} ({len(found)} in all)"
    inside = truth > 0
    other: Palette = "indices" if palette_of(reading) == "colours" else "colours"
    by_other = mask_values(path, exif=reading.exif, palette=other)
    if np.array_equal(by_other > reading.mask_threshold, inside):
        return f"{line}: with mask_palette: {other} in the competition file it is the same"
    if (fitting := _fitting(values, inside)) is not None:
        least, most = fitting
        between = f"any from {least} to {most} would do" if least < most else "no other would do"
        return f"{line}: with mask_threshold: {(least + most) // 2} in the competition file it is the same ({between})"
    if not inside.any():
        return f"{line}; its RLE is empty"
    threshold, wrong = _nearest(values, inside)
    return f"{line}; no mask_threshold makes it the same, {threshold} comes nearest with {wrong} wrong"


def _fitting(values: np.ndarray, inside: np.ndarray) -> tuple[int, int] | None:
    """Least and largest threshold above which just the pixels of ``inside`` are; None if there is none."""
    least = int(values[~inside].max(initial=0))
    if not inside.any():  # of an empty mask, what is nearly black is the rest of a compression
        top = int(np.iinfo(values.dtype).max)
        return (least, top - 1) if least < top // 2 else None
    most = int(values[inside].min()) - 1
    return (least, most) if least <= most else None


def _nearest(values: np.ndarray, inside: np.ndarray) -> tuple[int, int]:
    """The threshold that leaves the fewest pixels wrong, and how many those are."""
    size = int(values.max()) + 1
    missed = np.bincount(values[inside], minlength=size).cumsum()  # inside, but not above the threshold
    above = np.bincount(values[~inside], minlength=size)[::-1].cumsum()[::-1]  # outside, and that value or more
    wrong = missed + np.append(above[1:], 0)
    best = int(wrong.argmin())
    return best, int(wrong[best])
