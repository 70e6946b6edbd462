"""Writing a probability store: a kill costs little, a prediction goes on, and a full disk spoils nothing."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segfold.errors import SegfoldError
from segfold.store import writer as store_writer
from segfold.store.codes import to_codes
from segfold.store.reader import open_store
from segfold.store.writer import StoreWriter
from store_samples import IDS, META, SHAPES, images, write

SOURCE = Path(__file__).parents[1] / "src"


WRITER = """
import os, sys
import numpy as np
from segfold.store.writer import StoreWriter
folder, kill_at, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
values = np.load(os.path.dirname(folder) + "/values.npy")
ids = [str(i) for i in range(len(values))]
shapes = [values.shape[1:]] * len(values)
with StoreWriter(folder, "test", ids, shapes, {"w": 1}, sync_seconds=seconds) as writer:
    print(writer.count, flush=True)
    while writer.count < len(ids):
        if writer.count == kill_at:
            os.kill(os.getpid(), 9)
        writer.append(ids[writer.count], values[writer.count])
    writer.finish()
"""


class StoppedError(BaseException):
    pass


@pytest.mark.parametrize("tidies", [False, True], ids=["killed", "interrupted"])
def test_stopped_at_any_line_of_its_end_it_leaves_nothing_over(tmp_path, tidies):
    """Whatever a kill or Ctrl-C leaves, the next start ends with the files of an undisturbed one and no others."""

    def finish_until(writer, last):
        lines = 0

        def at_line(frame, event, arg):
            nonlocal lines
            lines += event == "line"
            if lines > last:
                raise StoppedError
            return at_line

        sys.settrace(lambda frame, event, arg: at_line if frame.f_code is StoreWriter.finish.__code__ else None)
        try:
            writer.finish()
        except StoppedError:
            return True
        finally:
            sys.settrace(None)
        return False

    def written(folder, last):
        writer = StoreWriter(folder, "oof", IDS, SHAPES, META).__enter__()
        for image_id, values in list(zip(IDS, images(), strict=True))[writer.count :]:
            writer.append(image_id, values)
        stopped = finish_until(writer, last)
        if tidies:
            writer.__exit__()
        elif writer._file is not None:
            writer._file.close()
        writer._lock.__exit__()
        return stopped

    assert not written(tmp_path / "whole", 1000)
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir() if path.suffix != ".lock"}
    for last in range(1000):
        folder = tmp_path / str(last)
        if not written(folder, last):
            break
        if open_store(folder, "oof", META) is None:
            assert not written(folder, 1000)
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"} == expected, last
    assert last > 10


def start_writer(folder, kill_at, seconds=0.0, **options):
    arguments = [sys.executable, "-c", WRITER, str(folder), str(kill_at), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, **options)


def test_killed_writer_goes_on_where_it_was(tmp_path):
    values = np.random.default_rng(0).random((7, 1, 6, 5), np.float32)
    np.save(tmp_path / "values.npy", values)
    folder = tmp_path / "pred"
    for kill_at, resumes_at in [(0, 0), (3, 0), (6, 3)]:
        process = start_writer(folder, kill_at)
        assert process.returncode == -9 and process.stdout == f"{resumes_at}\n"
        assert open_store(folder, "test", {"w": 1}) is None
        with (folder / "test.u16.part").open("ab") as part:  # half an image
            part.write(b"\xff" * 31)
    process = start_writer(folder, -1)
    assert process.returncode == 0 and process.stdout == "6\n"
    store = open_store(folder, "test", {"w": 1})
    assert all(np.array_equal(store.codes(row), to_codes(values[row])) for row in range(7))
    assert not list(folder.glob("*part*"))


def test_a_resumed_prediction_begins_with_a_whole_batch(tmp_path):
    """Neighbours in a batch may change an image's last bits, so a batch of which a part was written is predicted anew."""
    arguments = {"ids": IDS, "shapes": SHAPES, "meta": META, "sync_seconds": 0.0, "starts": 2}
    for stop, begins in [(1, 0), (2, 0), (3, 2), (5, 2)]:
        with StoreWriter(tmp_path, "oof", **arguments) as writer:
            assert writer.count == begins
            for image_id, values in list(zip(IDS, images()))[begins:stop]:
                writer.append(image_id, values)
    with StoreWriter(tmp_path, "oof", **arguments) as writer:
        assert writer.count == len(IDS) == 5  # the last batch is smaller, and whole
        store = writer.finish()
    assert all(np.array_equal(store.codes(row), to_codes(image)) for row, image in enumerate(images()))


