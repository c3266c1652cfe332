"""Distributions over parameters or functions, and ensembles of learners."""
