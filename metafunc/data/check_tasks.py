"""Checks of the first tasks before any work, so that wrong data is a message and not a number."""

import torch
from torch import Tensor

from metafunc import tree
from metafunc.data.sampling import generator_for
from metafunc.types import Batch, Categorical, M, MetaLearner, P, Predictive, Task, TaskFamily


def check(learner: MetaLearner[M, P], meta: M, family: TaskFamily, tasks: Task) -> Predictive | None:
    """Check the first tasks of a family, and what a learner predicts for one of them.

    Args:
        learner: what will be trained or tested.
        meta: its meta-parameters.
        family: what the tasks should be like.
        tasks: stacked tasks.

    Returns:
        What the learner predicts for the first task's queries before it adapts; None if its data are no rows of inputs
        and targets.

    Raises:
        ValueError: axes disagree, a number is not finite, a label is out of range, the learner's output does not
            fit the family, or padded rows would enter batch statistics.
    """
    if "task_scale" in family.info and not learner.standardises:
        raise ValueError(
            f"{family.name} was made with standardise='task', and this learner does not see tasks in units of their "
            "own: give metafunc.in_task_units(learner, **family.info['task_scale'])."
        )
    for part, batch in (("support", tasks.support), ("query", tasks.query)):
        if isinstance(batch, Batch):
            _check_batch(batch, f"{family.name}: the {part} set", family)
            _check_padding(batch, part, learner.normalisation)
    if not isinstance(tasks.query, Batch):
        return None
    return _check_output(learner, meta, family, tree.at(tasks, 0))


def check_shards(family: TaskFamily, seed: int, num_tasks: int, num_shards: int) -> None:
    """Refuse a family of which shards would draw other tasks than the whole of a step has.

    Args:
        family: whose training tasks are cut into shards.
        seed: the seed of the run.
        num_tasks: tasks of a step.
        num_shards: how many parts of a step draw theirs by themselves.

    Raises:
        ValueError: a task of a draw depends on how many are drawn.

    Examples:
        >>> from metafunc import data
        >>> check_shards(data.sinusoid(), seed=0, num_tasks=8, num_shards=4)
    """
    if num_shards == 1:
        return
    size = num_tasks // num_shards
    few, many = (family.train(generator_for(seed, "train", 0), count) for count in (size, num_tasks))
    if all(map(_alike, tree.leaves(few), tree.leaves(tree.at(many, slice(0, size))))):
        return
    raise ValueError(
        f"{family.name} draws other tasks where it draws more of them: the first {size} of {num_tasks} are not those "
        f"that it draws for {size}, as {num_shards} shards of a step need it. Draw each task from a row of random "
        "numbers of its own, as metafunc.data.sampler does, or train with 1 shard."
    )


def _alike(few: Tensor, many: Tensor) -> bool:
    """Whether both are the same, as far as another number of tasks rounds alike."""
    if few.shape != many.shape or not few.is_floating_point():
        return torch.equal(few, many)
    return torch.allclose(few, many, equal_nan=True)


def _check_batch(batch: Batch, where: str, family: TaskFamily) -> None:
    x, y = batch.x, batch.y
    masks: list[Tensor] = [] if isinstance(batch.mask, tuple) else [batch.mask]
    if x.shape[2:] != family.input_shape:
        raise ValueError(f"{where} has inputs of shape {tuple(x.shape[2:])} per row, not {tuple(family.input_shape)}.")
    if any(leaf.shape[:2] != x.shape[:2] for leaf in (y, *masks)):
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in (x, y, *masks))
        raise ValueError(f"{where} has x, y (and mask) of shapes {shapes}: (tasks, rows) have to agree.")
    for name, leaf in zip(("x", "y", "mask"), (x, y, *masks), strict=False):
        _check_finite(leaf, name, where)
    if family.kind == "regression" and y.shape[2:] != (family.num_outputs,):
        raise ValueError(f"{where} has targets of shape {tuple(y.shape[2:])} per row, not ({family.num_outputs},).")
    if family.kind == "classification":
        _check_labels(y, where, family.num_outputs)


def _check_finite(leaf: Tensor, name: str, where: str) -> None:
    if leaf.is_floating_point() and not torch.isfinite(leaf).all():
        task = int((~torch.isfinite(leaf)).flatten(1).any(1).nonzero()[0])
        raise ValueError(f"{where} has a {name} that is not finite (task {task}): drop or fill such rows.")


def _check_labels(y: Tensor, where: str, num_classes: int) -> None:
    if y.dtype != torch.int64 or y.ndim != 2:
        raise ValueError(f"{where} has labels of type {y.dtype} and shape {tuple(y.shape)}: int64 per row is needed.")
    if y.numel() and (int(y.min()) < 0 or int(y.max()) >= num_classes):
        raise ValueError(
            f"{where} has labels from {int(y.min())} to {int(y.max())}: with {num_classes} classes they "
            f"have to lie in 0..{num_classes - 1}."
        )


def _check_padding(batch: Batch, part: str, normalisation: str) -> None:
    if normalisation == "none" or isinstance(batch.mask, tuple) or bool((batch.mask == 1).all()):
        return
    raise ValueError(
        f"The {part} sets are padded, and the model normalises by {normalisation} batch statistics, which padded rows "
        'would enter. Give tasks of one size, or a model with normalisation="none".'
    )


def _check_output(learner: MetaLearner[M, P], meta: M, family: TaskFamily, task: Task) -> Predictive:
    try:
        with torch.no_grad():  # before any inner step: on outputs that do not fit, its loss would fail less clearly
            params = tree.unstack(learner.path(meta, task.support, 0))[0]
            predictive = learner.predict(params, task.query.x)
    except RuntimeError as error:
        ways = f" (Is it built for {family.num_outputs} classes?)" if family.kind == "classification" else ""
        raise ValueError(
            f"The learner fails on the first task of {family.name} ({family.kind}, inputs of shape "
            f"{tuple(family.input_shape)}, {family.num_outputs} outputs): {error}{ways}"
        ) from error
    outputs = predictive[0]
    if isinstance(predictive, Categorical) != (family.kind == "classification"):
        raise ValueError(
            f"The learner predicts a {type(predictive).__name__}, but {family.name} is for {family.kind}: build it "
            f"with likelihood.for_kind({family.kind!r}, {family.num_outputs})."
        )
    expected = (task.query.x.shape[0], family.num_outputs)
    if outputs.ndim != 3 or outputs.shape[1:] != expected:
        raise ValueError(
            f"The learner predicts (particles, rows, outputs) = {tuple(outputs.shape)}, but {family.name} needs "
            f"(particles, {expected[0]}, {expected[1]}): build its likelihood, and a model that has a head, for "
            f"num_outputs={family.num_outputs}."
        )
    return predictive
