"""An embedded synthetic competition, what a prediction of it must beat, and the whole road on it."""
