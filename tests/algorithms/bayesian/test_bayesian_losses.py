"""Every Bayesian task loss and its gradient against a plain loop of `torch.autograd`, written from the paper."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from metafunc import algorithms, tree
from metafunc.execution.gradient import value_and_grad
from metafunc.nn import likelihood
from metafunc.testing.problems.strategies import Normals
from metafunc.transforms.inner import first_order

from .by_hand import (
    LR,
    STEPS,
    TASKS,
    WEIGHT,
    abml_by_hand,
    llama_by_hand,
    maml_noise_by_hand,
    mr_cnp_a_by_hand,
    mr_cnp_w_by_hand,
    mr_maml_a_by_hand,
    mr_maml_w_by_hand,
    network,
    platipus_by_hand,
    vampire_by_hand,
)


def agree(learner, by_hand, *, seed=3):
    """Value and gradient at a point off the initial one, where gates, scales and step sizes all differ."""
    start = tree.map(torch.Tensor.double, learner.init(torch.Generator().manual_seed(seed)))
    meta = tree.add_scaled(start, 0.1, Normals(seed).like(start))
    tasks = learner.prepare(meta, TASKS, torch.Generator().manual_seed(seed), step=0, num_steps=1)
    value, found = value_and_grad(learner.task_loss)(meta, tasks)
    inputs = tree.map(lambda leaf: leaf.clone().requires_grad_(), meta)
    expected = sum(by_hand(inputs, tasks, i) for i in range(2)) / 2
    derivatives = torch.autograd.grad(expected, tree.leaves(inputs), allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(tree.leaves(found), list(derivatives), rtol=1e-9, atol=1e-11)


GAUSSIAN = likelihood.gaussian()
STEPPED = {"inner_lr": LR, "num_steps": STEPS}
LEARNERS = {
    "maml_noise": partial(algorithms.maml_noise, network(2, 1), GAUSSIAN, noise_scale=0.2, **STEPPED),
    "platipus": partial(algorithms.platipus, network(2, 1), GAUSSIAN, kl_weight=WEIGHT, scale=0.5, **STEPPED),
    "abml": partial(
        algorithms.abml,
        network(2, 1),
        GAUSSIAN,
        kl_weight=WEIGHT,
        scale=0.5,
        num_samples=2,
        hyperprior_weight=0.05,
        **STEPPED,
    ),
    "vampire": partial(
        algorithms.vampire, network(2, 1), GAUSSIAN, kl_weight=WEIGHT, scale=0.5, num_samples=2, **STEPPED
    ),
    "llama": partial(algorithms.llama, network(2, 1), GAUSSIAN, curvature_weight=WEIGHT, **STEPPED),
    "mr_maml_w": partial(algorithms.mr_maml_w, network(2, 1), GAUSSIAN, kl_weight=WEIGHT, scale=0.5, **STEPPED),
    "mr_maml_a": partial(algorithms.mr_maml_a, network(2, 4), network(2, 1), GAUSSIAN, kl_weight=WEIGHT, **STEPPED),
    "mr_cnp_w": partial(
        algorithms.mr_cnp_w, network(2, 2), network(3, 3), network(5, 1), GAUSSIAN, kl_weight=WEIGHT, scale=0.5
    ),
    "mr_cnp_a": partial(algorithms.mr_cnp_a, network(2, 4), network(3, 3), network(5, 1), GAUSSIAN, kl_weight=WEIGHT),
}
BY_HAND = {
    "maml_noise": maml_noise_by_hand,
    "platipus": platipus_by_hand,
    "abml": abml_by_hand,
    "vampire": vampire_by_hand,
    "llama": llama_by_hand,
    "mr_maml_w": mr_maml_w_by_hand,
    "mr_maml_a": mr_maml_a_by_hand,
    "mr_cnp_w": mr_cnp_w_by_hand,
    "mr_cnp_a": mr_cnp_a_by_hand,
}
TWINS = [
    ("maml_noise", partial(maml_noise_by_hand, noise_scale=0.1)),
    ("platipus", partial(platipus_by_hand, posterior_sees="support")),
    ("platipus", partial(platipus_by_hand, detached=True)),
    ("platipus", partial(platipus_by_hand, reverse=True)),
    ("abml", partial(abml_by_hand, pooled=False)),
    ("vampire", partial(vampire_by_hand, without_prior=True)),
    ("vampire", partial(vampire_by_hand, same_draws=True)),
    ("llama", partial(llama_by_hand, at_start=True)),
    ("llama", partial(llama_by_hand, whole_hessian=True)),
    ("mr_maml_w", partial(mr_maml_w_by_hand, adapted=slice(None))),
    ("mr_maml_w", partial(mr_maml_w_by_hand, own_noise=True)),
    ("mr_maml_a", partial(mr_maml_a_by_hand, penalty_of="support")),
    ("mr_cnp_w", partial(mr_cnp_w_by_hand, weight=0.0)),
    ("mr_cnp_a", partial(mr_cnp_a_by_hand, mean_only=True)),
]


@pytest.mark.parametrize("name", LEARNERS)
def test_the_task_loss_is_the_paper_s(name):
    agree(LEARNERS[name](), BY_HAND[name])


@pytest.mark.parametrize("twin", range(len(TWINS)), ids=lambda i: f"{TWINS[i][0]}-{i}")
def test_a_loop_that_is_not_the_paper_s_is_noticed(twin):
    name, wrong = TWINS[twin]
    with pytest.raises(AssertionError, match="not close"):
        agree(LEARNERS[name](), wrong)


def test_a_first_order_learner_is_noticed():
    """The value is right to the bit; only the gradient is not."""
    learner = LEARNERS["maml_noise"]()
    stopped = first_order(lambda params, support: tree.at(learner.adapt(params, support), 0))

    def task_loss(meta, task):
        return GAUSSIAN.of(network(2, 1))(stopped(meta, task.support), task.query)

    with pytest.raises(AssertionError, match="not close"):
        agree(replace(learner, task_loss=task_loss), maml_noise_by_hand)
