"""Meta-learning algorithms: one paper a file, and the public table that the tests, the command line and the docs read."""

from metafunc.algorithms.maml import maml as maml