def test_a_kill_costs_what_was_not_synced_and_no_more(tmp_path):
    np.save(tmp_path / "values.npy", np.zeros((5, 1, 2, 2), np.float32))
    assert start_writer(tmp_path / "pred", 4, seconds=1e9).returncode == -9
    assert start_writer(tmp_path / "pred", 4, seconds=1e9).stdout == "0\n"


def interrupted(folder, count=3, **changes):
    arguments = {"ids": IDS, "shapes": SHAPES, "meta": META, **changes}
    with StoreWriter(folder, "oof", **arguments) as writer:
        for image_id, values in list(zip(IDS, images()))[writer.count : count]:
            writer.append(image_id, values)


@pytest.mark.parametrize(
    "changes",
    [
        {"meta": {**META, "weights": "other"}},
        {"ids": IDS[::-1]},
        {"shapes": [(1, 4, 3), *SHAPES[1:]]},
    ],
    ids=["meta", "ids", "shapes"],
)
def test_part_of_something_else_is_not_resumed(tmp_path, changes):
    interrupted(tmp_path)
    arguments = {"ids": IDS, "shapes": SHAPES, "meta": META}
    with StoreWriter(tmp_path, "oof", **arguments) as writer:
        assert writer.count == 3
    with StoreWriter(tmp_path, "oof", **{**arguments, **changes}) as writer:
        assert writer.count == 0
    with StoreWriter(tmp_path, "oof", **arguments) as writer:  # nor is the first one's, which is gone
        assert writer.count == 0
    interrupted(tmp_path)
    assert len(write(tmp_path, ids=["a"], shapes=[(1, 1, 1)])) == 1  # no rest of a longer part stays behind


def test_part_shorter_than_its_record_counts_for_what_it_holds(tmp_path):
    interrupted(tmp_path)
    part = tmp_path / "oof.u16.part"
    os.truncate(part, (12 + 10) * 2 + 1)
    with StoreWriter(tmp_path, "oof", IDS, SHAPES, META) as writer:
        assert writer.count == 2
    (tmp_path / "oof.part.json").write_text("{}")
    with StoreWriter(tmp_path, "oof", IDS, SHAPES, META) as writer:
        assert writer.count == 0


def test_wrong_image_is_refused(tmp_path):
    with StoreWriter(tmp_path, "oof", IDS, SHAPES, META) as writer:
        with pytest.raises(ValueError, match="not the next"):
            writer.append(IDS[1], images()[1])
        with pytest.raises(ValueError, match="shape"):
            writer.append(IDS[0], images()[1])
        with pytest.raises(SegfoldError, match=r"1e1000.*not a number"):
            writer.append(IDS[0], np.full(SHAPES[0], np.nan))
        with pytest.raises(ValueError, match="0 of 5"):
            writer.finish()
    with pytest.raises(ValueError, match="different ids"):
        StoreWriter(tmp_path, "oof", ["a", "a"], SHAPES[:2], META)


def test_two_predictions_of_one_split_do_not_meet(tmp_path):
    with StoreWriter(tmp_path, "oof", IDS, SHAPES, META):
        with (
            pytest.raises(SegfoldError, match=f"predicting oof.*process {os.getpid()}"),
            StoreWriter(tmp_path, "oof", IDS, SHAPES, META),
        ):
            pass
        write(tmp_path, "test")


def test_too_small_a_disk_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    write(tmp_path)
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(store_writer.shutil, "disk_usage", lambda _: usage)
    with (
        pytest.raises(SegfoldError, match="needs 200 MB, the disk has 100 bytes"),
        StoreWriter(tmp_path, "test", ["a"], [(1, 10_000, 10_000)], META),
    ):
        pass
    assert open_store(tmp_path, "oof", META) is not None
    with StoreWriter(tmp_path, "test", ["a"], [(1, 7, 7)], META):  # 98 bytes fit; the lock is free again
        pass


