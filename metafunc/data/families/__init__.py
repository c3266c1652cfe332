"""One task family per file."""
