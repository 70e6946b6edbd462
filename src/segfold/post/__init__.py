"""Post-processing steps, from stored probabilities to the mask that is submitted.

A step is a class with keyword-only, typed, ranged arguments, which are its settings; it is listed in
``steps.py``. ``submit`` tries each in the order of that list, a costly one only where it is named, and keeps what scores
better by the nested estimate.
"""

from segfold.post.decision import Decision, StepSettings
from segfold.post.decisions import Decisions
from segfold.post.step import EmptyingStep, MaskSizes, MaskStep, PostStep, ProbabilityStep, Seen
from segfold.post.steps import POST, works_on

__all__ = [
    "POST",
    "Decision",
    "Decisions",
    "EmptyingStep",
    "MaskSizes",
    "MaskStep",
    "PostStep",
    "ProbabilityStep",
    "Seen",
    "StepSettings",
    "works_on",
]
