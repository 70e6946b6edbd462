"""Print what a setting does, what it may be, and its default; for a group of settings, a table of them."""

import argparse

from segfold.paths import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", metavar="PATH", help="such as input.fit, model or stages.warm.loss")
    parser.add_argument("--config", type=user_path, help="experiment whose own values stand beside the defaults")
    parser.add_argument("--markdown", action="store_true", help="print all settings as docs/settings.md has them")


def run(arguments: argparse.Namespace) -> int:
    from segfold.cli.settings_page import explain, page
    from segfold.config import dump, load_experiment

    if arguments.markdown:
        print(page(), end="")
        return 0
    values = None if arguments.config is None else dump(load_experiment(arguments.config))
    texts = [explain(path, values) for path in arguments.paths or [""]]
    print("\n\n".join(texts))
    return 0
