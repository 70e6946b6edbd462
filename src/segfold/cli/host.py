"""On a host, what a bundle's notebook calls: apply its recipe to the mounted test images, or train its folds."""

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segfold.cli.predict import shard
from segfold.cli.shell import time_span
from segfold.errors import SegfoldError
from segfold.paths import user_path

if TYPE_CHECKING:
    from segfold.cli.progress import Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=user_path, help="the mounted folder of the bundle")
    parser.add_argument("--inputs", type=user_path, default=Path("/kaggle/input"), help="what everything is mounted in")
    parser.add_argument("--working", type=user_path, default=Path("/kaggle/working"), help="where results go")
    parser.add_argument("--limit", type=time_span, default=12 * 3600.0, help="of a session that trains (default: 12h)")
    parser.add_argument("--scratch", type=user_path, help="a folder for predictions (default: a new one)")
    parser.add_argument(
        "--share",
        type=shard,
        metavar="I/N",
        help="predict a share of the folds, in the scratch folder of another process",
    )


def run(arguments: argparse.Namespace) -> int:
    from segfold.bundling.applying import predict_share, roomier
    from segfold.bundling.packing import MANIFEST, check_files, read_manifest
    from segfold.cli.progress import Progress
    from segfold.stopping import Stopping
    from segfold.store import Shard

    with ExitStack() as stack:
        stack.enter_context(Stopping().installed())
        progress = stack.enter_context(Progress())
        scratch = arguments.scratch
        if arguments.share is not None and scratch is not None:
            predict_share(scratch, Shard(*arguments.share), progress)
            return 0
        manifest = read_manifest(arguments.bundle / MANIFEST, "a bundle's files")
        check_files(arguments.bundle, manifest, str(arguments.bundle))
        if scratch is None:
            place = roomier(Path(tempfile.gettempdir()), arguments.working)
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".segfold-", dir=place)))
        if manifest.get("kind") == "training":
            return _train(arguments, manifest, scratch, progress)
        return _apply(arguments, scratch, progress)


def _apply(arguments: argparse.Namespace, scratch: Path, progress: "Progress") -> int:
    from segfold.bundling.applying import apply

    made = apply(arguments.bundle, arguments.inputs, arguments.working, scratch, progress)
    print(f"{made.path}: {made.images:,} images predicted")
    if made.blank:
        print(f"{made.blank:,} images of the sample submission are not mounted: their masks are empty")
    if made.added:
        print(f"{made.added:,} mounted images are not in the sample submission: they follow its rows")
    return 0


def _train(arguments: argparse.Namespace, manifest: dict[str, Any], scratch: Path, progress: "Progress") -> int:
    from segfold.bundling.training import train_session

    made = train_session(
        arguments.bundle, manifest, arguments.inputs, arguments.working, scratch, arguments.limit, progress
    )
    for fold, score in made.finished.items():
        print(f"fold {fold} is done: {score:.4f}")
    if made.unfinished:
        print(
            f"fold {', '.join(map(str, made.unfinished))} to go on with: add this output as an input and run it again"
        )
    print(f"{made.written.path}: bring it home with `segfold runs --import {made.written.path.name}`")
    if made.failed:
        codes = ", ".join(f"fold {fold} with exit code {code}" for fold, code in made.failed.items())
        raise SegfoldError(f"{codes} ended before it was done; its own lines above say why")
    return 0
