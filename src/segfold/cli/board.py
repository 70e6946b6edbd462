"""Build runs/board.html: runs, scores and every image in one page that opens from disk, and the report of each run."""

import argparse

from segfold.cli.shell import HOME


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--open", action="store_true", help="open it in the browser when it is built")


def run(arguments: argparse.Namespace) -> int:
    import webbrowser

    from segfold.board.build import build_board
    from segfold.cli.progress import Progress, duration
    from segfold.disk import size_text
    from segfold.stopping import Stopping

    with Stopping().installed(), Progress() as progress:
        built = build_board(HOME, progress)
    runs = f"{built.runs} run{'s' * (built.runs != 1)}"
    print(
        f"{built.page}: {runs}, {size_text(built.size)}, built in {duration(built.seconds)} ({built.made} files anew)"
    )
    if arguments.open:
        webbrowser.open(built.page.resolve().as_uri())
    return 0
