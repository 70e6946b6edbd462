"""Write a PNG sheet of augmented training images with their masks, as the network will see them."""

import argparse

from segfold.cli.shell import HOME, remark, whole_number
from segfold.paths import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, type=user_path, help="experiment, for instance configs/quick.yaml")
    parser.add_argument("--images", type=whole_number, default=8, help="how many images, a row each")
    parser.add_argument("--draws", type=whole_number, default=5, help="how many augmented versions of each")
    parser.add_argument("--stage", help="whose samples (default: those of the first stage)")
    parser.add_argument("--out", type=user_path, help="the PNG (default: runs/look-CONFIG.png)")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="any setting by its dotted path")


def run(arguments: argparse.Namespace) -> int:
    import cv2
    import numpy as np

    from segfold.competition import load_competition
    from segfold.config import load_experiment
    from segfold.data.geometry.window import Window
    from segfold.data.images import load_split
    from segfold.data.look import contact_sheet, shrunk
    from segfold.errors import SegfoldError
    from segfold.files import write_atomic
    from segfold.settings.views import crop_of, sizing_of
    from segfold.training.batches import training_samples
    from segfold.training.boxes import BoxSource

    if not (1 <= arguments.images <= 200 and 1 <= arguments.draws <= 50):
        raise SegfoldError("--images and --draws: expected 1 to 200 and 1 to 50")
    experiment = load_experiment(arguments.config, arguments.overrides)
    name = arguments.stage or next(iter(experiment.stages))
    if name not in experiment.stages:
        raise SegfoldError(f"--stage {name}: expected one of {', '.join(experiment.stages)}")
    stage = experiment.stages[name]
    competition = load_competition(experiment.competition, HOME)
    images = load_split(competition, "train", HOME, say=remark)
    # Spread over the coverages, the empty ones among them.
    order = np.argsort(images.coverage, kind="stable")
    if stage.boxes is not None and images.coverage.any():
        order = order[images.coverage[order] > 0]
    rows = np.unique(order[np.linspace(0, len(order) - 1, arguments.images).astype(int)])
    boxes, sizing = BoxSource(experiment, images, rows).of(name, stage), sizing_of(experiment, stage)
    cropped = crop_of(experiment, stage) is not None
    if not cropped and boxes is None:
        sizing.check(images.ids[rows], images.images.shapes[rows], "image")
    given = Window(sizing.margin, sizing.margin, *sizing.given)
    drawn_from = rows if boxes is None else boxes.rows
    samples = training_samples(experiment, images, drawn_from, stage, None, experiment.seed, boxes=boxes)
    rows = np.unique(drawn_from)
    pictures, masks, titles = [], [], []
    for row in rows:
        positions = np.flatnonzero(drawn_from == row)
        pictures.append(shrunk(images.images.reader(int(row))))
        masks.append(images.task.planes(shrunk(images.masks[int(row)])) if images.masks is not None else np.zeros(1))
        titles.append(str(images.ids[row]))
        for epoch in range(arguments.draws):
            position = int(positions[epoch * len(positions) // arguments.draws])
            sample = samples[(epoch, position, position)]
            picture = sample["image"].permute(1, 2, 0).numpy()
            pictures.append(picture[given.slices])
            masks.append(images.task.target_planes(sample["mask"].numpy(), sample["valid"][0].numpy()))
            titles.append(f"epoch {epoch + 1}")
    sheet = contact_sheet(pictures, masks, titles=titles, columns=arguments.draws + 1)
    path = arguments.out or HOME / "runs" / f"look-{arguments.config.stem}.png"
    with write_atomic(path) as file:
        file.write(cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes())
    kind = "augmented boxes of it" if boxes is not None else "augmented crops of it" if cropped else "times augmented"
    print(f"{path}: {len(rows)} images, each as it is and {arguments.draws} {kind}")
    return 0
