"""What networks with further heads have in common."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from pydantic import Field, create_model
from torch import Tensor, nn

from segfold.models.heads import HEADS, Features, Need, Of, Offer, head_summary
from segfold.schema import Settings


def head_switches(title: str, offered: tuple[Need, ...] = (), further: Mapping[str, str] = {}) -> Any:
    """Settings model of the heads that a network can have: one switch each, off unless it is set.

    Args:
        title: name of the new class, for messages.
        offered: what the network has for its heads to see, beside its deepest feature.
        further: switches beside them by name, and what each does.
    """
    names = {name: head_summary(name) for name, head in HEADS.items() if head.needs in ("deepest", *offered)}
    fields: dict[str, Any] = {
        name: (bool, Field(default=False, description=text)) for name, text in {**names, **further}.items()
    }
    return create_model(title, __base__=Settings, **fields)


if TYPE_CHECKING:
    DeepestHeads: TypeAlias = Settings
else:
    DeepestHeads = head_switches("DeepestHeads")
"""Heads of networks without decoder levels: those that see the deepest feature alone."""
NO_HEADS = DeepestHeads()

if TYPE_CHECKING:
    AuxiliaryHeads: TypeAlias = Settings
else:
    AuxiliaryHeads = head_switches("AuxiliaryHeads", ("middle",))
"""Heads of networks that offer a feature midway beside the deepest."""
NO_AUXILIARY = AuxiliaryHeads()


class Headed(nn.Module):
    """A network of which each further head is a child under its own name.

    Attributes:
        head_names: of the heads that it has, in the order in which they run.
    """

    head_names: tuple[str, ...] = ()
    head_places: ClassVar[Mapping[str, str]] = {}
    """Children of another name than their head's, for networks whose tensors have the names of a published one."""

    def add_heads(self, switches: Settings, offer: Offer) -> None:
        """Builds the heads that are switched on, in the order of ``HEADS``.

        Raises:
            SegfoldError: a head that cannot be built from the offer.
        """
        wanted = [name for name in HEADS if getattr(switches, name, False)]
        for name in wanted:
            self.add_module(self.head_places.get(name, name), HEADS[name](offer))  # type: ignore[arg-type]
        self.head_names = tuple(sorted(wanted))

    def head_logits(self, features: Features, of: Of | None = None) -> dict[str, Tensor]:
        """Logits by the heads' names, only those of pixels or of images if so asked; in eval mode what inference uses."""
        found = {}
        for name in self.head_names:
            head: Any = getattr(self, self.head_places.get(name, name))
            if of in (None, head.of) and (self.training or head.in_inference):
                found[name] = head(features)
        return found
