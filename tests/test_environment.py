"""The environment's record: the code's state, versions, and no heavy import."""

import json
import subprocess
import sys
from pathlib import Path

from python_process import run_python
from segfold.environment import environment, git_state


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    answer = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def test_git_state_changes_with_the_code_and_only_with_it(tmp_path):
    nothing = {"commit": None, "diff": None}
    assert git_state(tmp_path) == nothing
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) == nothing
    (tmp_path / "a.py").write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "a")
    clean = {"commit": git(tmp_path, "rev-parse", "HEAD"), "diff": None}
    assert git_state(tmp_path) == clean
    (tmp_path / "data.bin").write_text("not code")
    assert git_state(tmp_path) == clean
    states = [clean]
    for name, content in [("a.py", "2\n"), ("b.py", "new"), ("b.py", "newer"), ("c.yaml", "")]:
        (tmp_path / name).write_text(content)
        states.append(git_state(tmp_path))
    assert len({state["diff"] for state in states}) == len(states)
    (tmp_path / "inner").mkdir()
    assert git_state(tmp_path / "inner") == nothing  # somebody else's repository


def test_environment_is_json_and_imports_nothing_heavy(tmp_path):
    code = (
        "import json, sys\nfrom segfold.environment import environment\nprint(json.dumps(environment()))\n"
        "assert not {'torch', 'cv2', 'pandas', 'numpy'} & set(sys.modules)"
    )
    process = run_python(code)
    record = json.loads(process.communicate()[0])
    assert process.returncode == 0
    assert record == environment()
    import numpy

    assert record["packages"]["numpy"] == numpy.__version__
    assert record["python"] == ".".join(map(str, sys.version_info[:3]))
