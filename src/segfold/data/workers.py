"""Loaders whose workers hand an error over as it was raised (torch would make a traceback of it, of many lines), and
whose batches fit into the memory through which workers hand them over."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset, default_collate

from segfold.disk import size_text
from segfold.errors import SegfoldError

Batch = TypeVar("Batch")

SHARED = Path("/dev/shm")
"""Where Linux keeps the memory that processes share; a container has 64 MB there unless it is told otherwise."""


def loader(dataset: Dataset[Any], **settings: Any) -> DataLoader[Any]:
    """A ``DataLoader`` for ``batches``; its workers' errors are in its batches.

    Args:
        settings: of the ``DataLoader``, but for ``collate_fn``.
    """
    return DataLoader(_Carrying(dataset), collate_fn=_collate, **settings)


def batches(passed: Iterable[Batch]) -> Iterator[Batch]:
    """The batches of one pass of a ``loader``.

    Raises:
        SegfoldError: one that was raised for a sample, in whatever process; or a worker was killed.
    """
    passing = iter(passed)
    while True:
        try:
            batch = next(passing)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise SegfoldError(
                f"a worker that reads images was ended by the system ({str(error).splitlines()[0]}): its memory or "
                f"{SHARED} is full; set machine.workers=0, or lower batch_size"
            ) from error
        if isinstance(batch, SegfoldError):
            raise batch
        yield batch


def shared_memory() -> int | None:
    """Bytes that are free for batches of workers; None where the system sets no limit of its own."""
    try:
        return shutil.disk_usage(SHARED).free
    except OSError:
        return None


def fitting(workers: int, batch_bytes: int, ahead: int) -> tuple[int, int]:
    """As many workers as are asked for, or as half of the shared memory has room for.

    Args:
        workers: wanted.
        batch_bytes: of one batch.
        ahead: batches that each worker prepares, wanted.

    Returns:
        Workers, 0 for none but the process itself, and batches that each prepares ahead.
    """
    free = shared_memory()
    if free is None:
        return workers, ahead
    while workers and (workers * ahead + 2) * batch_bytes > free // 2:
        workers, ahead = (workers, ahead // 2) if ahead > 1 else (workers - 1, 1)
    return workers, ahead


def too_little_shared(batch_bytes: int) -> str:
    """What to say where there are fewer workers than were asked for."""
    free = size_text(shared_memory() or 0)
    return (
        f"{SHARED} has {free} for batches of {size_text(batch_bytes)}, so images are read by fewer workers; a container "
        "gets more by --shm-size=2g"
    )


class _Carrying(Dataset[Any]):
    def __init__(self, dataset: Dataset[Any]) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._dataset[key]
        except SegfoldError as error:
            return SegfoldError(str(error))  # whatever kind it was, this one can be sent


def _collate(samples: list[Any]) -> Any:
    errors = [sample for sample in samples if isinstance(sample, SegfoldError)]
    return errors[0] if errors else default_collate(samples)
