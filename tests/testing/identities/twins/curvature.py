"""Second derivatives that are half, doubled or of another matrix, and operations whose derivatives are wrong."""

from dataclasses import replace

import torch

from metafunc import tree
from metafunc.testing.problems.strategies import tree_loss
from metafunc.transforms import curvature

from ...wrong_functions import WrongBackward, WrongBatchingRule, WrongForwardMode
from .cases import LOSS, MODEL, twin
from .meta_gradient import wrong_double_backward


def through(function):
    """The loss of parameters that have passed through a function."""
    return replace(LOSS, loss=lambda params, batch: tree_loss(tree.map(function.apply, params), batch))


def lower_half(function, params, vector):
    """Only half of a symmetric matrix."""
    return lower_half_of(lambda v: curvature.hvp(function, params, v), params, vector)


def lower_half_of(product, params, vector):
    flat, unravel = tree.ravel(params)
    matrix = torch.vmap(lambda v: tree.ravel(product(unravel(v)))[0])(torch.eye(len(flat)).to(flat)).mT
    return unravel(matrix.tril() @ tree.ravel(vector)[0])


def doubled_ggn(output, loss, params, vector):
    return tree.scale(curvature.ggn_vp(output, loss, params, vector), 2.0)


def whole_hessian(output, loss, params, vector):
    """Not the Gauss-Newton matrix: it has the curvature of the model, which may be negative."""
    return curvature.hvp(lambda at: loss(output(at)), params, vector)


def triangular_ggn(output, loss, params, vector):
    return lower_half_of(lambda v: curvature.ggn_vp(output, loss, params, v), params, vector)


TWINS = [
    twin("derivatives", replace(LOSS, loss=wrong_double_backward)),
    twin("derivatives", through(WrongBackward)),
    twin("hessian_symmetry", LOSS, hvp=lower_half),
    twin("hvp_modes", LOSS, hvp=lower_half),
    twin("hvp_modes", through(WrongForwardMode)),
    twin("hvp_modes", through(WrongBatchingRule)),
    twin("ggn_linear", MODEL, ggn_vp=doubled_ggn),
    twin("ggn_positive", MODEL, ggn_vp=whole_hessian),
    twin("ggn_positive", MODEL, ggn_vp=triangular_ggn),
]
