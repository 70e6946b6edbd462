"""What a user has: files as layouts of competitions hold them, read with care."""
