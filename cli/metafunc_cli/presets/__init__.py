"""Presets: the papers' settings by name."""
