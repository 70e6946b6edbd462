"""The command line: ``segfold <verb>``, one file a verb with ``add_arguments`` and ``run``."""

import argparse
import contextlib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, cast

from segfold.errors import SegfoldError

VERBS = {
    "data": "bring a competition's data into data/ and check all of it",
    "folds": "write the fold file of a competition",
    "audit": "shift to the test set, near-duplicates, suspicious labels",
    "look": "a PNG sheet of augmented images with masks, before any training",
    "train": "train one fold of an experiment, or go on with it",
    "runs": "the runs with their folds and scores; --import takes in those of a runs.zip",
    "cv": "mean and standard error over a run's folds",
    "predict": "predict what a submission needs, or a share of it",
    "submit": "blend finished runs into a checked submission CSV",
    "upload": "send a submission CSV to Kaggle and wait for its score",
    "sync": "fetch the scores of what was sent to Kaggle, and show the ledger",
    "record": "record a leaderboard score by hand",
    "soup": "average the weights of runs, fold by fold, into a run of its own",
    "bundle": "pack what a recipe, or a training, needs for a notebook on another host",
    "host": "on that host: apply a bundle's recipe to the mounted test images, or train its folds",
    "check-csv": "check a submission CSV",
    "score": "score a submission CSV against known masks",
    "query": "ask runs, folds, epochs, images and submissions in SQL",
    "compare": "which of two runs or ensembles is better, and how sure that is",
    "expect": "the public and private score that a submission is to be expected to have",
    "board": "runs, scores and every image in one page that opens from disk",
    "watch": "the same page from a server, made anew whenever something changes, as while training runs",
    "explain": "what a setting does, what it may be, and its default",
    "demo": "the whole road on an embedded synthetic competition",
}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, as everything else here does."""

    def error(self, message: str) -> NoReturn:
        raise SegfoldError(f"{message}; {self.prog} --help says more")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the shell's exit code: 0, 2 for what the user can mend, 130 or 143 if stopped."""
    from segfold.cli.shell import Interrupted, require_dependencies

    for stream in (sys.stdout, sys.stderr):
        # A terminal may lack a character of a name, or a dash of ours.
        with contextlib.suppress(AttributeError, OSError):
            cast(io.TextIOWrapper, stream).reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    verb = arguments[0] if arguments else None
    if verb not in VERBS:
        return _top_level(arguments)
    module = importlib.import_module(f"segfold.cli.{verb.replace('-', '_')}")
    parser = _Parser(prog=f"segfold {verb}", description=module.__doc__)
    module.add_arguments(parser)
    try:
        parsed = parser.parse_intermixed_args(arguments[1:])
        require_dependencies()
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        return int(module.run(parsed) or 0)
    except SegfoldError as error:
        print(f"segfold {verb}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Interrupted as stopped:
        print(f"segfold {verb}: stopped; the same command goes on from here", file=sys.stderr)
        return stopped.code
    except KeyboardInterrupt:
        print(f"segfold {verb}: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _top_level(arguments: list[str]) -> int:
    import difflib

    width = max(map(len, VERBS)) + 2
    usage = "usage: segfold VERB [arguments]   (segfold VERB --help says more)\n\n" + "\n".join(
        f"  {verb:{width}}{what}" for verb, what in VERBS.items()
    )
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage)
        return 0
    if arguments[0] == "--version":
        import segfold

        print(segfold.__version__)
        return 0
    near = difflib.get_close_matches(arguments[0], VERBS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(VERBS)}"
    print(f"segfold: unknown verb {arguments[0]!r}; {hint}", file=sys.stderr)
    return 2
