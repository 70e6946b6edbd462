"""What the scores of images tell of systems: which of two is better, what a test set will say, and where they differ."""
