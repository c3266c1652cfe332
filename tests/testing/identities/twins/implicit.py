"""Implicit derivatives that are missing, of the wrong sign, or right only once."""

import torch

from metafunc.transforms.implicit import implicit

from .cases import CONVEX, QUADRATIC, twin


def detached(solve, stationarity):
    return lambda meta, support: solve(meta, support).detach()


def wrong_sign(solve, stationarity):
    right = implicit(solve, stationarity)

    def adapt(meta, support):
        solution = right(meta, support)
        return 2 * solution.detach() - solution

    return adapt


def right_once(solve, stationarity):
    """One Newton step from the detached solution: its gradient is right, and its second derivative is not."""

    def adapt(meta, support):
        solution, held = solve(meta, support).detach(), meta.detach()
        matrix = torch.func.jacrev(lambda at: stationarity(at, held, support))(solution).detach()
        offset = torch.linalg.solve(matrix, stationarity(solution, meta, support))
        return solution - (offset - offset.detach())

    return adapt


TWINS = [
    twin("ridge", QUADRATIC, make_implicit=detached),
    twin("ridge", QUADRATIC, make_implicit=wrong_sign),
    twin("unrolled_limit", QUADRATIC, make_implicit=wrong_sign),
    twin("implicit_convex", CONVEX, make_implicit=wrong_sign),
    twin("implicit_convex", CONVEX, make_implicit=right_once),
]
