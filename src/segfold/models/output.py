"""What every model returns."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Output:
    """Logits of one batch; in eval mode ``aux`` is empty.

    Attributes:
        logits: N×C×H×W at input size; a probability is only made in ``inference``.
        aux: logits that only training uses, by the name that the stage's loss gives them:
            ``levels`` N×S×C×H×W, the S decoder levels from fine to coarse, each upsampled to the input size;
            ``nonempty`` N×C×H×W, a second pixel head, to be trained on images that are not empty.
        image: N×1 image-level logit, above 0 where the mask is *not* empty.
    """

    logits: Tensor
    aux: dict[str, Tensor] = field(default_factory=dict)
    image: Tensor | None = None
