"""The notebooks of bundles, in Jupyter's format 4.5, and what Kaggle's client wants to know of a data set and a notebook."""

import json
import re
from collections.abc import Sequence
from typing import Any

OWNER = "INSERT_OWNER"
"""Stands for the user's name on Kaggle where that was not given."""

_INSTALL = '''\
import os, subprocess, sys, tempfile, zipfile
from pathlib import Path

INPUTS = Path(os.environ.get("SEGFOLD_INPUTS", "/kaggle/input"))  # what is mounted
WORKING = Path(os.environ.get("SEGFOLD_WORKING", "/kaggle/working"))  # what is kept
SCRATCH = Path(tempfile.mkdtemp(prefix="segfold-"))


def run(*command):
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command[:5]))} ended with exit code {process.returncode}")


def bundles(name):
    """Mounted folders with this bundle, and zips of it that nobody has unpacked."""
    for depth in range(1, 6):
        for path in sorted(INPUTS.glob("*/" * depth + "bundle.json")):
            if f'"name": "{name}"' in path.read_text():
                yield path.parent
    for depth in range(5):
        for path in sorted(INPUTS.glob("*/" * depth + f"{name}.zip")):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(SCRATCH / "bundle")
            yield SCRATCH / "bundle"


BUNDLE = next(bundles(NAME), None)
if BUNDLE is None:
    raise SystemExit(f"no bundle {NAME} in {INPUTS}: add the data set with it as an input of this notebook")
PACKAGES = SCRATCH / "packages"
wheels = sorted((BUNDLE / "wheels").glob("*.whl"))
if wheels:
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", PACKAGES, *wheels)
before = [path for path in [os.environ.get("PYTHONPATH")] if path]
os.environ["PYTHONPATH"] = os.pathsep.join([str(BUNDLE / "src"), str(PACKAGES), *before])
os.environ["NUMBA_CACHE_DIR"] = str(SCRATCH / "numba")  # what is mounted cannot be written
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
print(f"{BUNDLE}: {len(wheels)} wheels installed")
'''

_HOST = 'run(sys.executable, "-m", "segfold", "host", BUNDLE, "--inputs", INPUTS, "--working", WORKING{more})\n'

_LOOK = """\
for path in sorted(WORKING.glob("submission.*")):
    print(path, f"{path.stat().st_size:,} bytes")
    if path.suffix == ".csv":
        with path.open() as lines:
            print("".join(line[:100].rstrip("\\n") + "\\n" for line, _ in zip(lines, range(5))))
"""

_LEFT = """\
for path in sorted(WORKING.glob("runs.zip")):
    print(path, f"{path.stat().st_size:,} bytes: bring it home with `segfold runs --import runs.zip`")
"""


def recipe_notebook(name: str, title: str, lines: Sequence[str]) -> bytes:
    """A notebook that applies a bundle's recipe to the test images that are mounted.

    Args:
        name: of the bundle.
        title: of the competition.
        lines: what to say of the recipe, a paragraph.
    """
    about = [
        f"# {title}: {name}",
        "Applies a recipe of segfold to the test images that are mounted, whatever they are, and writes "
        "`submission.csv` in the form of the mounted sample submission. It needs no internet and no training images. "
        "Add two inputs: the competition, and the data set with this bundle.",
        *lines,
    ]
    return _notebook(["\n\n".join(about)], [f"NAME = {name!r}\n", _INSTALL, _HOST.format(more=""), _LOOK])


def training_notebook(name: str, title: str, lines: Sequence[str], limit: str) -> bytes:
    """A notebook that trains a bundle's folds, goes on with those of an earlier session, and leaves ``runs.zip``.

    Args:
        limit: of the session, as the command line takes it.
    """
    about = [
        f"# {title}: training {name}",
        "Trains the folds of a segfold experiment, one on each free GPU, stops before the session's end and leaves "
        "`runs.zip`. Add two inputs: the competition, and the data set with this bundle. To go on in another session, add "
        "this notebook's own last output as a third one. At home `segfold runs --import runs.zip` takes the folds in.",
        *lines,
    ]
    more = f', "--limit", {limit!r}'
    return _notebook(["\n\n".join(about)], [f"NAME = {name!r}\n", _INSTALL, _HOST.format(more=more), _LEFT])


def _notebook(texts: Sequence[str], codes: Sequence[str]) -> bytes:
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "id": f"text-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
        for number, text in enumerate(texts)
    ]
    cells += [
        {
            "cell_type": "code",
            "id": f"code-{number}",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": code.splitlines(keepends=True),
        }
        for number, code in enumerate(codes)
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    values = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode()


def dataset_metadata(name: str, owner: str | None) -> bytes:
    """``dataset-metadata.json``, with which ``kaggle datasets create`` uploads a folder."""
    values = {"title": _title(name), "id": f"{owner or OWNER}/{slug(name)}", "licenses": [{"name": "other"}]}
    return (json.dumps(values, indent=2) + "\n").encode()


def kernel_metadata(name: str, owner: str | None, competition: str | None, internet: bool) -> bytes:
    """``kernel-metadata.json``, with which ``kaggle kernels push`` uploads a notebook.

    Args:
        competition: its slug.
    """
    user = owner or OWNER
    values = {
        "id": f"{user}/{slug(f'{name}-notebook')}",
        "title": slug(f"{name}-notebook"),
        "code_file": "notebook.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "enable_internet": internet,
        "dataset_sources": [f"{user}/{slug(name)}"],
        "competition_sources": [] if competition is None else [competition],
    }
    return (json.dumps(values, indent=2) + "\n").encode()


def slug(name: str) -> str:
    """A name as Kaggle writes it in addresses: 6 to 50 small letters, digits and dashes."""
    plain = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"segfold-{plain}"[:50].strip("-") if len(plain) < 6 else plain[:50].strip("-")


def _title(name: str) -> str:
    return slug(name) if not 6 <= len(name) <= 50 else name
