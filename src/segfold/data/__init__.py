"""Data: tables, masks, images, folds, and how they become the network's input."""
