"""Members with out-of-fold predictions that agree on most pixels, and the masks that these are held to."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from segfold.ensemble import MEAN, Combination, OofMember, blend
from segfold.ensemble.evidence import Images, image_features
from segfold.metrics import METRICS
from segfold.post import Decision, Decisions
from segfold.store.codes import TOP
from segfold.store.writer import StoreWriter
from segfold.tasks import VOID, Mask, Task, make_task

SIDES = [(40, 40), (24, 31), (1, 7), (33, 16)]
BINARY = make_task("binary", ("salt",))
TWO = make_task("multilabel", ("left", "right"))
THREE = make_task("multiclass", ("sky", "road", "car"))


class OofSet(NamedTuple):
    """Members, the ids that they share, and the evidence without a blend."""

    members: list[OofMember]
    ids: list[str]
    images: Images

    def features(self, weights: Sequence[float], combination: Combination = MEAN, threshold: float = 0.5) -> np.ndarray:
        """(N, K) of the real blend: every pixel of every member is added up, decided and scored."""
        images = replace(self.images, blended=lambda: blend(self.members, weights, self.ids, combination))
        decision = Decision(None if images.task.exclusive else threshold)
        return image_features(images, Decisions(images.task, (decision,)))

    def score(self, weights: Sequence[float], combination: Combination = MEAN) -> float:
        features = self.features(weights, combination)
        return float(self.images.metric.value(features.sum(axis=0), len(features)))


def oof_set(
    folder: Path,
    task: Task = BINARY,
    metric: str = "precision",
    members: int = 3,
    count: int = 9,
    noise: Callable[[int], float] = lambda member: 0.4 + 0.1 * member,
    seed: int = 0,
    sides: Sequence[tuple[int, int]] = SIDES,
) -> OofSet:
    """Smooth regions, seen by each member through smooth noise of its own.

    Args:
        noise: of a member by its number, as a share of what there is to see.
    """
    rng = np.random.default_rng(seed)
    ids = [f"i{number:04}" for number in range(count)]
    shapes = [(len(task.classes), *sides[number % len(sides)]) for number in range(count)]
    scenes = [_smooth(rng, shape) for shape in shapes]
    made = []
    for member in range(members):
        seen = [_probabilities(task, scene + noise(member) * _smooth(rng, scene.shape)) for scene in scenes]
        made.append(stored(folder, f"run{member}", ids, [(each * TOP).astype(np.uint16) for each in seen]))
    masks = {name: _mask(task, scene) for name, scene in zip(ids, scenes)}
    return OofSet(made, ids, evidence(ids, masks, task, metric))


def stored(folder: Path, name: str, ids: Sequence[str], codes: Sequence[np.ndarray]) -> OofMember:
    """A run of one fold that predicts C×H×W codes of some ids."""
    with StoreWriter(folder / name, "oof", ids, [each.shape for each in codes], {"run": name}) as writer:
        for image_id, each in zip(ids, codes):
            writer.append(image_id, each)
        return OofMember(name, {0: writer.finish()})


def evidence(ids: Sequence[str], masks: dict[str, Mask], task: Task, metric: str) -> Images:
    """What predictions are held to; every third image is of one part."""
    part = {name: number % 3 for number, name in enumerate(ids)}
    return Images(
        lambda: iter(()),
        masks.__getitem__,
        lambda name: np.zeros((0, 0, 0)),
        part,
        METRICS[metric](),
        task=task,
    )


def _smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """C×H×W of mean 0 and a deviation of about 1."""
    channels, height, width = shape
    noise = rng.standard_normal((channels, height + 24, width + 24))
    planes = [cv2.GaussianBlur(plane, (0, 0), 4)[12 : 12 + height, 12 : 12 + width] for plane in noise]
    return 14 * np.stack(planes)


def _probabilities(task: Task, scene: np.ndarray) -> np.ndarray:
    powers = np.exp(3 * scene)
    return powers / powers.sum(axis=0) if task.exclusive else powers / (1 + powers)


def _mask(task: Task, scene: np.ndarray) -> Mask:
    """Where the scene is high; a corner of void where classes exclude each other; every class of some images empty."""
    if not task.exclusive:
        return task.mask(scene > 0.2)
    mask = scene.argmax(axis=0).astype(np.uint8)
    mask[: len(mask) // 4, :5] = VOID
    return mask
