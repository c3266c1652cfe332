"""Chaser losses whose leader moves, or whose distance has its minimum elsewhere."""

from metafunc import tree
from metafunc.transforms.objectives import chaser, pool, squared_distance

from .cases import LOSS, twin


def unstopped_leader(adapt, lead):
    def task_loss(params, task):
        chasing = adapt(params, task.support)
        return squared_distance(chasing, lead(chasing, pool(task)))

    return task_loss


def distance_with_an_offset(adapt, lead):
    return chaser(adapt, lead, distance=lambda x, y: squared_distance(x, y) + 1)


def linear_distance(adapt, lead):
    """The leader is stopped, but the distance has no minimum at it."""
    return chaser(adapt, lead, distance=lambda x, y: tree.ravel(tree.sub(x, y))[0].sum())


TWINS = [
    twin("leader_at_rest", LOSS, chaser=linear_distance),
    twin("leader_at_rest", LOSS, chaser=distance_with_an_offset),
    twin("stopped_leader", LOSS, chaser=unstopped_leader),
]