def test_full_disk_keeps_the_old_store_and_what_was_written(tmp_path, monkeypatch):
    write(tmp_path)
    new = {**META, "weights": "new"}
    write_all = store_writer.write_all

    def full(file, data):
        write_all(file, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with StoreWriter(tmp_path, "oof", IDS, SHAPES, new) as writer:
        writer.append(IDS[0], images(1)[0])
        monkeypatch.setattr(store_writer, "write_all", full)
        with pytest.raises(SegfoldError, match="disk is full"):
            writer.append(IDS[1], images(1)[1])
        monkeypatch.undo()
        assert writer.count == 1
        writer.append(IDS[1], images(1)[1])  # over the half that was written
    assert np.array_equal(open_store(tmp_path, "oof", META).codes(1), to_codes(images(0)[1]))
    with StoreWriter(tmp_path, "oof", IDS, SHAPES, new) as writer:
        assert writer.count == 2
    store = write(tmp_path, seed=1, meta=new)
    assert all(np.array_equal(store.codes(row), to_codes(image)) for row, image in enumerate(images(1)))


def test_full_disk_for_real(tmp_path):
    """A file size limit in another process: one clear line, then the next start goes on and ends."""
    values = np.random.default_rng(0).random((9, 1, 16, 16), np.float32)
    np.save(tmp_path / "values.npy", values)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
    process = start_writer(tmp_path / "pred", -1, seconds=1e9, preexec_fn=limit)
    assert process.returncode == 1 and "SegfoldError: the disk is full" in process.stderr
    process = start_writer(tmp_path / "pred", -1)
    assert process.returncode == 0 and process.stdout == "4\n"
    store = open_store(tmp_path / "pred", "test", {"w": 1})
    assert all(np.array_equal(store.codes(row), to_codes(values[row])) for row in range(9))


LOGITS = [[0.5, -1.25], [3.0, 2.0], [-0.0, 7.5], [1e-3, -9.0], [4.0, 4.0]]


def write_with_logits(folder, stop=None, sync_seconds=0.0):
    with StoreWriter(folder, "oof", IDS, SHAPES, META, sync_seconds=sync_seconds) as writer:
        for number in range(writer.count, len(IDS)):
            if number == stop:
                return None
            writer.append(IDS[number], images()[number], LOGITS[number])
        return writer.finish()


@pytest.mark.parametrize("stop", range(len(IDS) + 1))
def test_image_logits_go_on_where_they_were(tmp_path, stop):
    write_with_logits(tmp_path, stop)
    store = write_with_logits(tmp_path)
    assert store.image_logits.tolist() == np.float32(LOGITS).tolist() and store.image_logits.dtype == np.float32
    again = open_store(tmp_path, "oof", META)
    assert again.image_logits.tolist() == store.image_logits.tolist()
    assert [path.name for path in tmp_path.glob("*.part*")] == []


def test_image_logits_that_are_damaged_are_predicted_anew(tmp_path):
    write_with_logits(tmp_path)
    path = tmp_path / "oof.image.f32"
    whole = path.read_bytes()
    for data in (whole[:-4], whole[:4] + bytes([whole[4] ^ 1]) + whole[5:]):
        path.write_bytes(data)
        assert open_store(tmp_path, "oof", META) is None
    path.unlink()
    assert open_store(tmp_path, "oof", META) is None


def test_lost_image_logits_of_a_part_begin_it_anew(tmp_path):
    write_with_logits(tmp_path, 3)
    (tmp_path / "oof.image.f32.part").write_bytes(b"")
    with StoreWriter(tmp_path, "oof", IDS, SHAPES, META) as writer:
        assert writer.count == 0


@pytest.mark.parametrize("lost", ["oof.part.json", "oof.u16.part"])
def test_a_kill_between_the_files_of_a_part_costs_what_was_not_recorded(tmp_path, lost):
    """Codes, image-level logits and their record are written in that order; the older of the last two files stays."""
    write_with_logits(tmp_path, 2)
    older = (tmp_path / lost).read_bytes()
    write_with_logits(tmp_path, 4)
    (tmp_path / lost).write_bytes(older)
    with StoreWriter(tmp_path, "oof", IDS, SHAPES, META) as writer:
        assert writer.count == 2
    assert write_with_logits(tmp_path).image_logits.tolist() == np.float32(LOGITS).tolist()


def test_a_network_without_an_image_head_leaves_no_logits_of_another(tmp_path):
    write_with_logits(tmp_path)
    store = write(tmp_path, meta={**META, "weights": "other"})
    assert store.image_logits is None and not (tmp_path / "oof.image.f32").exists()


def test_image_logits_of_every_image_or_of_none(tmp_path):
    with StoreWriter(tmp_path, "oof", IDS, SHAPES, META) as writer:
        writer.append(IDS[0], images()[0], [1.0])
        with pytest.raises(ValueError, match="of every image, or of none"):
            writer.append(IDS[1], images()[1])
