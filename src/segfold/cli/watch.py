"""Serve the board at http://127.0.0.1:8000 and build it anew whenever something changes, as while training runs."""

import argparse

from segfold.cli.shell import HOME, finite_number, whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 lets the whole network read the board"
    )
    parser.add_argument("--port", type=whole_number, default=8000, help="default: 8000; 0 takes any that is free")
    parser.add_argument(
        "--every", type=finite_number, default=3.0, metavar="SECONDS", help="between two looks for changes (default: 3)"
    )


def run(arguments: argparse.Namespace) -> int:
    from segfold.errors import SegfoldError

    if not 0 <= arguments.port <= 65535:
        raise SegfoldError(f"--port {arguments.port}: expected 0 to 65535")
    if not 0.1 <= arguments.every <= 86400:
        raise SegfoldError(f"--every {arguments.every:g}: expected 0.1 to 86400 seconds")
    from segfold.board.build import build_board
    from segfold.board.watching import watch
    from segfold.cli.progress import Progress
    from segfold.stopping import Stopping

    with Stopping().installed(), Progress() as progress:
        watch(
            HOME,
            lambda: build_board(HOME, progress),
            arguments.host,
            arguments.port,
            arguments.every,
            progress.say,
        )
    return 0
