"""The loss that a stage's settings describe."""

from segfold.errors import SegfoldError
from segfold.inference.networks import sizing_of
from segfold.losses import StageLoss, Term
from segfold.optim import build_schedule
from segfold.settings import Stage
from segfold.training.distributed import Group
from segfold.training.job import FoldJob


def stage_loss(stage: Stage) -> StageLoss:
    """The loss of a stage, with the weights of its beginning."""
    settings = stage.loss
    mask, ramp = {}, {}
    for name, chosen in settings.mask.items():
        values = chosen.model_dump()
        end = values.pop("end")
        mask[name] = (values.pop("weight"), values)
        if end is not None:
            ramp[name] = end
    levels, nonempty = (
        None if head is None or head.weight == 0 else Term(head.weight, head.over)
        for head in (settings.levels, settings.nonempty)
    )
    return StageLoss(mask=mask, levels=levels, nonempty=nonempty, image=settings.image, ramp=ramp)


def check_stages(job: FoldJob, group: Group) -> None:
    """Refuses, before the first step, what would fail in a later stage.

    Raises:
        SegfoldError: settings of a loss, schedule or size out of range; a loss that cannot be computed in parts, where
            batches are; batches that cannot be shared out.
    """
    for plan in job.stages:
        build_schedule(plan.settings.schedule.name, **plan.settings.schedule.settings)
        sizing_of(job.experiment, plan.settings)
        loss = stage_loss(plan.settings)
        if not loss.additive and (job.experiment.accumulate > 1 or group.size > 1):
            raise SegfoldError(
                f"stage {plan.name}: its loss looks at the whole batch at once and cannot be computed in parts; "
                "use lovasz.per_image=true, or accumulate=1 in one process"
            )
        if plan.batch_size % group.size:
            raise SegfoldError(
                f"stage {plan.name}: a batch of {plan.batch_size} cannot be shared out evenly to {group.size} processes; "
                f"set batch_size to a multiple of {group.size}"
            )
