"""Scores from sums over images; see ``segfold.metrics.sums``."""

from segfold.metrics import MeanScore, ScoreSums

__all__ = ["MeanScore", "ScoreSums"]
