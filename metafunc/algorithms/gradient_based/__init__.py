"""MAML and its family: a point learner that adapts by gradient steps."""
