"""On a host, what a bundle's notebook calls: apply the bundle's recipe to the mounted test images."""

import argparse
import tempfile
from pathlib import Path

from segfold.cli.predict import shard
from segfold.paths import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=user_path, help="the mounted folder of the bundle")
    parser.add_argument("--inputs", type=user_path, default=Path("/kaggle/input"), help="what everything is mounted in")
    parser.add_argument("--working", type=user_path, default=Path("/kaggle/working"), help="where results go")
    parser.add_argument("--scratch", type=user_path, help="a folder for predictions (default: a new one)")
    parser.add_argument(
        "--share",
        type=shard,
        metavar="I/N",
        help="predict a share of the folds, in the scratch folder of another process",
    )


def run(arguments: argparse.Namespace) -> int:
    from segfold.bundling.applying import apply, predict_share, roomier
    from segfold.bundling.packing import MANIFEST, check_files, read_manifest
    from segfold.cli.progress import Progress
    from segfold.stopping import Stopping
    from segfold.store import Shard

    with Stopping().installed(), Progress() as progress:
        if arguments.share is not None and arguments.scratch is not None:
            predict_share(arguments.scratch, Shard(*arguments.share), progress)
            return 0
        manifest = read_manifest(arguments.bundle / MANIFEST, "a bundle's files")
        check_files(arguments.bundle, manifest, str(arguments.bundle))
        scratch = arguments.scratch
        if scratch is None:
            place = roomier(Path(tempfile.gettempdir()), arguments.working)
            with tempfile.TemporaryDirectory(prefix=".segfold-", dir=place) as folder:
                made = apply(arguments.bundle, arguments.inputs, arguments.working, Path(folder), progress)
        else:
            made = apply(arguments.bundle, arguments.inputs, arguments.working, scratch, progress)
    print(f"{made.path}: {made.images:,} images predicted")
    if made.blank:
        print(f"{made.blank:,} images of the sample submission are not mounted: their masks are empty")
    if made.added:
        print(f"{made.added:,} mounted images are not in the sample submission: they follow its rows")
    return 0
