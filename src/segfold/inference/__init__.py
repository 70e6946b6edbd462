"""From trained weights to probabilities."""
