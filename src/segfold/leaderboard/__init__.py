"""The way to the host's leaderboard and back: the ledger of submissions, sending one, fetching what they scored."""

from segfold.leaderboard.ledger import Submission, note_written, read_ledger, record_by_hand
from segfold.leaderboard.sync import sync
from segfold.leaderboard.upload import UploadOptions, check_message, upload

__all__ = [
    "Submission",
    "UploadOptions",
    "check_message",
    "note_written",
    "read_ledger",
    "record_by_hand",
    "sync",
    "upload",
]
