"""``RUN@SET``: one named set of a run's weights as a member of its own, or each of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segfold.errors import SegfoldError

EACH = "each"
"""``RUN@each``: every named set of the run, a member each."""


@dataclass(frozen=True)
class GivenMember:
    """A member as a user names it.

    Attributes:
        given: as written, for messages.
        folder: the run's.
        set_name: what stands behind the ``@``; None where nothing does.
    """

    given: Path
    folder: Path
    set_name: str | None = None


def given_member(path: Path) -> GivenMember:
    """What a path names: ``runs/a@swa`` the set ``swa`` of ``runs/a``, unless there is something of just that name.

    Raises:
        SegfoldError: nothing behind the ``@``.
    """
    folder, at, set_name = path.name.rpartition("@")
    if not at or path.exists():
        return GivenMember(path, path)
    if not set_name:
        raise SegfoldError(f"{path}: expected a set of weights after @, such as {path}swa, or {path}{EACH} for all")
    # What a shell completes ends with a slash: runs/a/@swa.
    return GivenMember(path, path.with_name(folder) if folder else path.parent, set_name)


def sets_of_each(done: Mapping[int, Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """The named sets that every finished fold has, in the order of the first fold's record.

    Args:
        done: what each fold's ``done.json`` holds.

    Returns:
        Their names, and for each set that some fold lacks its name and that fold, in words.
    """
    names = list(dict.fromkeys(name for record in done.values() for name in record["weights"]))
    lacking = {name: [fold for fold, record in done.items() if name not in record["weights"]] for name in names}
    return (
        [name for name in names if not lacking[name]],
        [f"{name}: fold {folds[0]} has no such weights" for name, folds in lacking.items() if folds],
    )
