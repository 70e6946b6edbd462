"""segfold: K-fold training, ensembling and submission for image segmentation competitions."""

__version__ = "0.1.0"
