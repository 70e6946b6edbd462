"""The members of an ensemble: finished runs of one competition, and what they have predicted."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from segfold.competition import Competition, load_competition
from segfold.data.images import ImageSet
from segfold.ensemble.blend import Blended, Member, OofMember, TestMember, blend, proportions
from segfold.ensemble.combine import MEAN, Combination
from segfold.ensemble.left_out import no_usable_run
from segfold.ensemble.named_sets import EACH, GivenMember, given_member, sets_of_each
from segfold.errors import SegfoldError
from segfold.inference.stored import weights_names
from segfold.runs.folder import RunFolder, find_runs
from segfold.runs.identity import changed_inputs, changed_settings, disagreement
from segfold.runs.record import read_done, read_record, read_run, recorded_inputs
from segfold.settings import Experiment
from segfold.settings.views import views_of


@dataclass(frozen=True)
class Entry:
    """One run of an ensemble, or one named set of its weights, and its finished folds."""

    folder: RunFolder
    experiment: Experiment
    competition: Competition
    done: dict[int, dict[str, Any]]
    """What each finished fold's ``done.json`` holds."""
    label: str
    """The run's name; its path where another run has the same name; with ``@SET`` where one set alone is meant."""
    weight: float = 1.0
    """Its share in the blend, in any scale."""
    named: dict[int, dict[str, str]] | None = None
    """What a recipe names of it, as ``used`` gives it; None for all that is finished."""
    set_name: str | None = None
    """The set that ``RUN@SET`` asks of it, whatever is asked of the others; None where it says nothing."""

    @property
    def name(self) -> str:
        """The folder's name, with its set."""
        return self._with_set(self.folder.name)

    @property
    def given(self) -> str:
        """Its path as it is given to a verb, for messages."""
        return self._with_set(str(self.folder.path))

    def _with_set(self, text: str) -> str:
        return text if self.set_name is None else f"{text}@{self.set_name}"

    def member(self, set_name: str) -> "Entry":
        """One of its sets as a member of its own."""
        return replace(self, label=f"{self.label}@{set_name}", set_name=set_name)

    def used(self, weights: Sequence[str] | None) -> dict[int, dict[str, str]]:
        """The named sets of weights that each fold predicts with, and the sha256 of each set's file.

        Args:
            weights: what to use of a run that names no set of its own; None for its ``predict.weights``.

        Raises:
            SegfoldError: a set that a fold's training did not make.
        """
        if self.named is not None:
            return self.named
        found = {}
        wanted = weights or self.experiment.predict.weights if self.set_name is None else [self.set_name]
        for number, done in self.done.items():
            names = weights_names(wanted, done["weights"], self.folder.fold(number))
            found[number] = {name: done["weights"][name] for name in names}
        return found

    def fold_score(self, fold: int, names: Collection[str]) -> float | None:
        """What a fold scored when it finished; None where that was with other sets of weights than ``names``."""
        done = self.done[fold]
        scored = done.get("predicted_with", self.experiment.predict.weights)
        same = set(weights_names(scored, done["weights"], self.folder.fold(fold))) == set(names)
        return float(done["score"]) if same else None


@dataclass(frozen=True)
class Predicted:
    """A run whose folds have predicted what was asked of them: out of fold, and the test set where there are ``tests``."""

    entry: Entry
    used: dict[int, dict[str, str]]
    """See ``Entry.used``."""
    oof: OofMember
    tests: TestMember | None = None

    @property
    def test(self) -> TestMember:
        """The test predictions, of a run that was asked for them."""
        assert self.tests is not None, f"{self.entry.label} has not predicted the test set"
        return self.tests

    @property
    def seconds_an_image(self) -> float | None:
        """What predicting a test image takes by the clock: the sum over the networks of all folds.

        As measured on the test set, or where that is not predicted yet, on each fold's held-out images; None where
        nobody measured it.
        """
        stores = (self.oof if self.tests is None else self.tests).stores.values()
        known = [store.seconds_an_image for store in stores]
        found = [seconds for seconds in known if seconds is not None]
        return sum(found) if found and len(found) == len(known) else None

    @property
    def fold_scores(self) -> list[float]:
        """What each fold scored when it finished; none where that was with other sets of weights than it predicts with."""
        found = [self.entry.fold_score(fold, names) for fold, names in self.used.items()]
        known = [score for score in found if score is not None]
        return known if len(known) == len(found) else []


def blend_members(
    members: Sequence[Predicted],
    split: Literal["oof", "test"],
    ids: Iterable[str],
    combination: Combination = MEAN,
) -> Iterator[Blended]:
    """Weighted mean of runs, image by image; see ``segfold.ensemble.blend.blend``."""
    runs: Sequence[Member] = [member.oof if split == "oof" else member.test for member in members]
    return blend(runs, [member.entry.weight for member in members], ids, combination)


class UnusableRunError(SegfoldError):
    """A run that cannot be predicted with, whatever its neighbours can."""


