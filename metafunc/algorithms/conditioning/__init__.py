"""Learners that adapt without a step: they condition on the support set."""
