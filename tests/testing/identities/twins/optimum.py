"""Optima that are none, for they have another prior or noise, and a learner that has seen the answers."""

from dataclasses import replace

from metafunc.testing.problems.linear_gaussian import Lines
from metafunc.types import Normal

from .cases import OPTIMUM, twin

RIGHT = replace(OPTIMUM, learner=OPTIMUM.optimum)


def shown(meta, tasks, generator, *, step, num_steps):
    """Attaches the query's targets to the support set."""
    return tasks._replace(support=tasks.support._replace(extra=tasks.query.y))


CHEAT = replace(
    OPTIMUM.learner,
    prepare=shown,
    adapt=lambda meta, support: support.extra,
    predict=lambda targets, x: Normal(targets[None], targets.new_full((), 0.4)),
)
TWINS = [
    twin("none_is_better", RIGHT, optimum=Lines(noise=0.25).optimum),
    twin("none_is_better", RIGHT, optimum=Lines(noise=1.0).optimum),
    twin("none_is_better", RIGHT, optimum=Lines(mean=(-1.0, 1.0)).optimum),
    twin("none_is_better", replace(OPTIMUM, learner=CHEAT)),
]
