"""Loaders whose workers hand an error over as it was raised: torch would make a traceback of it, of many lines."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset, default_collate

from segfold.errors import SegfoldError

Batch = TypeVar("Batch")


def loader(dataset: Dataset[Any], **settings: Any) -> DataLoader[Any]:
    """A `DataLoader` for `batches`; its workers' errors are in its batches.

    Args:
        settings: of the `DataLoader`, but for ``collate_fn``.
    """
    return DataLoader(_Carrying(dataset), collate_fn=_collate, **settings)


def batches(passed: Iterable[Batch]) -> Iterator[Batch]:
    """The batches of one pass of a `loader`.

    Raises:
        SegfoldError: one that was raised for a sample, in whatever process.
    """
    for batch in passed:
        if isinstance(batch, SegfoldError):
            raise batch
        yield batch


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
