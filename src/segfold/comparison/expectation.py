"""What is to be expected of a submission on the leaderboard."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segfold.comparison.side import Side, read_side
from segfold.competition import Leaderboard
from segfold.errors import SegfoldError
from segfold.files import read_json
from segfold.leaderboard.ledger import Submission, read_ledger
from segfold.metrics import MeanScore, ScoreSums
from segfold.observer import SILENT, Observer
from segfold.statistics.expected import Expected, expected_scores
from segfold.statistics.offset import Offset, fit_offset
from segfold.submission.names import manifest_path


@dataclass(frozen=True, eq=False)
class Expectation:
    """Expected scores of a submission, and what they rest on.

    Attributes:
        cv: the score out of fold with its standard error: nested where that is known.
        nested: whether it is.
        offset: of the public score; None where it is unknown.
        private_offset: the same of the private score.
        public_pairs: earlier submissions whose CV and public score are known.
        private_pairs: those whose private score is.
        scored: this submission as the ledger knows it; None where it does not.
    """

    side: Side
    cv: MeanScore
    nested: bool
    expected: Expected
    offset: Offset | None
    private_offset: Offset | None
    public_pairs: int
    private_pairs: int
    scored: Submission | None

    @property
    def leaderboard(self) -> Leaderboard:
        """What is known of it."""
        return self.side.gathered.competition.leaderboard


def expect(path: Path, home: Path = Path(), observer: Observer = SILENT, draws: int = 10_000) -> Expectation:
    """Recomputes what a submission scores out of fold, image by image, and resamples that to the size of the test set.

    Where the recipe knows a nested score the expectation is laid there: as tuned, the score flatters. Offsets are fitted
    on the other submissions of the ledger. See ``segfold.statistics.expected`` on what the interval leaves out.

    Args:
        path: a submission or its manifest, with the recipe beside it; a recipe; or a run folder.

    Raises:
        SegfoldError: a submission that is not what its manifest is about, or as ``read_side`` says.
    """
    digest = _digest(home / path)
    side = read_side(path, home, observer=observer)
    competition = side.gathered.competition
    scores = None if side.recipe is None else side.recipe.scores
    nested = None if scores is None else scores.nested
    cv = nested or ScoreSums.of(side.features).score(competition.scorer)
    known = [each for each in read_ledger(home) if each.competition == competition.name]
    others = [each for each in known if each.sha256 != digest]
    public = [(each.cv, each.public) for each in others if each.cv is not None and each.public is not None]
    private = [(each.cv, each.private) for each in others if each.cv is not None and each.private is not None]
    offset, private_offset = _offset(public), _offset(private)
    train = side.gathered.train
    expected = expected_scores(
        side.features,
        competition.scorer,
        len(side.gathered.test),
        competition.leaderboard.public,
        offset,
        private_offset,
        cv.mean,
        draws=draws,
        groups=None if train.groups is None else train.groups[train.position(side.ids)],
    )
    scored = next((each for each in known if each.sha256 == digest), None)
    return Expectation(
        side, cv, nested is not None, expected, offset, private_offset, len(public), len(private), scored
    )


def _offset(pairs: Sequence[tuple[float, float]]) -> Offset | None:
    return fit_offset([cv for cv, _ in pairs], [score for _, score in pairs])


def _digest(path: Path) -> str | None:
    """Checksum of a submission; None of a recipe or a run."""
    if path.suffix not in (".csv", ".zip", ".json") or not path.is_file():
        return None
    manifest = manifest_path(path)
    recorded = read_json(manifest).get("sha256") if manifest.exists() else None
    if path.suffix == ".json":
        return recorded if isinstance(recorded, str) else None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if recorded is not None and recorded != digest:
        raise SegfoldError(f"{path} is not the file that {manifest} is about; write it again with submit.py")
    return digest
