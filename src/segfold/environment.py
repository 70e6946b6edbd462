"""What a run was made with: code version, package versions, machine."""

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import segfold
from segfold.cores import cores

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = (
    "torch",
    "timm",
    "albumentations",
    "opencv-contrib-python-headless",
    "opencv-python-headless",
    "numpy",
    "pillow",
    "pandas",
    "scikit-learn",
    "numba",
    "scipy",
    "pydantic",
    "omegaconf",
    "safetensors",
)


def _git(root: Path, *arguments: str) -> bytes | None:
    # Optional locks off: asking must not disturb a git command that the user runs at the same time.
    variables = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, env=variables, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout


def git_state(root: Path = _ROOT) -> dict[str, str | None]:
    """The commit of the repository whose top is ``root``, and a hash of what differs from it.

    Returns:
        ``commit``: None outside a repository or before the first commit. ``diff``: sha256 over changes to
        tracked files and over untracked Python and YAML files, None when there are none (or no commit).
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    # An installed package may lie inside somebody else's repository, whose commit says nothing of this code.
    if top is None or Path(os.fsdecode(top.strip())).resolve() != root.resolve():
        return {"commit": None, "diff": None}
    commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if commit is None:
        return {"commit": None, "diff": None}
    changes = _git(root, "diff", "HEAD", "--binary", "--no-ext-diff") or b""
    untracked = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", "*.py", "*.yaml") or b""
    digest = hashlib.sha256(changes)
    for name in sorted(filter(None, untracked.split(b"\0"))):
        path = root / os.fsdecode(name)
        digest.update(name + b"\0" + (path.read_bytes() if path.is_file() else b""))
    return {"commit": commit.decode().strip(), "diff": digest.hexdigest() if changes or untracked else None}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def environment() -> dict[str, Any]:
    """A record for ``environment.json``, JSON throughout; imports none of the packages it names."""
    return {
        "segfold": segfold.__version__,
        "git": git_state(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": cores(),
        "packages": {package: _version(package) for package in _PACKAGES},
    }
