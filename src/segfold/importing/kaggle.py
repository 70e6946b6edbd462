"""Bringing a competition's data in from Kaggle, a folder or a zip: checked first, then put in place whole."""

import filecmp
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from segfold.competition import Competition, data_folder
from segfold.errors import SegfoldError
from segfold.importing.check import folder_problems
from segfold.importing.client import failure, held, open_client, said, status_of
from segfold.importing.find import find_files, named_files
from segfold.layouts.base import Split
from segfold.layouts.table import shorten
from segfold.locks import Lock


class DataProblemsError(SegfoldError):
    """Data that was not imported; ``problems`` holds all of its problems, a line each, the message the first ten."""

    def __init__(self, problems: list[str]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"the data has {count}, nothing was imported: {shorten(problems, separator='; ')}")
        self.problems = problems


def import_data(
    competition: Competition,
    source: Path | None,
    home: Path = Path(),
    force: bool = False,
    say: Callable[[str], object] = print,
) -> str:
    """Imports a competition's data into ``data/<name>``.

    Everything happens in a folder beside the target, which is renamed at the end: an import that fails leaves
    what was there. Only the files that the competition names are copied.

    Args:
        competition: whose data.
        source: a folder or a zip (zips inside are opened as needed), or None for Kaggle's client.
        home: the working folder.
        force: replace other data of the competition; files that the competition does not name stay.
        say: gets a line for each zip or folder that could not be read and was not needed.

    Returns:
        One line that says what was done.

    Raises:
        SegfoldError: what was looked for is not there, the data has problems (all are counted, the first are
            named), other data is there already, or an archive is dangerous.
    """
    target = data_folder(competition, home)
    try:
        with _workplace(target) as work:
            if source is None:
                source = work / "download"
                source.mkdir()
                _download(competition, source)
            staging = work / "data"
            files, skipped = find_files(competition, source, work / "unpacked")
            _stage(files, staging, work)
            done = _install(competition, staging, target, force)
    except OSError as error:
        raise SegfoldError(f"import failed, {target} is as it was: {error}") from error
    for line in skipped:
        say(line)
    return done


@contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """An empty folder beside the target, for one import at a time; removed at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.with_name(f".{target.name}.importing")
    with Lock(target.with_name(f".{target.name}.lock"), f"importing into {target}"):
        # An import that was killed between its two renames has left the old data under this name.
        if (replaced := _replaced(target)).exists() and not target.exists():
            replaced.rename(target)
        _remove(replaced)
        _remove(work)
        work.mkdir()
        try:
            yield work
        finally:
            _remove(work)


def _stage(files: dict[str, Path], staging: Path, work: Path) -> None:
    staging.mkdir()
    for folder in {(staging / name).parent for name in files}:
        folder.mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        if file.is_relative_to(work):
            file.rename(staging / name)
        else:
            shutil.copyfile(file, staging / name)


def _install(competition: Competition, staging: Path, target: Path, force: bool) -> str:
    problems = folder_problems(competition, staging)
    if problems:
        raise DataProblemsError(problems)
    new, old = named_files(competition, staging), named_files(competition, target)
    train, test = (
        len(competition.layout.listing(split, staging, competition.classes).records) for split in get_args(Split)
    )
    counts = f"{train} train and {test} test images"
    if old:
        changed = [
            name
            for name in sorted(new.keys() | old.keys())
            if name not in new or name not in old or not filecmp.cmp(new[name], old[name], shallow=False)
        ]
        if not changed:
            return f"{target} holds the same data already: {counts}"
        if not force:
            raise SegfoldError(
                f"{target} holds other data, {len(changed)} files differ ({shorten(changed, 3)}): "
                "remove it, or replace it with `make data from=PATH force=1`"
            )
    _keep_others(target, staging, set(old.values()))
    _swap(staging, target)
    return f"imported into {target}: {counts}"


def _keep_others(target: Path, staging: Path, named: set[Path]) -> None:
    """Copies what a user has put beside the competition's files; the cache is made anew."""
    for folder, _, names in os.walk(target):
        for name in names:
            file = Path(folder) / name
            relative = file.relative_to(target)
            if relative.parts[0] == "cache" or file in named or (staging / relative).exists():
                continue
            (staging / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, staging / relative)


def _swap(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
        return
    replaced = _replaced(target)
    target.rename(replaced)
    try:
        staging.rename(target)
    except BaseException:
        replaced.rename(target)
        raise
    _remove(replaced)


def _replaced(target: Path) -> Path:
    return target.with_name(f".{target.name}.replaced")


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _download(competition: Competition, folder: Path) -> None:
    """Fetches all files with Kaggle's own client (an optional package)."""
    if competition.slug is None:
        raise SegfoldError(
            f"{competition.title} is not on Kaggle (its competition file has no slug): fetch its data by hand "
            f"{'' if competition.source is None else f'({competition.source}) '}and use `make data from=PATH`"
        )
    page = f"https://www.kaggle.com/c/{competition.slug}/data"
    by_hand = f"or fetch the zip from {page} and use `make data from=PATH`"
    api = open_client(by_hand)
    try:
        with held(quiet=False):
            api.competition_download_files(competition.slug, path=str(folder), quiet=False)
    # The client's exceptions differ between its versions; what they have in common is the HTTP status.
    except (Exception, SystemExit) as error:
        raise SegfoldError(f"{_reason(competition.slug, error)}, {by_hand}") from error


def _reason(slug: str, error: BaseException) -> str:
    if status_of(error) == 403:
        return (
            f"Kaggle refused the download ({said(error)}): accept the rules on "
            f"https://www.kaggle.com/c/{slug}/rules and try again"
        )
    return failure(error, "the download from Kaggle", slug)
