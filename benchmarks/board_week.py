"""A competitor's week, made up: runs in every state, submissions with their scores, an audit, three competitions."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.board_runs import (
    Made,
    experiment_of,
    fold_job,
    made_competition,
    make_run,
    make_runs,
    run_name,
    write_epochs,
)
from segfold import road
from segfold.audit.files import write_audit
from segfold.audit.whole import audit
from segfold.files import read_json, write_json
from segfold.gathering import gather
from segfold.leaderboard.ledger import ledger_path, note, record_by_hand
from segfold.runs.folder import RunFolder
from segfold.submission.blended import SubmissionOptions

UNFINISHED, FAILED, DAMAGED, EMPTY = "unet-unfinished", "unet-failed", "unet-damaged", "unet-empty"


def make_week(
    home: Path,
    runs: int = 4,
    images: int = 40,
    test: int = 12,
    folds: int = 5,
    others: bool = True,
    names: Callable[[int], str] = run_name,
) -> Made:
    """All of it in the working folder ``home``.

    Args:
        others: also the two small competitions of other tasks, with two runs each.
    """
    salt = made_competition(home, "salt", images, test, folds)
    found = make_runs(salt, runs, names=names)
    make_unfinished(salt)
    make_submissions(salt, found)
    make_audit(salt, found[:3])
    if others:
        for number, name in enumerate(("streets", "organs")):
            made = made_competition(home, name, 24, 8, 2)
            two = [make_run(made, 10 * number + each, f"{name}-{each}") for each in range(2)]
            make_submissions(made, two, [two])
    spread_times(home)
    return salt


def make_unfinished(made: Made) -> None:
    """Runs that are not finished: stopped in fold 1, failed in it, one with a torn ``done.json``, one that never began."""
    for number, name in enumerate((UNFINISHED, FAILED, DAMAGED)):
        run = make_run(made, 60 + number, name, [0], test=False)
        job = fold_job(made, experiment_of(made, 60 + number), run, 1)
        write_epochs(job, 60 + number, 5)
        torch.save({"epochs": 5}, job.folder.last)
        if name == FAILED:
            reason = "the loss is not finite in stage warm, epoch 5; lower lr (now 0.001)"
            write_json(job.folder.path / "failed.json", {"time": "2026-11-29T08:12:44Z", "reason": reason})
        if name == DAMAGED:
            done = run.fold(0).done
            done.write_bytes(done.read_bytes()[:200])
    empty = RunFolder(made.home / "runs" / EMPTY)
    empty.path.mkdir(parents=True)
    empty.config_path.write_bytes(RunFolder(made.home / "runs" / UNFINISHED).config_path.read_bytes())


def make_submissions(made: Made, runs: Sequence[RunFolder], sets: Sequence[Sequence[RunFolder]] | None = None) -> None:
    """Real submissions of each run alone and of some ensembles, with the scores that a leaderboard would show."""
    sets = [*([run] for run in runs), runs[:2], runs[:3], runs] if sets is None else sets
    rng = np.random.default_rng(5)
    distinct = {tuple(run.name for run in each): list(each) for each in sets}
    for number, members in enumerate(distinct.values()):
        options = SubmissionOptions(
            name=f"{made.competition.name}-{number:02}", weights="equal", steps=(), device="cpu"
        )
        written = road.submit([run.path for run in members], options, made.home).written
        assert written is not None
        if number == len(distinct) - 1 and number:
            continue  # the last one was not sent
        cv = read_json(written.path.with_suffix(".json"))["cv"]
        mean = (cv.get("nested") or cv["tuned"])["mean"]
        public = round(mean + 0.012 + float(rng.normal(0, 0.004)) + (0.06 if number == 2 else 0), 5)
        private = round(mean - 0.006 + float(rng.normal(0, 0.004)), 5)
        record_by_hand(made.home, written.path, made.competition.name, public, private if number % 2 == 0 else None)


def note_submissions(made: Made, runs: Sequence[RunFolder], count: int) -> None:
    """Lines of the ledger alone, of submissions whose files are gone: what a whole season leaves behind."""
    rng = np.random.default_rng(6)
    for number in range(count):
        digest = f"{number:064x}"
        run = runs[number % len(runs)]
        cv = round(0.75 + 0.1 * float(rng.random()), 6)
        name, fields = f"submissions/old-{number:03}.csv", {"competition": made.competition.name, "recipe": None}
        note(made.home, digest, "written", file=name, cv=cv, cv_error=0.0071, members=[run.name], **fields)
        public = round(cv + 0.01 + float(rng.normal(0, 0.005)), 5)
        note(made.home, digest, "recorded", public=public, private=round(public - 0.02, 5))


def spread_times(home: Path) -> None:
    """Spreads the ledger's events over a week; they were all noted within seconds."""
    path = ledger_path(home)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for number, line in enumerate(lines):
        line["time"] = (
            f"2026-11-{20 + number * 9 // max(len(lines), 1):02}T{8 + number % 12:02}:{number * 7 % 60:02}:00Z"
        )
    path.write_text("".join(f"{json.dumps(line)}\n" for line in sorted(lines, key=lambda each: each["time"])))


def make_audit(made: Made, runs: Sequence[RunFolder]) -> None:
    """What ``make audit`` writes, the labels held against some runs."""
    options = SubmissionOptions(competition=made.competition.name, device="cpu")
    members = [each.oof for each in gather([run.path for run in runs], options, made.home, oof=True).members]
    write_audit(audit(made.competition, made.home, members=members), made.home / "audit" / made.competition.name)
