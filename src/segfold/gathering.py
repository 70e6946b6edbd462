"""Finished runs of one competition, gathered with what they have predicted, or predict now."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segfold.competition import Competition
from segfold.data.images import ImageSet, load_split
from segfold.ensemble.blend import OofMember, TestMember
from segfold.ensemble.copies import drop_copies
from segfold.ensemble.left_out import LeftOut
from segfold.ensemble.members import (
    Entry,
    Predicted,
    UnusableRunError,
    check_sets,
    check_usable,
    drop_changed,
    find_entries,
    weighted,
)
from segfold.ensemble.recipe import Recipe, read_recipe
from segfold.ensemble.recipe_runs import members_of
from segfold.errors import SegfoldError
from segfold.observer import SILENT, Observer
from segfold.paths import user_path
from segfold.predicting import Split, machine_on, predict_fold
from segfold.settings import Machine
from segfold.store import Probabilities
from segfold.submission.blended import SubmissionOptions
from segfold.submission.forms import form_of


@dataclass(frozen=True)
class Gathered:
    """Usable runs of one competition, and its data.

    Attributes:
        given: the training images; None where a recipe is applied without them.
        members: the runs in the order given, with their weights; they have predicted out of fold, if that was asked for.
        recipe: the one that was given; None where one is to be fitted.
        machine: what the test set is predicted on.
    """

    competition: Competition
    given: ImageSet | None
    test: ImageSet
    members: list[Predicted]
    recipe: Recipe | None
    machine: Machine

    @property
    def train(self) -> ImageSet:
        """The training images.

        Raises:
            SegfoldError: they were left out.
        """
        if self.given is None:
            raise SegfoldError("this needs the training images: leave out --without-train")
        return self.given

    def with_tests(self, members: Sequence[Predicted], observer: Observer = SILENT) -> list[Predicted]:
        """The members with their test predictions; what is missing is predicted."""
        return [
            replace(member, tests=TestMember(member.entry.label, self._stores(member, observer))) for member in members
        ]

    def _stores(self, member: Predicted, observer: Observer) -> dict[int, Probabilities]:
        return _stores(member.entry, member.used, self.test, "test", self.machine, observer)


def gather(
    paths: Sequence[Path],
    options: SubmissionOptions,
    home: Path = Path(),
    observer: Observer = SILENT,
    oof: bool | None = None,
) -> Gathered:
    """Finds the usable runs among some paths, or those of a recipe, and has them predict their held-out images.

    Args:
        paths: run folders, and whatever else ``runs/*`` matches, or ``RUN@SET``; none: those of the recipe.
        observer: told of each path that is left out, and why.
        oof: whether out-of-fold predictions are wanted; None: where there is no recipe yet.

    Raises:
        SegfoldError: no usable run, runs of several competitions, options that do not fit, a recipe whose runs are not
            there.
    """
    options.check()
    machine = machine_on(options.device)
    recipe = None if options.recipe is None else read_recipe(home / options.recipe)
    if recipe is not None and not paths:
        paths = [home / user_path(member.run) for member in recipe.members.values()]
    left_out = LeftOut(paths, observer)
    wanted = options.competition if recipe is None else recipe.competition
    entries, lines = find_entries(paths, wanted, home, options.fast or recipe is not None)
    left_out.add(*lines)
    if recipe is not None:
        entries, others = members_of(recipe, entries, str(options.recipe))
        left_out.add(*others)
        recipe.decisions(entries[0].competition.task, str(options.recipe))  # refused before anything is predicted
    competition = entries[0].competition
    form_of(competition)  # what cannot be written is refused before anything is predicted
    train = None if options.without_train else load_split(competition, "train", home, observer.say)
    test = load_split(competition, "test", home, observer.say)
    entries, lines = (entries, []) if train is None else drop_changed(entries, train)
    left_out.add(*lines)
    if not entries or (recipe is not None and lines):
        raise left_out.nothing_left()
    check_sets(entries, options.use)
    if recipe is None:
        entries, lines = drop_copies(entries, options.use)
        left_out.add(*lines)
    entries = weighted(entries, None if isinstance(options.weights, str) else options.weights)
    predicts = train if oof or (oof is None and recipe is None) else None
    members = []
    for entry in entries:
        try:
            used = check_usable(entry, options.use, test)
            stores = {} if predicts is None else _stores(entry, used, predicts, "oof", machine, observer)
            members.append(Predicted(entry, used, OofMember(entry.label, stores)))
        except UnusableRunError as error:
            if recipe is not None:
                raise
            left_out.add(f"skipped {entry.given}: {error}")
    if not members:
        raise left_out.nothing_left()
    return Gathered(competition, train, test, members, recipe, machine)


def _stores(
    entry: Entry,
    used: dict[int, dict[str, str]],
    images: ImageSet,
    split: Split,
    machine: Machine,
    observer: Observer,
) -> dict[int, Probabilities]:
    return {
        fold: predict_fold(entry, fold, images, split, digests, machine, observer) for fold, digests in used.items()
    }
