"""Curves for TensorBoard, written at once and in the calling thread.

The writers that come with TensorBoard and torch write in a thread of their own, which meets a full disk with a
traceback and leaves the training to go on or not; here it is one line, as with every other file.
"""

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from segfold.disk import disk_errors
from segfold.errors import SegfoldError


class Curves:
    """One event file of a training; a resumed one begins another, which hides what the first had beyond it.

    Raises:
        SegfoldError: here and in ``add``, if the disk is full.
    """

    def __init__(self, folder: Path, epochs: int, writes: bool = True) -> None:
        """
        Args:
            folder: made if need be; TensorBoard reads all files in it as one.
            epochs: done already, more than 0 after a resumed start.
            writes: false in a process beside which another one writes.
        """
        self._file: BinaryIO | None = None
        if not writes:
            return
        # TensorBoard reads the files in the order of their names.
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._path = folder / name
        with disk_errors(self._path):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))
        if epochs:
            self._write(Event(session_log=SessionLog(status=SessionLog.START), step=epochs + 1))

    def add(self, epoch: int, values: Mapping[str, float]) -> None:
        """One point of each curve."""
        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(step=epoch, summary=Summary(value=points)))

    def _write(self, event: Event) -> None:
        if self._file is None:
            return
        event.wall_time = time.time()
        try:
            with disk_errors(self._path):
                self._records.write(event.SerializeToString())
                self._file.flush()
        except SegfoldError:
            self.close()
            raise

    def close(self) -> None:
        """Nothing waits to be written, unless the disk is full, which has been said."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
