"""How exactly two routes must agree: rounding bounds, finite differences, and the report."""
