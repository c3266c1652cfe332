"""What came of finished runs: comparisons, tables and figures."""
