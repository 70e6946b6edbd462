"""Imports run in one direction, and the command line answers without the heavy packages."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "segfold"

BELOW = {
    "errors": set(),
    "paths": {"errors"},
    "stopping": set(),
    "environment": {"cores"},
    "cores": set(),
    "files": {"errors", "faults", "paths"},
    "schema": {"errors"},
    "ranges": set(),
    "yaml_file": {"errors"},
    "competition": {"errors", "paths", "yaml_file"},
    "layouts": {"errors", "paths", "cores", "competition"},
    "data": {"errors", "paths", "cores", "files", "competition", "layouts"},
    "importing": {"errors", "paths", "files", "competition", "layouts", "data"},
    "models": {"errors", "paths"},
    "losses": {"errors"},
    "metrics": {"errors", "cores"},
    "optim": {"errors"},
    "settings": {"errors", "ranges", "schema", "data", "models", "losses", "optim"},
    "config": {"errors", "paths", "schema", "models", "settings", "yaml_file"},
    "faults": {"errors"},
    "locks": {"errors", "files"},
    "runs": {"errors", "paths", "files", "locks"},
    "store": {"errors", "faults", "files", "locks"},
    "machine": {"errors", "cores", "settings"},
    "demo": {"errors", "files", "layouts", "metrics"},
}
"""What each module or package may import from segfold, itself aside."""
BELOW["inference"] = set(BELOW) - {"environment", "optim", "losses"}
BELOW["training"] = set(BELOW) - {"environment"}
BELOW["post"] = {"errors", "files", "competition", "layouts", "data", "metrics", "runs", "store", "schema"}
BELOW["ensemble"] = BELOW["post"] | {"post", "config"}
BELOW["submission"] = BELOW["ensemble"] | {"ensemble", "environment"}
BELOW["cli"] = set(BELOW)


def imports_of(path: Path) -> set[str]:
    """Top-level parts of segfold that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "segfold":
                names = [f"segfold.{alias.name}" for alias in node.names]
            else:
                names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("segfold.")}
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_down(path: Path) -> None:
    part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if part in ("__init__", "__main__"):
        return
    assert part in BELOW, f"{part} has no place in the order of layers"
    assert imports_of(path) <= BELOW[part] | {part, "__version__"}


def test_order_has_no_cycle() -> None:
    placed: set[str] = set()
    while len(placed) < len(BELOW):
        ready = {name for name, below in BELOW.items() if name not in placed and below <= placed}
        assert ready, f"cycle among {set(BELOW) - placed}"
        placed |= ready


def test_albumentations_is_imported_in_one_module() -> None:
    users = [path for path in SOURCE.rglob("*.py") if "import albumentations" in path.read_text()]
    assert [path.name for path in users] == ["library.py"]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, contextlib\n"
        "from segfold.cli import VERBS, main\n"
        "for verb in VERBS:\n"
        "    with contextlib.suppress(SystemExit): main([verb, '--help'])\n"
        "heavy = {'torch', 'pandas', 'cv2', 'numba', 'albumentations', 'pydantic', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, cwd=SOURCE.parent)


def test_opencv_wheels_agree() -> None:
    from importlib.metadata import version

    import cv2

    assert version("opencv-contrib-python-headless") == version("opencv-python-headless")
    assert hasattr(cv2.ximgproc, "createEdgeBoxes")
