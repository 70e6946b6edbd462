"""A small project with a trained run and a recipe, and a host without a network that a bundle's notebook runs on."""

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from segfold import road
from segfold.config import load_experiment
from segfold.files import read_json
from segfold.submission.blended import SubmissionOptions
from segfold.yaml_file import read_yaml, yaml_text
from small_project import make_project

NO_NETWORK = """
import socket


def refused(*arguments, **options):
    raise OSError("there is no network here")


socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refused
"""
"""A ``sitecustomize`` of every Python process of the host."""


def make_recipe(home: Path, *overrides: str) -> Path:
    """A project with a run ``small`` of two folds, and a recipe whose masks are not empty."""
    make_project(home)
    run = road.open_run(
        load_experiment(home / "configs/small.yaml", ["stages.warm.epochs=1", *overrides]), "small", home
    )
    for fold in (0, 1):
        road.train_fold(run, fold)
    road.submit([home / "runs/small"], SubmissionOptions(name="ours", min_area=2, gate=0), home)
    path = home / "submissions/ours.recipe.yaml"
    values = read_yaml(path)
    path.write_text(yaml_text(values | {"threshold": 0.45}))
    return path


def same_host(path: Path) -> Path:
    """A list of a host that has what this machine has."""
    packages = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    version = f"python=={sys.version_info.major}.{sys.version_info.minor}"
    path.write_text("\n".join([version, *(f"{name}=={number}" for name, number in sorted(packages.items()))]) + "\n")
    return path


def mount(home: Path, inputs: Path) -> Path:
    """The competition as a host mounts it for a notebook: test images and sample submission, and nothing to train on."""
    root = inputs / "competitions" / "small-slug"
    shutil.copytree(home / "data/small/test", root / "test")
    shutil.copy(home / "data/small/sample_submission.csv", root)
    return root


def run_notebook(
    notebook: Path, inputs: Path, working: Path, python: str = sys.executable
) -> "subprocess.CompletedProcess[str]":
    """The cells of a notebook as one script, in an empty folder, without a network."""
    working.mkdir(exist_ok=True)
    site = working.parent / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(NO_NETWORK)
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    script = working.parent / "cells.py"
    script.write_text("\n".join("".join(cell["source"]) for cell in cells))
    variables = {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "COLUMNS": "200", "CUDA_VISIBLE_DEVICES": ""}
    variables |= {"SEGFOLD_INPUTS": str(inputs), "SEGFOLD_WORKING": str(working)}
    return subprocess.run(
        [python, str(script)],
        cwd=working.parent,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def manifest(folder: Path) -> dict[str, object]:
    """What a bundle says of itself."""
    return dict(read_json(folder / "bundle.json"))
