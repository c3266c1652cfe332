"""What a user sees: the screen, progress and results."""
