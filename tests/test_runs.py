"""Run folders, atomic files, line logs, locks and the environment record, under kills and full disks."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfold.environment import environment, git_state
from segfold.errors import SegfoldError
from segfold.locks import FoldLock
from segfold.runs import (
    RunFolder,
    append_line,
    find_runs,
    read_json,
    read_lines,
    read_records,
    truncate_lines,
    write_atomic,
    write_json,
)

SOURCE = Path(__file__).parents[1] / "src"


def run_python(code: str, **options) -> subprocess.Popen:
    environment_variables = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment_variables, stdout=subprocess.PIPE, text=True, **options
    )


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def make_run(path: Path, finished=(0,), started=()) -> RunFolder:
    run = RunFolder(path)
    path.mkdir(parents=True)
    run.config_path.write_text("competition: x\n")
    for number in (*finished, *started):
        run.fold(number).path.mkdir()
    for number in finished:
        write_json(run.fold(number).done, {"score": 0.5})
    return run


def test_paths_of_a_run_folder_are_those_of_the_design():
    fold = RunFolder(Path("runs/unet")).fold(3)
    assert RunFolder(Path("runs/unet")).name == "unet"
    assert RunFolder(Path("runs/unet")).config_path == Path("runs/unet/config.yaml")
    assert RunFolder(Path("runs/unet")).environment_path == Path("runs/unet/environment.json")
    assert fold.number == 3
    assert fold.last == Path("runs/unet/fold3/last.pt")
    assert fold.weights() == Path("runs/unet/fold3/model.safetensors")
    assert fold.weights("snapshot2") == Path("runs/unet/fold3/snapshot2.safetensors")
    assert fold.metrics == Path("runs/unet/fold3/metrics.jsonl")
    assert fold.done == Path("runs/unet/fold3/done.json")
    assert fold.predictions("model", "hflip+vflip") == Path("runs/unet/fold3/pred/model-hflip+vflip")


@pytest.mark.parametrize("name", ["", "../model", "a/b", ".hidden", "a b"])
def test_names_cannot_leave_the_fold_folder(name):
    with pytest.raises(SegfoldError, match="rename"):
        RunFolder(Path("r")).fold(0).weights(name)
    with pytest.raises(SegfoldError, match="rename"):
        RunFolder(Path("r")).fold(0).predictions("model", name)


def test_folds_are_ordered_as_numbers_and_unfinished_ones_are_apart(tmp_path):
    run = make_run(tmp_path / "r", finished=(10, 2), started=(1,))
    (run.path / "fold7").write_text("a file")
    (run.path / "fold3-old").mkdir()
    assert [fold.number for fold in run.folds()] == [1, 2, 10]
    assert [fold.number for fold in run.finished_folds()] == [2, 10]
    assert RunFolder(tmp_path / "absent").folds() == []


def test_find_runs_takes_finished_runs_and_says_why_it_skips_the_rest(tmp_path):
    good = make_run(tmp_path / "good", finished=(0,), started=(1,))
    also = make_run(tmp_path / "also", finished=(4,))
    make_run(tmp_path / "started", finished=(), started=(0, 2))
    make_run(tmp_path / "new", finished=())
    (tmp_path / "foreign").mkdir()
    (tmp_path / "board.html").write_text("")
    paths = [tmp_path / name for name in ("good", "started", "new", "foreign", "board.html", "gone")]
    paths += [good.path / "fold0", tmp_path / "also", tmp_path / "also" / ".." / "good"]
    runs, skipped = find_runs(map(str, paths))
    assert [run.path for run in runs] == [good.path, also.path]
    reasons = {path.name: reason for path, reason in skipped}
    assert reasons == {
        "started": "no finished fold (started: fold0, fold2)",
        "new": "no finished fold",
        "foreign": "not a run: no config.yaml",
        "board.html": "not a folder",
        "gone": "does not exist",
        "fold0": f"one fold of a run; give the run, {good.path}",
    }


def test_atomic_write_replaces_only_when_the_block_ends_well(tmp_path):
    path = tmp_path / "deep" / "file.bin"
    with write_atomic(path) as file:
        file.write(b"one")
        assert not path.exists() and Path(file.name).parent == path.parent
    with pytest.raises(RuntimeError), write_atomic(path) as file:
        file.write(b"two")
        raise RuntimeError
    with pytest.raises(KeyboardInterrupt), write_atomic(path) as file:
        raise KeyboardInterrupt
    assert path.read_bytes() == b"one"
    assert names(path.parent) == ["file.bin"]
    with write_atomic(path, "w") as text:
        text.write("ä\n")
    assert path.read_bytes() == "ä\n".encode()


def test_atomic_write_keeps_the_umask(tmp_path):
    (tmp_path / "plain").write_text("")
    write_json(tmp_path / "atomic", {})
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_killed_writer_leaves_the_old_file_and_its_rest_is_cleared(tmp_path):
    path = tmp_path / "last[1].pt"
    path.write_bytes(b"old")
    code = (
        "import time\nfrom segfold.runs import write_atomic\n"
        f"with write_atomic({str(path)!r}) as f:\n"
        "    f.write(b'new' * 10000); f.flush(); print('here', flush=True); time.sleep(60)"
    )
    process = run_python(code)
    process.stdout.readline()
    assert len(names(tmp_path)) == 2
    with write_atomic(path) as file:  # a living writer's temporary file is left alone
        file.write(b"second")
    assert len(names(tmp_path)) == 2
    process.kill()
    process.wait()
    assert path.read_bytes() == b"second"
    with write_atomic(path) as file:
        file.write(b"third")
    assert names(tmp_path) == ["last[1].pt"]


@pytest.mark.parametrize("wrap", [False, True], ids=["plain", "wrapped by a library"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_is_one_line_and_the_old_file_stays(tmp_path, number, wrap):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(SegfoldError, match="disk is full") as caught, write_atomic(path) as file:
        file.write(b"new")
        try:
            raise OSError(number, os.strerror(number))
        except OSError as error:
            if wrap:
                raise RuntimeError("unexpected pos 64 vs 0") from error
            raise
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert path.read_bytes() == b"old" and names(tmp_path) == ["file"]


def test_real_write_failure_at_a_file_size_limit(tmp_path):
    """The kernel refuses the bytes, in the middle of a buffered write and at the flush on closing."""
    atomic, log = tmp_path / "atomic", tmp_path / "log.jsonl"
    atomic.write_bytes(b"old")
    log.write_text("first\n")
    code = f"""
