"""Ensembles of stored probabilities: blending, and choosing what turns a blend into masks."""

from segfold.ensemble.blend import Blended, Member, OofMember, TestMember, blend, check_same_folds, common_ids
from segfold.ensemble.nested import nested
from segfold.ensemble.score import MeanScore, ScoreSums
from segfold.ensemble.search import Fitted, Scores, Search, Trial

__all__ = [
    "Blended",
    "Fitted",
    "MeanScore",
    "Member",
    "OofMember",
    "ScoreSums",
    "Scores",
    "Search",
    "TestMember",
    "Trial",
    "blend",
    "check_same_folds",
    "common_ids",
    "nested",
]
