"""What every model returns."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Output:
    """Logits of one batch; in eval mode only those that inference uses.

    Attributes:
        logits: N×C×H×W at input size; a probability is only made in ``inference``.
        heads: logits of the further heads, by the names that the stage's loss gives them: N×C×H×W of a pixel head, or
            N×S×C×H×W of several maps; N×1 of an image head, above 0 where the mask is *not* empty.
    """

    logits: Tensor
    heads: dict[str, Tensor] = field(default_factory=dict)

    def of_classes(self, count: int) -> "Output":
        """Without the planes beyond the first ``count`` classes, of the logits and of the heads that give pixels.

        A network has such planes where a stage trained on objects of a competition without background.
        """
        heads = {name: z if z.ndim == 2 else z[..., :count, :, :] for name, z in self.heads.items()}
        return Output(self.logits[:, :count], heads)

    @property
    def image(self) -> Tensor | None:
        """N×1 logits of the head ``image``, where the network has it."""
        return self.heads.get("image")