from segfold.errors import SegfoldError
from segfold.runs import append_line, write_atomic
for size in (100_000, 5_000):
    try:
        with write_atomic({str(atomic)!r}) as f:
            f.write(b"x" * size)
    except SegfoldError as error:
        print(error)
try:
    append_line({str(log)!r}, "y" * 5_000)
except SegfoldError as error:
    print(error)
"""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    process = run_python(code, preexec_fn=limit)
    lines = process.communicate()[0].splitlines()
    assert process.returncode == 0
    assert len(lines) == 3 and all("disk is full" in line for line in lines)
    assert atomic.read_bytes() == b"old" and log.read_text() == "first\n"
    assert names(tmp_path) == ["atomic", "log.jsonl"]


def test_other_errors_pass_unchanged(tmp_path):
    with pytest.raises(OSError, match="unrelated"), write_atomic(tmp_path / "f"):
        raise OSError(errno.EIO, "unrelated")
    with pytest.raises(SegfoldError, match="mine"), write_atomic(tmp_path / "f"):
        raise SegfoldError("mine")


def test_read_json_errors_are_one_line(tmp_path):
    write_json(tmp_path / "a.json", {"id": "ü", "n": [1, 2]})
    assert read_json(tmp_path / "a.json") == {"id": "ü", "n": [1, 2]}
    with pytest.raises(SegfoldError, match="does not exist"):
        read_json(tmp_path / "b.json")
    (tmp_path / "a.json").write_text('{"torn": ')
    with pytest.raises(SegfoldError, match=r"a\.json cannot be read"):
        read_json(tmp_path / "a.json")


@settings(max_examples=30, deadline=None)
@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), max_size=6),
    torn=st.binary(max_size=5).filter(lambda data: b"\n" not in data),
    keep=st.integers(0, 7),
)
def test_log_laws(tmp_path_factory, lines, torn, keep):
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    assert read_lines(path) == []
    truncate_lines(path, keep)
    for line in lines:
        append_line(path, line)
    with path.open("ab") as file:
        file.write(torn)
    assert read_lines(path) == lines  # the torn line is not read
    append_line(path, "after")
    assert read_lines(path) == [*lines, "after"]  # nor does it spoil the next one
    truncate_lines(path, keep)
    assert read_lines(path) == [*lines, "after"][:keep]
    append_line(path, "resumed")
    assert read_lines(path) == [*[*lines, "after"][:keep], "resumed"]


def test_torn_line_longer_than_a_block_is_cut(tmp_path):
    path = tmp_path / "log"
    append_line(path, "whole")
    with path.open("ab") as file:
        file.write(b"x" * 200_000)
    append_line(path, "next")
    assert read_lines(path) == ["whole", "next"]


def test_records(tmp_path):
    path = tmp_path / "log"
    append_line(path, {"epoch": 1, "note": "a\nb"})
    append_line(path, json.dumps({"epoch": 2}))
    assert read_records(path) == [{"epoch": 1, "note": "a\nb"}, {"epoch": 2}]
    append_line(path, "not json")
    with pytest.raises(SegfoldError, match="line 3"):
        read_records(path)
    with pytest.raises(ValueError, match="line break"):
        append_line(path, "a\nb")


def test_appends_from_several_processes_do_not_mix(tmp_path):
    path = tmp_path / "ledger"
    code = (
        "import sys\nfrom segfold.runs import append_line\n"
        f"for i in range(40): append_line({str(path)!r}, sys.argv[0] + 'NAME' * 300)"
    )
    processes = [run_python(code.replace("NAME", name)) for name in "abc"]
    assert [process.wait() for process in processes] == [0, 0, 0]
    lines = read_lines(path)
    assert sorted(set(lines)) == ["-c" + name * 300 for name in "abc"] and len(lines) == 120


HOLD = """
import os, sys, time
from segfold.locks import FoldLock
with FoldLock(sys.stdin.readline().strip()):
    FORK
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


