"""Ensembles of stored probabilities: blending, and choosing what turns a blend into masks."""

from segfold.ensemble.blend import Member, OofMember, TestMember, blend, check_same_folds, common_ids
from segfold.ensemble.grid import Grid
from segfold.ensemble.select import Choice, Score, choose, grid_scores

__all__ = [
    "Choice",
    "Grid",
    "Member",
    "OofMember",
    "Score",
    "TestMember",
    "blend",
    "check_same_folds",
    "choose",
    "common_ids",
    "grid_scores",
]
