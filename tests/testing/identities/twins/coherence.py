"""Learners that condition no one model: ALPaCA with a function changed, counts of classes, a neural process."""

from dataclasses import replace

import torch

from metafunc import algorithms
from metafunc.testing import LearnerCase, network, random_tasks
from metafunc.types import Categorical

from .cases import LEARNER, TASKS, twin


def alpaca_case():
    learner = algorithms.build("alpaca", network, (2,), "regression", 1, num_features=4, noise_scale=1.0)
    meta = learner.init(torch.Generator().manual_seed(0))
    return LearnerCase(learner, meta, TASKS, inner_steps=False, coherent=True)


ALPACA = alpaca_case()


def alpaca(**changes):
    return replace(ALPACA, learner=replace(ALPACA.learner, **changes))


def without_noise(params, x):
    """Predicts the function, not what will be observed of it."""
    found = ALPACA.learner.predict(params, x)
    return found._replace(scale=(found.scale.square() - params.log_scale.exp().square()).sqrt())


def half_of_every_label(meta, support):
    """Learns half of what it is given."""
    return ALPACA.learner.adapt(meta, support._replace(y=support.y / 2))


def by_position(meta, support):
    """Later rows count more."""
    weights = torch.linspace(0.5, 1.5, support.y.shape[0], dtype=support.y.dtype)
    return LEARNER.learner.adapt(meta, support._replace(y=support.y * weights[:, None]))


def counting(power=1.0):
    """Classes by their counts: the posterior of a Dirichlet prior, if they count as they are."""
    learner = ALPACA.learner

    def adapt(meta, support):
        present = support.x.new_ones(len(support.y)) if isinstance(support.mask, tuple) else support.mask
        counts = (support.y[:, None] == torch.arange(3)).to(present.dtype).mul(present[:, None]).sum(0)
        return {"counts": (0.5 + torch.arange(3.0).double() + counts) ** power}

    def predict(params, x):
        return Categorical(params["counts"].log().expand(1, len(x), 3))

    changed = replace(learner, adapt=adapt, predict=predict)
    return LearnerCase(changed, ALPACA.meta, random_tasks("classification"), inner_steps=False, coherent=True)


def neural_process():
    """Conditions on a mean of embedded rows, which is no posterior."""
    learner = algorithms.build("cnp", network, (2,), "regression", 1)
    return replace(ALPACA, learner=learner, meta=learner.init(torch.Generator().manual_seed(0)))


EVERY = (ALPACA, counting())
"""What the twins are twins of."""
TWINS = [
    twin("permuted_support", replace(LEARNER, learner=replace(LEARNER.learner, adapt=by_position))),
    twin("chain_rule", alpaca(predict=without_noise)),
    twin("chain_rule", alpaca(adapt=half_of_every_label)),
    twin("chain_rule", counting(power=0.5)),
    twin("martingale", alpaca(predict=without_noise)),
    twin("martingale", alpaca(adapt=half_of_every_label)),
    twin("martingale", counting(power=0.5)),
    twin("chain_rule", neural_process),
    twin("martingale", neural_process),
]
