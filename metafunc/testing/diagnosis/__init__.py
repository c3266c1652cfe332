"""Checks of a user's own loss, module or learner, and the search for the cause when one fails."""
