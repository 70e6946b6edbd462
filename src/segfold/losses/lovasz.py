"""The Lovász hinge: a convex surrogate of the Jaccard loss, by sorting the errors of an image."""

from typing import Literal

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segfold.losses.base import flatten, mean_sums, mean_value


class Lovasz:
    """Lovász hinge on logits.

    With errors ``m = 1 - z (2y - 1)`` in falling order, the loss is ``Σ act(m_k) g_k``, where ``g_k`` is what
    the Jaccard distance grows by when pixel k is wrong too. The g depend on the order only and carry no
    gradient. The Jaccard distance of sets has no soft targets: they are taken as ``> 0.5``, so of two mixed
    images each pixel has the label of the larger share. An image without a valid pixel has loss 0 and counts.

    Args:
        activation: ``relu`` is the published hinge; ``elu`` (elu + 1) also moves pixels already right.
        symmetric: mean of the losses of object and background, ``(L(z, y) + L(-z, 1 - y)) / 2``. On an empty
            mask the plain loss moves one pixel only, the symmetric one moves all.
        per_image: mean over images; otherwise the batch is one large image (dataset Jaccard), a loss that
            depends on what is in the batch and so does not add up over steps or processes.

    Reference:
        Berman et al., The Lovász-Softmax loss, 2018 (arXiv 1705.08790). elu + 1 and the symmetric form come
        from the 4th and 9th places of the TGS competition.
    """

    def __init__(
        self,
        *,
        activation: Literal["relu", "elu"] = "relu",
        symmetric: bool = False,
        per_image: bool = True,
    ) -> None:
        self.activation = activation
        self.symmetric = symmetric
        self.per_image = per_image
        self.additive = per_image
        self.linear = per_image

    def sums(self, logits: Tensor, target: Tensor, valid: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """Weighted sum of the images' losses, and sum of the weights (2). See ``Loss.sums``.

        Without ``per_image``: the loss of the batch times the sum of weights; images of weight 0 stay out of
        it, other weights do not matter.
        """
        z, y, inside, w = flatten(logits, target, valid, weight)
        n, c, p = z.shape
        rows = (n * c, p)
        if not self.per_image:
            counted = (w > 0)[:, None, None].expand(n, 1, p)
            inside = counted if inside is None else inside & counted
            z, y, inside = z.transpose(0, 1), y.transpose(0, 1), inside.expand(n, c, p).transpose(0, 1)
            rows = (c, n * p)
        positive = (y > 0.5).reshape(rows)
        inside = None if inside is None else inside.expand(z.shape).reshape(rows)
        signs = positive.float().mul_(2).sub_(1)
        errors = 1 - z.reshape(rows) * signs
        steps = jaccard_steps(
            errors.detach(), positive, inside, symmetric=self.symmetric, hinge=self.activation == "relu"
        )
        active = F.relu(errors) if self.activation == "relu" else F.elu(errors) + 1
        loss = (active * steps).sum(dim=1)
        if self.per_image:
            return mean_sums(loss.reshape(n, c).mean(dim=1), w)
        return torch.stack([loss.mean() * w.sum(), w.sum()])

    def value(self, sums: Tensor) -> Tensor:
        """The mean over images."""
        return mean_value(sums)


def jaccard_steps(errors: Tensor, positive: Tensor, valid: Tensor | None, *, symmetric: bool, hinge: bool) -> Tensor:
    """What each pixel adds to the Jaccard distance when pixels turn wrong in falling order of error.

    Args:
        errors: R×P float32 without gradient; each row is sorted by itself.
        positive: R×P bool.
        valid: R×P bool or None; the other pixels take no part and get 0.
        symmetric: mean of the steps for the positive and for the negative pixels as the object. Both have the
            same errors, so one sort serves both.
        hinge: the caller drops errors ≤ 0, so their steps may be left at 0 and need no sorting.

    Returns:
        R×P float32, in the order of ``errors``.
    """
    if errors.device.type != "cpu":
        return _steps_by_torch(errors, positive, valid, symmetric)
    steps = torch.zeros_like(errors, memory_format=torch.contiguous_format)
    _steps_on_cpu(
        errors.contiguous().numpy().view(np.int32),
        positive.contiguous().numpy(),
        np.empty((0, 0), dtype=np.bool_) if valid is None else valid.contiguous().numpy(),
        symmetric,
        hinge,
        steps.numpy(),
    )
    return steps


def _steps_by_torch(errors: Tensor, positive: Tensor, valid: Tensor | None, symmetric: bool) -> Tensor:
    """All rows in one batched sort: the way of a GPU, where it is the fastest by far."""
    if valid is not None:
        errors = errors.masked_fill(~valid, -torch.inf)  # to the end, behind every counted pixel
    order = errors.argsort(dim=1, descending=True)
    object_ = positive.gather(1, order)
    rest = ~object_
    if valid is not None:
        counted = valid.gather(1, order)
        object_, rest = object_ & counted, rest & counted
    steps = _sorted_steps(object_, rest)
    if symmetric:
        steps = (steps + _sorted_steps(rest, object_)) / 2
    return torch.zeros_like(errors).scatter_(1, order, steps)


def _sorted_steps(object_: Tensor, rest: Tensor) -> Tensor:
    """Differences of ``1 - I/U`` in closed form, free of the cancellation that subtracting would bring.

    A wrong object pixel leaves the intersection: 1/U. A wrong pixel of the rest widens the union from U - 1
    to U: I/(U - 1) - I/U; if there was no union yet, the distance jumps from 0 to 1.
    """
    area = object_.sum(dim=1, keepdim=True)
    intersection = (area - object_.cumsum(dim=1)).float()
    union = (area + rest.cumsum(dim=1)).float()
    widened = torch.where(union > 1, intersection / (union * (union - 1)).clamp(min=1), 1.0)
    return torch.where(object_, 1 / union.clamp(min=1), torch.where(rest, widened, 0.0))


# On a CPU sorting is most of the work. torch.sort compares keys; a radix sort of the float bits takes three
# passes over an image that fits into the cache, which is several times faster and just as exact.
_DIGIT_BITS = 11
_BUCKETS = 1 << _DIGIT_BITS
_LOW_DIGIT = np.uint64(_BUCKETS - 1)
_KEY_SHIFT = np.uint64(32)
_ONE = np.uint64(1)
_PIXEL_MASK = np.uint64(0x7FFFFFFF)


@numba.njit(nogil=True, cache=True)
def _radix_sort(entries, spare, n, counts):
    """The first ``n`` entries in rising order of their upper 32 bits, from counts of the three digits."""
    for digit in range(3):
        shift = _KEY_SHIFT + np.uint64(_DIGIT_BITS * digit)
        start = 0
        for bucket in range(_BUCKETS):
            count = counts[digit, bucket]
            counts[digit, bucket] = start
            start += count
        for i in range(n):
            bucket = (entries[i] >> shift) & _LOW_DIGIT
            spare[counts[digit, bucket]] = entries[i]
            counts[digit, bucket] += 1
        entries, spare = spare, entries
    return entries


@numba.njit(nogil=True, cache=True)
def _steps_on_cpu(bits, positive, valid, symmetric, hinge, steps):
    """``jaccard_steps`` into ``steps``; ``bits``: the errors' bits as int32; an empty ``valid`` means all."""
    rows, pixels = bits.shape
    all_valid = valid.size == 0
    entries = np.empty(pixels, np.uint64)
    spare = np.empty(pixels, np.uint64)
    counts = np.empty((3, _BUCKETS), np.int64)
    for r in range(rows):
        counts[:] = 0
        area = 0
        rest = 0
        n = 0
        for i in range(pixels):
            if not (all_valid or valid[r, i]):
                continue
            if positive[r, i]:
                area += 1
            else:
                rest += 1
            if hinge and bits[r, i] <= 0:
                continue
            # Bits of floats rise with positive values and fall with negative ones: turn the positive ones
            # round, so that as an unsigned number the largest error has the smallest key.
            key = np.uint64(np.uint32(bits[r, i] if bits[r, i] < 0 else bits[r, i] ^ 0x7FFFFFFF))
            counts[0, key & _LOW_DIGIT] += 1
            counts[1, (key >> np.uint64(_DIGIT_BITS)) & _LOW_DIGIT] += 1
            counts[2, key >> np.uint64(2 * _DIGIT_BITS)] += 1
            entries[n] = (key << _KEY_SHIFT) | np.uint64(i << 1) | np.uint64(positive[r, i])
            n += 1
        ordered = _radix_sort(entries, spare, n, counts)
        inside = area
        union = area
        outside = rest  # the same two for the negative pixels as the object
        union_of_rest = rest
        for k in range(n):
            if ordered[k] & _ONE:
                step = 1.0 / union
                inside -= 1
                union_of_rest += 1
                mirrored = outside / (union_of_rest * (union_of_rest - 1.0)) if union_of_rest > 1 else 1.0
            else:
                union += 1
                step = inside / (union * (union - 1.0)) if union > 1 else 1.0
                mirrored = 1.0 / union_of_rest
                outside -= 1
            pixel = np.int64((ordered[k] >> _ONE) & _PIXEL_MASK)
            steps[r, pixel] = 0.5 * (step + mirrored) if symmetric else step
