"""Ensembles of stored probabilities: blending, and choosing what turns a blend into masks."""

from segfold.ensemble.blend import Blended, blend
from segfold.ensemble.combine import MEAN, Combination, combination
from segfold.ensemble.nested import nested
from segfold.ensemble.score import MeanScore, ScoreSums
from segfold.ensemble.search import Fitted, Scores, Search, Trial
from segfold.ensemble.stored import Member, OofMember, TestMember, check_same_folds, common_ids

__all__ = [
    "MEAN",
    "Blended",
    "Combination",
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
    "combination",
    "common_ids",
    "nested",
]