# The worker speaks first, so that it is known to have begun when its parent is killed.
FORK = """read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, b"!")
        time.sleep(60)
    os.read(read, 1)
    print(child)"""


def hold(path: Path, fork: str = "") -> subprocess.Popen:
    process = run_python(HOLD.replace("FORK", fork), stdin=subprocess.PIPE)
    process.stdin.write(f"{path}\n")
    process.stdin.flush()
    return process


def test_second_training_says_who_holds_the_lock(tmp_path):
    path = tmp_path / "fold0" / "lock"
    process = hold(path)
    pid = process.stdout.readline().strip()
    with pytest.raises(SegfoldError, match=f"process {pid} on .* since 20") as caught, FoldLock(path):
        pass
    assert "\n" not in str(caught.value) and "training this fold" in str(caught.value)
    process.kill()
    process.wait()
    refused = pytest.raises(SegfoldError, match=f"process {os.getpid()} ")
    with FoldLock(path), refused, FoldLock(path):  # a killed holder holds nothing
        pass
    with FoldLock(path, "predicting"):
        pass


def test_forked_worker_does_not_keep_the_lock_of_a_killed_parent(tmp_path):
    path = tmp_path / "lock"
    process = hold(path, fork=FORK)
    child, _ = process.stdout.readline(), process.stdout.readline()
    process.kill()
    process.wait()
    try:
        os.kill(int(child), 0)  # the worker is still there
        with FoldLock(path):
            pass
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_waiting_lock_waits(tmp_path):
    process = hold(tmp_path / "lock")
    process.stdout.readline()
    started = time.monotonic()
    subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -9 {process.pid}"])
    with FoldLock(tmp_path / "lock", wait=True):
        assert time.monotonic() - started > 0.25
    process.wait()


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
