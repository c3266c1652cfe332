"""What stands for a prior where there is none: a network as it was drawn, in the units of the one task's own rows."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metafunc import tree
from metafunc.data.numbers import moments
from metafunc.data.sampling import generator_for
from metafunc.sklearn.prior import Prior
from metafunc.training.build import learner_of
from metafunc.types import Kind

FINE_TUNING = {"name": "scratch", "inner_lr": 0.05, "num_steps": 100}
"""Gradient descent from a random initialisation: rows are standardised, so that a small network takes such steps."""


def untrained(
    kind: Kind, x: NDArray[np.float64], y: NDArray[np.float64] | None = None, *, num_outputs: int, seed: int
) -> Prior:
    """A prior that knows nothing, so that adapting it is plain fine-tuning of a new network.

    Args:
        kind: what is predicted.
        x: the task's inputs (n, inputs), which fix the width and the units.
        y: its targets (n, targets), which fix their units; None: classes, or targets that stay as they are.
        num_outputs: targets, or classes.
        seed: of the network's parameters.

    Examples:
        >>> import numpy
        >>> untrained("regression", numpy.zeros((3, 2)), numpy.zeros((3, 1)), num_outputs=1, seed=0)
        Prior(scratch, 0 steps, regression, 2 inputs, 1 target, 1,801 parameters)
    """
    of_x = moments(torch.tensor(x))
    info = {"input_mean": of_x.mean.tolist(), "input_scale": of_x.scale.tolist()}
    if y is not None:
        of_y = moments(torch.tensor(y))
        info |= {"target_mean": of_y.mean.tolist(), "target_scale": of_y.scale.tolist()}
    shape = (x.shape[1],)
    config = {"algorithm": FINE_TUNING, "training": {"seed": seed, "steps": 0}}
    learner = learner_of(config, shape, kind, num_outputs)
    tasks = {"name": "untrained", "kind": kind, "input_shape": shape, "num_outputs": num_outputs, "info": info}
    # In double precision, in which a row's prediction does not depend on how many are predicted with it.
    meta = tree.map(Tensor.double, learner.init(generator_for(seed, "init", 0)))
    return Prior(learner, meta, config, tasks)