def find_entries(
    paths: Sequence[Path], name: str | None, home: Path, fast: bool = False
) -> tuple[list[Entry], list[str]]:
    """The usable runs among ``paths``, which must be of one competition, and the named sets of theirs.

    Args:
        paths: run folders, and whatever else ``runs/*`` matches; ``RUN@SET`` is a named set of a run's weights as a
            member of its own, see ``segfold.ensemble.named_sets``.
        name: use the runs of this competition only.
        fast: take runs of ``fast=true`` along, which are else left out beside any other run.

    Returns:
        The runs, and a line for each path that was skipped.

    Raises:
        SegfoldError: no usable run, or runs of several competitions and no ``name``.
    """
    wanted = {given: given_member(given) for given in paths}
    runs, left_out = find_runs(member.folder for member in wanted.values())
    reasons = dict(left_out)
    skipped = [f"skipped {path}: {reasons[each.folder]}" for path, each in wanted.items() if each.folder in reasons]
    competitions: dict[str, Competition] = {}
    labels = Counter(run.name for run in runs)
    read: dict[Path, Entry] = {}
    for run in runs:
        try:
            entry = read_entry(run, home, run.name if labels[run.name] == 1 else str(run.path))
            if competitions.setdefault(entry.competition.name, entry.competition) != entry.competition:
                raise SegfoldError(f"its competition file, {entry.experiment.competition}, differs from another run's")
        except SegfoldError as error:
            skipped.append(f"skipped {run.path}: {error}")
            continue
        read[run.path.resolve()] = entry
    entries, lines = _named(wanted.values(), read)
    skipped += lines

    def keep(wanted: Callable[[Entry], bool], reason: str) -> None:
        skipped.extend(f"skipped {entry.given}: {reason}" for entry in entries if not wanted(entry))
        entries[:] = filter(wanted, entries)

    if name is not None:
        keep(lambda entry: entry.competition.name == name, "of another competition")
    if not fast and not all(entry.experiment.fast for entry in entries):
        keep(lambda entry: not entry.experiment.fast, "a fast=true run of a few images; --fast takes it along")
    if not entries:
        raise no_usable_run(paths, skipped)
    groups: dict[str, list[str]] = {}
    for entry in entries:
        groups.setdefault(entry.competition.name, []).append(entry.label)
    if len(groups) > 1:
        named = "; ".join(f"{key}: {', '.join(labels)}" for key, labels in groups.items())
        raise SegfoldError(f"runs of {len(groups)} competitions ({named}); choose one with --competition NAME")
    return entries, skipped


def read_entry(run: RunFolder, home: Path, label: str) -> Entry:
    """A run with its finished folds.

    Args:
        home: the working folder; where the run's competition file is not in it, the run's own record of it is taken.
        label: what to call the run.

    Raises:
        SegfoldError: a file of the run cannot be read, or a fold is not of this run.
    """
    experiment = read_run(run)
    record = read_record(run)
    try:
        competition = load_competition(experiment.competition, home)
    except SegfoldError:
        if record is None:
            raise
        competition = record.competition
    done = {fold.number: read_done(fold) for fold in run.finished_folds()}
    for number, fold in done.items():
        if fold["competition"] != competition.name:
            raise SegfoldError(
                f"fold {number} was trained for {fold['competition']}, config.yaml says {competition.name}"
            )
        if changed := changed_settings(fold, experiment):
            raise SegfoldError(f"fold {number} was trained with other {', '.join(changed)} than config.yaml says")
    if differing := disagreement(done, predicted=False):
        raise SegfoldError(f"{differing}; move that fold's folder away")
    return Entry(run, experiment, competition, done, label)


def _named(wanted: Iterable[GivenMember], read: Mapping[Path, Entry]) -> tuple[list[Entry], list[str]]:
    """The members that were asked for, each once.

    Args:
        read: runs by the folder that they are in.
    """
    found: dict[tuple[Path, str | None], Entry] = {}
    lines: list[str] = []
    for given in wanted:
        folder = given.folder.resolve()
        if (entry := read.get(folder)) is None:
            continue
        names: list[str | None] = [given.set_name]
        if given.set_name == EACH:
            names[:], lacking = sets_of_each(entry.done)
            lines += [f"left out {entry.folder.path}@{line}" for line in lacking]
        for name in names:
            found.setdefault((folder, name), entry if name is None else entry.member(name))
    return list(found.values()), lines


def check_sets(entries: Iterable[Entry], weights: Sequence[str] | None) -> None:
    """Refuses a set of weights that was asked for by its name, of one run or of all, and that a fold has not.

    Raises:
        SegfoldError: names the fold and what it has.
    """
    for entry in entries:
        if weights is not None or entry.set_name is not None:
            entry.used(weights)


def weighted(entries: Sequence[Entry], weights: Sequence[float] | None) -> list[Entry]:
    """The runs with their weights: as given, or all alike.

    Raises:
        SegfoldError: not one weight a run, or weights that no blend can have.
    """
    if weights is None:
        return list(entries)
    if len(weights) != len(entries):
        names = ", ".join(entry.label for entry in entries)
        raise SegfoldError(
            f"--weights has {len(weights)} numbers for {len(entries)} usable runs ({names}); give one a run"
        )
    proportions(weights, [1] * len(weights))
    return [replace(entry, weight=weight) for entry, weight in zip(entries, weights)]


def drop_changed(entries: Sequence[Entry], images: ImageSet) -> tuple[list[Entry], list[str]]:
    """The runs that were trained on the data that lies in ``data/`` now, and a line for each other one."""
    kept, skipped = [], []
    for entry in entries:
        now = images.fingerprints(entry.experiment.input.channels)
        changed = {fold: changed_inputs(recorded_inputs(done), now) for fold, done in entry.done.items()}
        if parts := next(filter(None, changed.values()), None):
            skipped.append(
                f"skipped {entry.given}: trained on other {' and '.join(parts)} than data/{entry.competition.name} holds now; "
                "import the data that it was trained on"
            )
        else:
            kept.append(entry)
    return kept, skipped


def check_usable(entry: Entry, weights: Sequence[str] | None, test: ImageSet) -> dict[int, dict[str, str]]:
    """What ``Entry.used`` gives, of a run whose network the test images fit into.

    Raises:
        UnusableRunError: they do not, or a fold lacks one of the sets of weights.
    """
    try:
        views_of(entry.experiment).check(test.ids, test.images.shapes, "test image")
        return entry.used(weights)
    except SegfoldError as error:
        raise UnusableRunError(str(error)) from None
