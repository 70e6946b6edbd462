"""Tasks: what a competition's masks are, and all that follows from it for data, training, prediction and submission."""

from collections.abc import Sequence

from segfold.errors import SegfoldError
from segfold.tasks.base import Mask, Planes, Task
from segfold.tasks.binary import Binary
from segfold.tasks.maps import OBJECTS, MapKind
from segfold.tasks.multiclass import VOID, Multiclass
from segfold.tasks.multilabel import Multilabel
from segfold.tasks.strata import Strata, coverage_strata

__all__ = [
    "FOREGROUND",
    "OBJECTS",
    "TASKS",
    "VOID",
    "Binary",
    "MapKind",
    "Mask",
    "Multiclass",
    "Multilabel",
    "Planes",
    "Strata",
    "Task",
    "coverage_strata",
    "make_task",
]

TASKS: dict[str, type[Task]] = {task.name: task for task in (Binary, Multiclass, Multilabel)}

FOREGROUND = Binary(("foreground",))
"""Of masks of 0 and 1 that no competition has named."""


def make_task(name: str, classes: Sequence[str], background: int | None = None) -> Task:
    """The task that a competition file names.

    Args:
        name: in ``TASKS``.
        background: index of the class that stands for "no object"; None where there is none.

    Raises:
        SegfoldError: classes that the task cannot have, or a background where each class is by itself.
    """
    if len(set(classes)) < len(classes):
        doubled = sorted({each for each in classes if list(classes).count(each) > 1})
        raise SegfoldError(f"classes names {', '.join(doubled)} more than once: each class has a name of its own")
    task = TASKS[name]
    if task is Multiclass:
        return Multiclass(classes, background)
    if background is not None:
        raise SegfoldError(f"background is {background}: task {name} has none, its masks are empty where no class is")
    if task is Binary and len(classes) != 1:
        named = f"names {len(classes)} ({', '.join(classes)})" if classes else "names none"
        raise SegfoldError(f"task binary has one class, but classes {named}; name the foreground alone")
    if not classes:
        raise SegfoldError(f"task {name} has no classes: name them in classes")
    return task(classes)
