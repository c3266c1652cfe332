"""Functions that are wrong in one way each, and the right ones that they differ from in that."""

import itertools

import torch

from metafunc import tree


class Identity(torch.autograd.Function):
    """The identity, right in every respect."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent

    @staticmethod
    def jvp(ctx, tangent):
        return tangent


class WrongBackward(Identity):
    """Claims to grow by half."""

    @staticmethod
    def backward(ctx, cotangent):
        return 1.5 * cotangent


class WrongForwardMode(Identity):
    """Claims to grow by half, in forward mode only."""

    @staticmethod
    def jvp(ctx, tangent):
        return 1.5 * tangent


class WrongBatchingRule(Identity):
    """Doubles under `vmap`, as do its derivatives."""

    generate_vmap_rule = False

    @staticmethod
    def backward(ctx, cotangent):
        return WrongBatchingRule.apply(cotangent)

    @staticmethod
    def jvp(ctx, tangent):
        return WrongBatchingRule.apply(tangent)

    @staticmethod
    def vmap(info, in_dims, x):
        return 2 * x, in_dims[0]


class RightCube(torch.autograd.Function):
    """The cube, with both derivatives, and no forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * 3 * x.square()


class WrongTwice(RightCube):
    """Its backward forgets that it depends on x."""

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * 3 * x.detach().square()


class WrongOnce(RightCube):
    """Its backward is two thirds of the right one."""

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * 2 * x.square()


class WrongVmap(RightCube):
    """Grows by half under `vmap`."""

    generate_vmap_rule = False

    @staticmethod
    def vmap(info, in_dims, x):
        return 1.5 * RightCube.apply(x), in_dims[0]


class OldStyle(torch.autograd.Function):
    """Right, but without `setup_context`, so that `torch.func` cannot use it."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * 3 * x.square()


def growing(function, factor):
    """Remembers how often it was called: the n-th answer is multiplied by factor(n)."""
    calls = itertools.count(1)
    return lambda *arguments: tree.scale(function(*arguments), float(factor(next(calls))))
