"""Building the board and the reports: what is asked of whom, in which order. What has not changed is not built again."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import segfold
from segfold.board.correlation import run_correlation
from segfold.board.data_tab import data_record
from segfold.board.disputed import write_disputed
from segfold.board.facts import RunFacts, read_facts, read_run_facts
from segfold.board.kept import Kept, key_of
from segfold.board.page import copy_app, write_page
from segfold.board.places import BoardPlaces, file_stem
from segfold.board.run_parts import write_run_parts
from segfold.board.samples import write_samples
from segfold.board.script import write_script
from segfold.board.sets import set_name, write_set
from segfold.board.submissions import fits_of, leaderboard_of, submission_records
from segfold.competition import Competition, data_folder
from segfold.data.images import ImageSet, known_shapes, load_split
from segfold.errors import SegfoldError
from segfold.locks import alone_in
from segfold.metrics import IMAGE_SCORES
from segfold.observer import SILENT, Observer
from segfold.runs.folder import RunFolder

FORMAT = 1
"""Of what the page reads."""
_NO_SCORES = dict.fromkeys(("public", "private", "medal", "medal_by"))


@dataclass(frozen=True)
class Built:
    """A board that was built.

    Attributes:
        page: to open.
        runs: that it shows.
        made: how many files were built; the others were as they should be.
        size: of all its files, in bytes.
        seconds: that it took.
    """

    page: Path
    runs: int
    made: int
    size: int
    seconds: float


def build_board(home: Path = Path(), observer: Observer = SILENT) -> Built:
    """Builds ``runs/board.html`` and the report of each run from ``runs/``, ``submissions/``, ``audit/`` and the data.

    A run that is damaged or unfinished is shown as such. Without data the masks are shown alone.

    Raises:
        SegfoldError: a full disk, a folder that cannot be written.
    """
    began = time.monotonic()
    with _building(home, observer) as work:
        facts = read_facts(home)
        known = competitions_of(facts)
        submissions = submission_records(home)
        records = [work.run(each, submissions) for each in facts]
        competitions = [work.competition(each, submissions, facts) for each in known.values()]
        board = work.board(competitions, records, submissions)
        for each, record in zip(facts, records):
            work.report(each, record, board)
        # Pages that are open read all anew when ``made`` is another: so it is whenever any script is.
        key = key_of(board, work.kept.used())
        work.kept.build("board.js", key, lambda path: write_script(path, "board", {**board, "made": _now()}))
        write_page(work.places.page, f"segfold · {work.title}", "board-files/")
        work.kept.remove_unused()
        size = sum(path.stat().st_size for path in work.places.files.rglob("*") if path.is_file())
    return Built(work.places.page, len(facts), len(work.kept.made), size, time.monotonic() - began)


def build_report(run: RunFolder, home: Path = Path(), observer: Observer = SILENT) -> Path:
    """Builds ``report.html`` of a run, with what it needs of ``runs/board-files``; the board itself stays as it is.

    Raises:
        SegfoldError: as ``build_board``.
    """
    with _building(home, observer) as work:
        facts = read_run_facts(run, home)
        known = competitions_of([facts])
        submissions = submission_records(home)
        record = work.run(facts, submissions)
        competitions = [work.competition(each, submissions, [facts], alone=True) for each in known.values()]
        work.report(facts, record, work.board(competitions, [record], submissions))
    return work.places.report(run.name)


def competitions_of(facts: Iterable[RunFacts]) -> dict[str, Competition]:
    """The competitions of some runs by name, in the order of the names."""
    found = {each.competition.name: each.competition for each in facts if each.competition is not None}
    return dict(sorted(found.items()))


@contextmanager
def _building(home: Path, observer: Observer) -> Iterator["_Work"]:
    """Alone in the board's folder; what was built is kept, also where the work is broken off."""
    places = BoardPlaces(home)
    with alone_in(places.files):
        kept = Kept(places.files)
        try:
            work = _Work(home, places, kept, observer)
            copy_app(places, kept)
            yield work
        finally:
            kept.save()


