"""The scripts of one run: its epochs, the masks and scores of each fold, and the curves that these add up to."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from segfold.board.facts import RunFacts
from segfold.board.fold_images import fold_images, fold_key
from segfold.board.kept import Kept, key_of
from segfold.board.places import BoardPlaces, file_stem
from segfold.board.run_curves import run_curves
from segfold.board.script import write_script
from segfold.cores import cores
from segfold.data.images import ImageSet
from segfold.files import read_json, write_json
from segfold.observer import SILENT, Observer


def write_run_parts(
    facts: RunFacts,
    folds: Sequence[dict[str, Any]],
    train: ImageSet | None,
    places: BoardPlaces,
    kept: Kept,
    observer: Observer = SILENT,
) -> dict[str, Any]:
    """Writes the scripts of a run that are not as they should be.

    Args:
        folds: the records of its folds, which are told of their scripts.
        train: the training images; None without data.

    Returns:
        The names of its scripts.
    """
    stem = file_stem(facts.folder.name)
    _write_folds(facts, folds, stem, train, places, kept, observer)
    return {
        "epochs_script": _write_epochs(facts, stem, kept),
        "curves_script": _write_curves(facts, stem, places, kept),
    }


def _write_epochs(facts: RunFacts, stem: str, kept: Kept) -> str | None:
    folds = {fold.number: fold.epochs for fold in facts.folds if fold.epochs}
    if not folds:
        return None
    name = f"epochs/{stem}"
    columns = {str(number): _columns(lines) for number, lines in folds.items()}
    value = {"run": facts.folder.name, "folds": columns}
    kept.build(f"{name}.js", key_of(value), lambda path: write_script(path, name, value))
    return name


def _columns(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """A column for each key that any line has, with null where a line lacks it."""
    return {name: [line.get(name) for line in lines] for name in dict.fromkeys(key for line in lines for key in line)}


def _write_folds(
    facts: RunFacts,
    folds: Sequence[dict[str, Any]],
    stem: str,
    train: ImageSet | None,
    places: BoardPlaces,
    kept: Kept,
    observer: Observer,
) -> None:
    """Masks and scores of each finished fold, and what its curves are added up from."""
    competition = facts.competition
    made_of = {}
    for fold in facts.folds:
        if fold.done is not None and competition is not None:
            made_of[fold.number] = fold.folder, fold.done, facts.experiment, competition, train
    stale: dict[int, str] = {}
    for number, inputs in made_of.items():
        sums, script = _names(stem, number)
        key = fold_key(*inputs)
        kept.use(f"{script}.js")
        if not kept.current(sums, key) or kept.lost(f"{script}.js"):
            stale[number] = key

    def build(number: int) -> None:
        sums, script = _names(stem, number)
        found = fold_images(*made_of[number])
        if found.record is None:
            places.script(script).unlink(missing_ok=True)  # of predictions that were there before
        else:
            write_script(places.script(script), script, found.record)
        write_json(places.files / sums, {"reason": found.reason, "sums": found.sums})

    for number in stale:
        sums, script = _names(stem, number)
        kept.begin(sums, f"{script}.js")
    # Each fold's kernels give up the interpreter, so several are built at once.
    with ThreadPoolExecutor(min(cores(), max(len(stale), 1))) as pool:
        for done, (number, _) in enumerate(zip(stale, pool.map(build, stale)), 1):
            sums, script = _names(stem, number)
            kept.made_from(sums, stale[number])
            if places.script(script).exists():
                kept.made_from(f"{script}.js", stale[number])
            observer.predicting(f"masks of {facts.name}", done, len(stale))
    for record in folds:
        record["images_script"] = None
        if record["number"] in made_of:
            sums, script = _names(stem, record["number"])
            record["images_script"] = script if places.script(script).exists() else None
            record["reason"] = record["reason"] or read_json(places.files / sums)["reason"]


def _names(stem: str, number: int) -> tuple[str, str]:
    """The file of a fold's sums, and its data script."""
    return f"sums/{stem}-fold{number}.json", f"images/{stem}-fold{number}"


def _write_curves(facts: RunFacts, stem: str, places: BoardPlaces, kept: Kept) -> str | None:
    name, competition = f"curves/{stem}", facts.competition
    if competition is None:
        return None
    files = {fold.number: places.files / _names(stem, fold.number)[0] for fold in facts.folds if fold.done is not None}
    sums = {number: read_json(path)["sums"] for number, path in files.items()}
    if not any(each is not None for each in sums.values()):
        return None
    key = key_of(facts.name, sums, competition.model_dump(mode="json", by_alias=True))
    kept.build(f"{name}.js", key, lambda path: write_script(path, name, run_curves(facts.name, competition, sums)))
    return name
