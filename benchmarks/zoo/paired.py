"""By how much two runs differ on the images that both have held out."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from segfold.competition import Competition, load_competition
from segfold.data.images import ImageSet, load_split
from segfold.errors import SegfoldError
from segfold.files import read_json
from segfold.inference.stored import StoredImages
from segfold.runs.folder import RunFolder
from segfold.runs.record import read_run
from segfold.training.validation import store_tally


@cache
def image_scores(home: Path, run: str, fold: int) -> dict[str, float]:
    """What each held-out image of a finished fold says of the score, by id: numbers whose mean is the score.

    Of a mean over images they are the images' own scores. Of a ratio of sums, such as mean IoU, they are the score and by how much
    it would rise, to first order, if the other images were as this one; their spread gives the same standard error as
    ``segfold.metrics.ScoreSums``. Decided at a threshold of 0.5, or for the most probable class.

    Raises:
        SegfoldError: its predictions are not in their store.
    """
    folder = RunFolder(home / "runs" / run)
    experiment = read_run(folder)
    competition, images = _data(experiment.competition, home)
    done = read_json(folder.fold(fold).done)
    digest = done["weights"]["model"]
    held_out = images.position(done["held_out"])
    store = StoredImages(folder.fold(fold), experiment, images, held_out, "oof", 1).find(digest)
    if store is None:
        raise SegfoldError(
            f"{folder.path} has no predictions of fold {fold} by its own weights; delete it to train anew"
        )
    found = store_tally(store, images, competition).features
    mean, metric = found.mean(axis=0), competition.scorer
    scores = float(metric.value(mean, 1)) + (found - mean) @ metric.gradient(mean, 1)
    return dict(zip(map(str, store.ids), scores.tolist(), strict=True))


@cache
def _data(competition: str, home: Path) -> tuple[Competition, ImageSet]:
    loaded = load_competition(competition, home)
    return loaded, load_split(loaded, "train", home)


def difference(scores: Mapping[str, float], others: Mapping[str, float]) -> tuple[float, float]:
    """Mean of ``scores`` minus ``others``, image by image, and its standard error.

    Raises:
        ValueError: they are not of the same images.
    """
    if scores.keys() != others.keys():
        raise ValueError(f"{len(scores)} and {len(others)} images are not the same ones")
    apart = np.array([value - others[name] for name, value in scores.items()])
    return float(apart.mean()), float(apart.std(ddof=1) / np.sqrt(len(apart)))
