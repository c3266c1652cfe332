"""MAML with one of its functions changed, in ways that break what every learner must satisfy."""

from dataclasses import replace

import torch

from metafunc import tree
from metafunc.transforms.inner import first_order as stop

from ...wrong_functions import WrongForwardMode, growing
from .cases import LEARNER, TASKS, twin


def learner(**changes):
    return replace(LEARNER, learner=replace(LEARNER.learner, **changes))


def remembering():
    return learner(adapt=growing(LEARNER.learner.adapt, lambda n: 1 + 0.1 * n))


def shrinking():
    def adapt(meta, support):
        adapted = LEARNER.learner.adapt(meta, support)
        tree.map(lambda leaf: leaf.mul_(0.5), meta)
        return adapted

    return replace(learner(adapt=adapt), meta=tree.map(torch.clone, LEARNER.meta))


def drawing_to_adapt(meta, support):
    torch.rand(())
    return LEARNER.learner.adapt(meta, support)


def preparing(prepare):
    def whole(meta, tasks, generator, /, *, step, num_steps):
        return prepare(tasks)

    tasks = tree.map(torch.clone, TASKS)
    return replace(learner(prepare=whole), tasks=tasks)


def marking(tasks):
    tasks.support.y.zero_()
    return tasks


def drawing(tasks):
    torch.rand(())
    return tasks


def counting():
    """A `prepare` whose noise comes from a counter of its own."""
    counter = growing(lambda: torch.ones(()), lambda n: n)
    return preparing(lambda tasks: tasks._replace(support=tasks.support._replace(x=tasks.support.x + counter())))


def growing_loss():
    return learner(task_loss=growing(LEARNER.learner.task_loss, lambda n: n))


def unmasked(meta, task):
    return network_loss(meta, task.query)


def unmasked_adapt(meta, support):
    return LEARNER.learner.adapt(meta, support._replace(mask=()))


def unmasked_joint(params, query):
    """The log-probability of all rows together, those of padding among them."""
    return -network_loss(params, query)


def noisy(read):
    """MAML whose meta-parameters are moved by noise, drawn for every row, and by what `read` makes of the rows."""

    def prepare(meta, tasks, generator, /, *, step, num_steps):
        noise = torch.randn(tasks.support.x.shape[:2], generator=generator, dtype=torch.float64)
        return tasks._replace(support=tasks.support._replace(extra=noise))

    def adapt(meta, support):
        moved = read(support) if isinstance(support.extra, torch.Tensor) else 0.0
        return LEARNER.learner.adapt(tree.map(lambda leaf: leaf + 0.01 * moved, meta), support)

    return learner(prepare=prepare, adapt=adapt)


def read_everywhere(support):
    return (support.extra * support.x.sum(-1)).mean()


def half_gradient(meta, task):
    """A task loss whose gradient is half of its value's."""
    loss = LEARNER.learner.task_loss(meta, task)
    return 0.5 * (loss + loss.detach())


def first_order_loss(meta, task):
    """Its gradient is that of FOMAML, whose Jacobian is no Hessian."""
    adapt = stop(lambda params, support: LEARNER.learner.adapt(params, support))
    return network_loss(adapt(meta, task.support), task.query)


def wrong_in_forward_mode(meta, task):
    weight = WrongForwardMode.apply(meta["head.weight"])
    return LEARNER.learner.task_loss({**meta, "head.weight": weight}, task)


def network_loss(params, batch):
    return (LEARNER.learner.predict(params, batch.x).loc[0] - batch.y).square().mean()


def short_path(meta, support, num_steps):
    return LEARNER.learner.path(meta, support, num_steps - 1)


def late_path(meta, support, num_steps):
    """Its zeroth row is the first, but only if it is asked for alone."""
    return LEARNER.learner.path(meta if num_steps else tree.scale(meta, 1.5), support, num_steps)


def elsewhere(function):
    """What starts from other parameters than it is given."""
    return lambda meta, *rest: function(tree.scale(meta, 1.5), *rest)


ELSEWHERE = {"path": elsewhere(LEARNER.learner.path), "adapt": elsewhere(LEARNER.learner.adapt)}
TWINS = [
    twin("pure", remembering),
    twin("pure", shrinking),
    twin("pure", learner(adapt=drawing_to_adapt)),
    twin("pure", lambda: preparing(marking)),
    twin("pure", lambda: preparing(drawing)),
    twin("pure", counting),
    twin("independent_tasks", growing_loss),
    twin("ignored_padding", learner(task_loss=unmasked)),
    twin("ignored_padding", learner(adapt=unmasked_adapt)),
    twin("ignored_padding", learner(joint=unmasked_joint)),
    twin("ignored_padding", noisy(read_everywhere)),
    twin("path_ends_in_adapt", learner(path=short_path)),
    twin("path_ends_in_adapt", learner(path=ELSEWHERE["path"])),
    twin("path_ends_in_adapt", learner(**ELSEWHERE)),
    twin("path_ends_in_adapt", learner(path=late_path)),
    twin("own_support", remembering),
    twin("meta_derivative", learner(task_loss=half_gradient)),
    twin("meta_hessian", learner(task_loss=first_order_loss)),
    twin("meta_hessian", learner(task_loss=wrong_in_forward_mode)),
]
