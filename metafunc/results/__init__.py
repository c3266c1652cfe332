"""Comparisons, tables and figures of finished runs."""
