"""Whether the samples of a stage come with the gaps between the competition's objects, and what there is to say of it."""

from segfold.data.augment.mixing import MIXES
from segfold.training.plan import FoldJob, StagePlan


def wants_gaps(job: FoldJob, plan: StagePlan) -> bool:
    """Whether they do: the loss weighs pixels by them, the competition has maps of objects, and each sample is of one image.

    Raises:
        SegfoldError: a setting of the loss does not fit the classes.
    """
    return _could_have(job, plan) and not _mixes(job, plan)


def mixed_instead(job: FoldJob, plan: StagePlan) -> str:
    """What to say where they do not although there are objects; else nothing. Raises as ``wants_gaps``."""
    mixes = _mixes(job, plan)
    if not mixes or not _could_have(job, plan):
        return ""
    return (
        f"stage {plan.name}: samples mixed by {' and '.join(mixes)} have no objects of their own: the borders of its loss lie "
        "between connected parts of the mask, not between the competition's objects"
    )


def _could_have(job: FoldJob, plan: StagePlan) -> bool:
    return job.images.instances is not None and plan.loss.wants_gaps


def _mixes(job: FoldJob, plan: StagePlan) -> list[str]:
    augment = plan.settings.augment or job.experiment.augment
    return [name for name in MIXES if name in dict(augment.items())]
