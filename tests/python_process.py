"""Python in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"


def run_python(code: str, **options) -> subprocess.Popen:
    environment_variables = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment_variables, stdout=subprocess.PIPE, text=True, **options
    )
