"""What the numbers and texts of an experiment may be; a builder's ranges stand in its own signature."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from pydantic import AfterValidator, StringConstraints


@dataclass(frozen=True)
class Form:
    """Beside a type: words for what a pattern or a function allows."""

    words: str


MOST = 1_000_000
Count = Annotated[int, Ge(1), Le(MOST)]
Epochs = Annotated[int, Ge(0), Le(MOST)]
Batch = Annotated[int, Ge(2), Le(MOST)]
Share = Annotated[float, Ge(0), Le(1)]
Seed = Annotated[int, Ge(-(2**31)), Le(2**32 - 1)]
Side = Annotated[int, Ge(1), Le(16_384)]
Size = Side | tuple[Side, Side]
StageName = Annotated[
    str,
    StringConstraints(pattern=r"^[^\s.=]+$", max_length=60),
    Form("a name of up to 60 characters, no space, dot or ="),
]


def _short(path: str) -> str:
    if not path or any(len(part.encode()) > 255 for part in path.split("/")) or len(path.encode()) > 4000:
        raise ValueError("expected a path that a file system takes")
    return path


PathText = Annotated[str, AfterValidator(_short), Form("path")]
