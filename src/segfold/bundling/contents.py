"""What goes into a bundle: files by their paths in it, of the code, of finished runs, of a competition."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import segfold
from segfold.competition import Competition, data_folder
from segfold.data.tables import number_ranges
from segfold.ensemble.members import Entry, find_entries
from segfold.ensemble.recipe import Recipe, read_recipe, recipe_text
from segfold.ensemble.recipe_runs import members_of
from segfold.errors import SegfoldError
from segfold.paths import user_path
from segfold.runs.folder import RunFolder
from segfold.yaml_file import yaml_text

Files = dict[str, Path | bytes]
"""Contents by path in the bundle, with forward slashes: files that are there, or bytes."""

RECIPE = "recipe.yaml"
_RUN_FILES = ("config.yaml", "run.json", "environment.json")


@dataclass(frozen=True)
class Applied:
    """A recipe, and the runs that it takes.

    Attributes:
        entries: with the sets of weights that it names.
    """

    recipe: Recipe
    entries: Sequence[Entry]

    @property
    def competition(self) -> Competition:
        return self.entries[0].competition


def read_applied(path: Path, home: Path) -> Applied:
    """The recipe in a file, and its runs; nothing of the competition's data is read.

    Raises:
        SegfoldError: no recipe, or runs that are not there, or have other weights now.
    """
    recipe = read_recipe(home / path)
    paths = [home / user_path(member.run) for member in recipe.members.values()]
    entries, _ = find_entries(paths, recipe.competition, home, fast=True)
    entries, _ = members_of(recipe, entries, str(path))
    recipe.decisions(entries[0].competition.task, str(path))
    return Applied(recipe, entries)


def recipe_files(applied: Applied, home: Path) -> Files:
    """A recipe with its runs, of each what predicts alone, and with the competition's file.

    Raises:
        SegfoldError: weights that are not there, or a competition file that cannot be taken along.
    """
    files: Files = {}
    names: dict[Path, str] = {}
    members = {}
    for entry in applied.entries:
        name = names.get(entry.folder.path.resolve()) or _free(entry.folder.name, names.values())
        names[entry.folder.path.resolve()] = name
        files |= run_files(entry.folder, name, entry.used(None))
        member = applied.recipe.members[entry.label]
        members[entry.label] = member.model_copy(update={"run": f"runs/{name}"})
    files |= competition_files(applied.entries, home)
    recipe = applied.recipe.model_copy(update={"members": members})
    if recipe.scored is not None:  # its members have other paths, and are the same
        recipe = recipe.model_copy(update={"scored": recipe.digest})
    files[RECIPE] = recipe_text(recipe, Path(RECIPE)).encode()
    return files


def _free(name: str, taken: Iterable[str]) -> str:
    """A name that no other run has."""
    held, number = set(taken), 2
    free = name
    while free in held:
        free, number = f"{name}-{number}", number + 1
    return free


def run_files(run: RunFolder, name: str, used: Mapping[int, Iterable[str]]) -> Files:
    """Of a run what predicts: its settings and records, and of some folds some sets of weights.

    Args:
        name: of the run in the bundle.
        used: names of sets of weights by fold.

    Raises:
        SegfoldError: weights that are not there.
    """
    files: Files = {f"runs/{name}/{each}": run.path / each for each in _RUN_FILES if (run.path / each).is_file()}
    for number, sets in used.items():
        fold = run.fold(number)
        place = f"runs/{name}/{fold.path.name}"
        files[f"{place}/{fold.done.name}"] = fold.done
        for each in sets:
            weights = fold.weights(each)
            if not weights.is_file():
                raise SegfoldError(f"{weights} does not exist: restore it, or train the fold again")
            files[f"{place}/{weights.name}"] = weights
    return files


def competition_files(entries: Sequence[Entry], home: Path) -> Files:
    """The competition's file where the settings of runs look for it.

    Where a network sees numbers of its tables, the file says the range by which these are scaled: the tables beside hidden
    test images may hold others. A run whose settings name a file that no other machine has needs none: what its
    ``run.json`` holds is taken.

    Raises:
        SegfoldError: such a run that needs a range; tables that cannot be read.
    """
    competition = entries[0].competition
    if {name for entry in entries for name in entry.experiment.input.channels} & set(competition.tables):
        ranges = number_ranges(competition, data_folder(competition, home))
        tables = {name: each.model_copy(update={"range": ranges[name]}) for name, each in competition.tables.items()}
        competition = competition.model_copy(update={"tables": tables})
    files: Files = {}
    for entry in entries:
        named = entry.experiment.competition
        if found := competition_file(named, competition):
            files |= found
        elif competition != entry.competition or not entry.folder.record_path.is_file():
            raise SegfoldError(
                f"{entry.folder.config_path} names its competition by {named}, which another machine has not: put that "
                "file into configs/competitions and write its name there"
            )
    return files


def competition_file(named: str, competition: Competition) -> Files:
    """A competition's file where it is looked for by the name, or the path, that settings hold; none for a path that leads
    out of the working folder, which no other machine has.
    """
    path = user_path(named)
    if path.suffix not in (".yaml", ".yml"):
        path = Path("configs", "competitions", f"{named}.yaml")
    if path.is_absolute() or ".." in path.parts:
        return {}
    return {path.as_posix(): yaml_text(competition.model_dump(mode="json", by_alias=True)).encode()}


def code_files() -> Files:
    """All of this installation's code, below ``src/segfold``."""
    root = Path(segfold.__file__).parent
    return {
        f"src/segfold/{path.relative_to(root).as_posix()}": path
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix in (".py", ".txt", ".yaml")
    }