class _Work:
    """What the parts of one build share: the images of each competition are read once."""

    def __init__(self, home: Path, places: BoardPlaces, kept: Kept, observer: Observer) -> None:
        self.home, self.places, self.kept, self.observer = home, places, kept, observer
        self.title = home.resolve().name
        self._train: dict[str, ImageSet | None] = {}

    def train(self, competition: Competition) -> ImageSet | None:
        """The training images; None where they are not there, or cannot be read, which is said."""
        if competition.name not in self._train:
            found = None
            try:
                if data_folder(competition, self.home).is_dir():
                    found = load_split(competition, "train", self.home, self.observer.say)
            except (SegfoldError, OSError) as error:
                self.observer.say(f"{competition.name}: masks without images ({error})")
            self._train[competition.name] = found
        return self._train[competition.name]

    def run(self, facts: RunFacts, submissions: Sequence[Any]) -> dict[str, Any]:
        """A run as the page knows it; its scripts are written."""
        train = None if facts.competition is None else self.train(facts.competition)
        record = facts.record() | _NO_SCORES | {"report": True}
        if facts.competition is not None:
            record |= leaderboard_of(facts.name, facts.competition, submissions)
        return record | write_run_parts(facts, record["folds"], train, self.places, self.kept, self.observer)

    def competition(
        self, competition: Competition, submissions: Sequence[Any], facts: Sequence[RunFacts], alone: bool = False
    ) -> dict[str, Any]:
        """A competition as the page knows it; its scripts are written.

        Args:
            facts: of the runs that are shown.
            alone: for the report of a run: what compares runs is left out.
        """
        train, files = self.train(competition), self.places.files
        of = [each for each in facts if each.competition is not None and each.competition.name == competition.name]
        train_script = data_script = disputed_script = None
        if not alone:  # first: it may decode the test images, which are counted below
            disputed_script = write_disputed(self.kept, files, self.home, competition, self.observer)
        if train is not None:
            try:
                train_script = write_set(self.kept, files, competition, train)
            except SegfoldError as error:  # an image that is read where it lies has gone, say
                self.observer.say(f"{competition.name}: masks without images ({error})")
            experiments = {each.name: each.experiment for each in of if each.experiment is not None}
            samples = write_samples(self.kept, files, competition, train, experiments)
            test = known_shapes(competition, "test", self.home)
            data = data_record(self.home, competition, train, None if test is None else len(test[0]), samples)
            # A report shows how its run's samples look; the board those of all runs.
            data_script = set_name(competition, "data") + (f"-{file_stem(of[0].name)}" if alone else "")
            name = data_script
            self.kept.build(f"{name}.js", key_of(data), lambda path: write_script(path, name, data))
        board = competition.leaderboard
        return {
            "name": competition.name,
            "title": competition.title,
            "metric": competition.metric,
            "image_score": competition.metric if competition.metric in IMAGE_SCORES else "iou",
            "task": competition.task.name,
            "classes": list(competition.classes),
            "background": competition.task.background,
            "lines": dict(board.lines),
            "public_share": board.public,
            "daily": board.daily,
            "tables": list(competition.tables),
            "train_script": train_script,
            "disputed_script": disputed_script,
            "data_script": data_script,
            "fit": fits_of(submissions, competition.name),
            "correlation": None if alone else run_correlation(self.kept, self.places.files, of, self.observer),
        }

    def board(
        self, competitions: Sequence[Any], records: Sequence[dict[str, Any]], submissions: Sequence[Any]
    ) -> dict[str, Any]:
        """All that the first paint needs."""
        return {
            "format": FORMAT,
            "version": segfold.__version__,
            "home": self.title,
            "competitions": list(competitions),
            "runs": list(records),
            "submissions": list(submissions),
        }

    def report(self, facts: RunFacts, record: dict[str, Any], board: dict[str, Any]) -> None:
        """Writes the report of a run; one that cannot be written is said, and has no link."""
        name = facts.folder.name
        if not facts.folder.path.is_dir():  # a link to nowhere
            record["report"] = False
            return
        used = [each for each in board["competitions"] if each["name"] == record["competition"]]
        own = [each for each in board["submissions"] if name in each["members"]]
        alone = [{**each, "disputed_script": None, "correlation": None} for each in used]
        value = {**board, "competitions": alone, "runs": [record], "submissions": own, "report": name}
        try:
            write_page(self.places.report(name), f"{name} · {self.title}", "../board-files/", name, value)
        except SegfoldError as error:
            record["report"] = False
            self.observer.say(f"no report of {name}: {error}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
