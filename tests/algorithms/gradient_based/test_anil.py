"""ANIL adapts the head, and refuses a network without one."""

import pytest
import torch

from metafunc import algorithms, tree
from metafunc.nn.likelihood import gaussian
from metafunc.testing import network, random_tasks

SUPPORT = tree.unstack(random_tasks("regression"))[0].support


def adapted(**settings):
    learner = algorithms.anil(network((2,), 3), gaussian(3), inner_lr=0.1, num_steps=2, **settings)
    meta = learner.init(torch.Generator().manual_seed(0))
    params = learner.adapt(meta, SUPPORT)
    return {name for name in meta if not torch.equal(meta[name], params[name])}


def test_only_the_head_is_adapted():
    assert adapted() == {"head.weight", "head.bias"}


def test_a_head_may_have_another_name():
    assert adapted(head="layer2.") == {"layer2.weight", "layer2.bias"}


def test_a_network_without_such_a_head_is_refused_with_its_names():
    learner = algorithms.anil(network((2,), 3), gaussian(3), head="fc.")
    with pytest.raises(ValueError, match=r"head='fc.'; choose a prefix among layer1.weight"):
        learner.init(torch.Generator().manual_seed(0))
