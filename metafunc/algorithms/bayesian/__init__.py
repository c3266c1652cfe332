"""Learners with a posterior over task parameters, reached by gradient steps or by an ensemble."""
