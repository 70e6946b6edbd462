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

    from segfold.board.samples import draw_samples
    from segfold.competition import load_competition
    from segfold.config import load_experiment
    from segfold.data.images import load_split
    from segfold.data.look import contact_sheet
    from segfold.errors import SegfoldError
    from segfold.files import write_atomic

    if not (1 <= arguments.images <= 200 and 1 <= arguments.draws <= 50):
        raise SegfoldError("--images and --draws: expected 1 to 200 and 1 to 50")
    experiment = load_experiment(arguments.config, arguments.overrides)
    name = arguments.stage or next(iter(experiment.stages))
    if name not in experiment.stages:
        raise SegfoldError(f"--stage {name}: expected one of {', '.join(experiment.stages)}")
    images = load_split(load_competition(experiment.competition, HOME), "train", HOME, say=remark)
    drawn = draw_samples(experiment, images, name, arguments.images, arguments.draws)
    sheet = contact_sheet(drawn.pictures, drawn.masks, titles=drawn.titles, columns=arguments.draws + 1)
    path = arguments.out or HOME / "runs" / f"look-{arguments.config.stem}.png"
    with write_atomic(path) as file:
        file.write(cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes())
    kind = {"whole": "times augmented", "crop": "augmented crops of it", "box": "augmented boxes of it"}[drawn.kind]
    print(f"{path}: {drawn.images} images, each as it is and {arguments.draws} {kind}")
    return 0
