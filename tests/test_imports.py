"""Imports run in one direction, and the command line answers without the heavy packages."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "segfold"

GROUND = "errors faults paths cores stopping observer disk locks files environment yaml_file ranges resize schema"
WORK = (
    "layouts competition data importing settings config machine store runs inference training post ensemble submission"
)
ROOMS = [
    *GROUND.split(),
    "models",
    "losses",
    "metrics",
    "optim",
    "tasks",
    "statistics",
    *WORK.split(),
    "leaderboard",
    "predicting",
    "gathering",
    "comparison",
    "audit",
    "board",
    "road",
    "soup",
    "soup",
    "bundling",
    "demo",
    "cli",
]
"""From the ground up: a module or package imports only what stands before it."""

APART = [{"models", "losses", "metrics", "optim"}, {"training", "post"}, {"machine", "store", "runs"}]
"""Rooms that do not import one another."""


def reachable_from(part: str) -> set[str]:
    """What a room may import from segfold."""
    apart = {other for rooms in APART if part in rooms for other in rooms}
    return (set(ROOMS[: ROOMS.index(part)]) - apart) | {part, "__version__"}


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
    assert part in ROOMS, f"{part} has no place in the order of rooms"
    assert imports_of(path) <= reachable_from(part)


def test_every_room_that_is_named_exists() -> None:
    there = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert there == {*ROOMS, "__init__", "__main__"}


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


def test_verbs_that_train_nothing_do_not_wait_for_torch() -> None:
    code = (
        "import sys\n"
        "import segfold.importing.kaggle, segfold.data.images, segfold.data.folds, segfold.submission.score\n"
        "assert 'torch' not in sys.modules, 'torch'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=SOURCE.parent)


def test_opencv_wheels_agree() -> None:
    from importlib.metadata import version

    import cv2

    assert version("opencv-contrib-python-headless") == version("opencv-python-headless")
    assert hasattr(cv2.ximgproc, "createEdgeBoxes")
