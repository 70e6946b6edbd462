"""Files under kills and full disks: atomic replacement, line logs, records."""

import errno
import json
import os
import resource
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from python_process import run_python
from segfold.errors import SegfoldError
from segfold.files import append_line, read_json, read_lines, read_records, truncate_lines, write_atomic, write_json


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


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
        "import time\nfrom segfold.files import write_atomic\n"
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
from segfold.files import append_line, write_atomic
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


def test_logs_and_json_that_are_not_utf_8_or_nested_without_end(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b'{"epoch": 1}\n{"note": "caf\xe9"}\n')
    with pytest.raises(SegfoldError, match="line 2 is not text in UTF-8"):
        read_records(path)
    for data in (b"caf\xe9", b"[" * 100_000, b"9" * 5000, b"\xff\xfe[\x00]\x00", b""):
        path.write_bytes(data + b"\n")
        with pytest.raises(SegfoldError, match="cannot be read as JSON"):
            read_json(path)
        with pytest.raises(SegfoldError, match="line 1 is not"):
            read_records(path)


def test_appends_from_several_processes_do_not_mix(tmp_path):
    path = tmp_path / "ledger"
    code = (
        "import sys\nfrom segfold.files import append_line\n"
        f"for i in range(40): append_line({str(path)!r}, sys.argv[0] + 'NAME' * 300)"
    )
    processes = [run_python(code.replace("NAME", name)) for name in "abc"]
    assert [process.wait() for process in processes] == [0, 0, 0]
    lines = read_lines(path)
    assert sorted(set(lines)) == ["-c" + name * 300 for name in "abc"] and len(lines) == 120


@pytest.mark.parametrize("data", [b'{"a": 1', b"\xff", b"[" * 200_000, b""], ids=["cut", "not UTF-8", "deep", "empty"])
def test_what_is_not_json_is_one_line(tmp_path, data):
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(SegfoldError, match="cannot be read as JSON"):
        read_json(path)
    path.write_bytes(b'{"a": 1}\n' + (data or b"?") + b"\n")
    with pytest.raises(SegfoldError, match=r"line 2 is not (JSON|text in UTF-8); delete that line"):
        read_records(path)
