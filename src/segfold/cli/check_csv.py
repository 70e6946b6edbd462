"""Check a submission: columns, exact rows, every mask well-formed, sorted, in bounds, without overlaps; or each PNG of a zip."""

import argparse

from segfold.cli.shell import HOME, remark
from segfold.paths import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("csv", type=user_path, help="the submission, a CSV or a zip of PNGs")
    parser.add_argument("--competition", default="tgs-salt", help="name in configs/competitions, or a YAML file")


def run(arguments: argparse.Namespace) -> int:
    from segfold.competition import load_competition
    from segfold.errors import SegfoldError, one_line
    from segfold.submission.check import check_submission, image_shapes

    competition = load_competition(arguments.competition, HOME)
    shapes = image_shapes(competition, HOME, remark)
    found = check_submission(arguments.csv, competition, shapes)
    for line in found.remarks:
        print(one_line(f"remark: {line}"))
    if found.problems:
        for line in found.problems[1:]:
            print(one_line(line))
        count = "1 problem" if len(found.problems) == 1 else f"{len(found.problems)} problems"
        raise SegfoldError(
            f"{arguments.csv} has {count}: {found.problems[0]}; mend it or write it again with submit.py"
        )
    remarks = ", with remarks on what the host accepts" if found.remarks else ""
    print(f"{arguments.csv}: good, {len(shapes):,} images{remarks}")
    return 0
