"""Ensembles of stored probabilities: blending, and choosing what turns a blend into masks."""

from segfold.ensemble.blend import Member, OofMember, TestMember, blend, check_same_folds, common_ids
from segfold.ensemble.grid import Grid
from segfold.ensemble.select import Decision, MeanScore, choose, grid_scores

__all__ = [
    "Decision",
    "Grid",
    "MeanScore",
    "Member",
    "OofMember",
    "TestMember",
    "blend",
    "check_same_folds",
    "choose",
    "common_ids",
    "grid_scores",
]
