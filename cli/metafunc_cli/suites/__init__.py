"""Suites of comparisons as data: TOML files, and what reads them."""
