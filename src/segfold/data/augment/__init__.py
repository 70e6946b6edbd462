"""Augmentation of an image together with its mask, as a function of (seed, epoch, index) and of nothing else."""

from segfold.data.augment.augmenter import AUGMENTATIONS, Augmenter

__all__ = ["AUGMENTATIONS", "Augmenter"]
