"""What would fail in a later stage is refused before the first step; and what to say of a loss that is no number."""

from collections.abc import Callable

from torch import nn

from segfold.data.geometry.sizing import Sizing
from segfold.errors import SegfoldError
from segfold.inference.frames import check_frames, meta_output
from segfold.inference.networks import input_channels
from segfold.models.output import Output
from segfold.optim import build_optimizer, encoder_of
from segfold.settings.views import sizing_of, views_of
from segfold.training.boxes import boxes_found
from segfold.training.checkpoint import Position
from segfold.training.crops import crops_of, smaller_than
from segfold.training.gaps import mixed_instead
from segfold.training.plan import FoldJob, StagePlan
from segfold.training.processes import Group


def check_stages(job: FoldJob, group: Group, say: Callable[[str], None] = lambda text: None) -> None:
    """Refuses, before the first step, what would fail in a later stage.

    Args:
        say: told of images that are smaller than the crops of a stage, of the boxes of one, and of samples without objects.

    Raises:
        SegfoldError: settings of a loss, schedule or size out of range; an image that is larger than the input of its
            stage, or of the validation; a loss that does not fit the classes, or that cannot be computed in parts, where batches
            are; batches that cannot be shared out.
    """
    ids, shapes = job.images.ids, job.images.images.shapes
    held_out, trained = job.validation_rows, job.training_rows
    views_of(job.experiment).check(ids[held_out], shapes[held_out], "held-out image")
    notes = []
    for plan in job.stages:
        _ = plan.schedule  # built, so that its settings are checked
        sizing, crops = sizing_of(job.experiment, plan.settings), crops_of(job.experiment, plan.settings, plan.task)
        if plan.epochs and crops is not None:
            notes.append(smaller_than(crops, shapes[trained], sizing.border, plan.padding_counts))
        elif plan.epochs and plan.boxes is not None:
            notes.append(boxes_found(plan.name, plan.boxes, len(trained)))
        elif plan.epochs:
            sizing.check(ids[trained], shapes[trained], f"stage {plan.name}: training image")
        try:
            loss = plan.loss
        except SegfoldError as error:
            raise SegfoldError(f"stage {plan.name}: {error}") from None
        if plan.epochs:
            notes.append(mixed_instead(job, plan))
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
    for note in filter(None, dict.fromkeys(notes)):  # stages with the same crops have the same to say
        say(note)


def check_network(network: nn.Module, job: FoldJob, group: Group, synchronises: bool = False) -> None:
    """Refuses, before the first step, a stage that the network cannot be trained in.

    Args:
        network: on the CPU, in training mode; it is left as it was.
        synchronises: whether batch norms see the images of all processes.

    Raises:
        SegfoldError: a stage's size, number of images or optimiser does not fit the network, or it asks for an encoder or a
            head that the network lacks, as the prediction may too; or the network's logits are of another size than its margin says.
    """
    experiment = job.experiment
    looked_at: dict[tuple[int, Sizing], Output | None] = {}
    for plan in job.stages:
        if plan.epochs == 0:
            continue
        try:
            name, settings = plan.optimizer
            build_optimizer(name, network, encoder_lr=experiment.encoder_lr, **settings)
            if plan.settings.freeze_encoder:
                encoder_of(network, "freeze_encoder")
        except SegfoldError as error:
            raise SegfoldError(f"stage {plan.name}: {error}") from None
        images = plan.batch_size if synchronises else plan.batch_size // group.size
        how = max(1, images // experiment.accumulate), sizing_of(experiment, plan.settings)
        if how not in looked_at:
            looked_at[how] = _outputs(network, job, plan, *how)
        found = looked_at[how]
        if found is None:
            continue
        size = (int(found.logits.shape[-2]), int(found.logits.shape[-1]))
        if size != how[1].given:
            raise SegfoldError(_other_size(size, how[1], plan, job))
        for head, term in plan.loss.terms.items():
            if head not in found.heads:
                raise SegfoldError(_missing(head, term.weight, plan, job))
    check_frames(network, views_of(experiment), input_channels(experiment, job.channels))


def _outputs(network: nn.Module, job: FoldJob, plan: StagePlan, images: int, sizing: Sizing) -> Output | None:
    """What the network makes of a stage's images, without data: shapes alone. None where only data can tell."""
    shape = (images, input_channels(job.experiment, job.channels), sizing.height, sizing.width)
    try:
        return meta_output(network, shape)
    except SegfoldError as error:
        raise SegfoldError(f"stage {plan.name}: {error}") from None
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise SegfoldError(
            f"stage {plan.name}: the batch norms of {job.experiment.model.name} cannot learn from {images} image at "
            "once; use a larger batch_size, or fewer processes or accumulate"
        ) from None
    except RuntimeError:
        return None


def _other_size(found: tuple[int, int], sizing: Sizing, plan: StagePlan, job: FoldJob) -> str:
    height, width = sizing.given
    return (
        f"stage {plan.name}: model {job.experiment.model.name} gives logits of {found[0]}×{found[1]} for an input of "
        f"{sizing.height}×{sizing.width} with a margin of {sizing.margin}: expected {height}×{width}; make its margin say "
        "how many pixels it leaves out on each side"
    )


def _missing(head: str, weight: float, plan: StagePlan, job: FoldJob) -> str:
    model = job.experiment.model
    known = hasattr(getattr(model, "heads", None), head)
    where = f"set model.heads.{head}=true" if known else f"{model.name} can have none, unet can; choose another model"
    return (
        f"stage {plan.name}: loss.heads.{head} is {weight:g} but the network has no head {head}; {where}, "
        f"or stages.{plan.name}.loss.heads.{head}=0"
    )


def not_finite(what: str, job: FoldJob, position: Position) -> SegfoldError:
    """What to say where the loss, or a weight, became NaN or infinite."""
    stage = job.stages[position.stage].name
    return SegfoldError(
        f"fold {job.fold}, stage {stage}, epoch {position.epoch + 1}, step {position.step}: {what}; the state before this "
        f"epoch is kept in {job.folder.last}; lower stages.{stage}.lr, set clip=1 or machine.precision=fp32, and use "
        "--run NAME"
    )
