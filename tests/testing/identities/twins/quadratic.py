"""Inner loops that stop too early or pass no derivative on."""

from metafunc.transforms.inner import first_order as stop
from metafunc.transforms.inner import gradient_descent

from .cases import QUADRATIC, twin


def one_step_less(loss, inner_lr, num_steps):
    return gradient_descent(loss, lr=inner_lr, num_steps=num_steps - 1)


def without_derivative(loss, inner_lr, num_steps):
    return stop(gradient_descent(loss, lr=inner_lr, num_steps=num_steps))


TWINS = [
    twin("adapted_point", QUADRATIC, adapt=one_step_less),
    twin("meta_optimum", QUADRATIC, adapt=without_derivative),
]
