"""From Kaggle, a folder or a zip into data/NAME; all that is wrong with it at once."""
