"""What a look at a competition's data and at out-of-fold predictions tells before a leaderboard does."""
