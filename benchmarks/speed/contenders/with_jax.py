"""JAX as its users write it: `jit` of `grad` of `vmap` over tasks, with optax."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from benchmarks.speed.contenders.conditioning_jax import LOSSES
from benchmarks.speed.workloads import PROBE_RATE, OnStep, Workload

Params = dict[str, Array]
Forward = Callable[[Params, Array], Array]
TaskLoss = Callable[[Params, Array, Array, Array, Array], Array]


def train(work: Workload, on_step: OnStep, option: str = "") -> None:
    """Meta-train."""
    task_loss = task_loss_of(work, conv4 if work.images else mlp, squares=pairwise)
    run(work, on_step, jax.grad(mean_over_tasks(task_loss)))


def run(work: Workload, on_step: OnStep, gradient: Callable[[Params, Any], Params]) -> None:
    """The outer loop: one jitted step of gradient and optimiser; of several seeds, `vmap` of the gradient over them."""
    params = {name: jnp.asarray(leaf) for name, leaf in work.params().items()}
    tasks = tuple(map(jnp.asarray, work.tasks()))
    if work.seeds:
        params, tasks = jax.tree.map(lambda leaf: jnp.stack(work.seeds * [leaf]), (params, tasks))
        gradient = jax.vmap(gradient)
    optimiser = optax.adam(1e-3) if work.outer == "adam" else optax.sgd(PROBE_RATE)
    state = optimiser.init(params)

    @jax.jit
    def step(params: Params, state: Any, tasks: Any) -> tuple[Params, Any]:
        updates, state = optimiser.update(gradient(params, tasks), state)
        return optax.apply_updates(params, updates), state

    names = [*work.params()]
    for _ in range(work.outer_steps):
        params, state = jax.block_until_ready(step(params, state, tasks))
        leaves = [params[name] for name in names]
        on_step([np.asarray(leaf)[0] for leaf in leaves] if work.seeds else leaves)  # of several the first; no copy


def mean_over_tasks(task_loss: TaskLoss) -> Callable[[Params, Any], Array]:
    """The meta-loss."""
    return lambda params, tasks: jax.vmap(task_loss, in_axes=(None, 0, 0, 0, 0))(params, *tasks).mean()


def loss_of(work: Workload, forward: Forward) -> Callable[[Params, Array, Array], Array]:
    """The mean loss over rows."""

    def loss(params: Params, x: Array, y: Array) -> Array:
        outputs = forward(params, x)
        if work.kind == "regression":
            return jnp.mean((outputs - y) ** 2)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean()

    return loss


def task_loss_of(
    work: Workload,
    forward: Forward,
    *,
    squares: Callable[[Array], Array],
    conditioning: Mapping[str, Callable[..., Array]] = LOSSES,
) -> TaskLoss:
    """What parameters lose on one task after the inner steps, or where there are none."""
    if work.learner != "maml":
        return partial(_in_order, conditioning[work.learner], len(work.widths))
    loss = loss_of(work, forward)

    def adapted(params: Params, x: Array, y: Array) -> Params:
        gradient = jax.grad(loss)(params, x, y)
        return jax.tree.map(lambda leaf, g: leaf - work.inner_lr * g, params, gradient)

    def stein(params: Params, x: Array, y: Array) -> Params:
        gradient = jax.vmap(jax.grad(lambda own: ((forward(own, x) - y) ** 2).sum() / 2))(params)
        unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], params))[1]
        rows, gradients = (jax.vmap(lambda one: ravel_pytree(one)[0])(tree) for tree in (params, gradient))
        count = work.num_particles
        distances = squares(rows)
        pairs = distances[jnp.triu_indices(count, 1)]
        bandwidth = jax.lax.stop_gradient(jnp.median(pairs)) / math.log(count)
        gram = jnp.exp(-distances / bandwidth)
        repulsion = 2 / bandwidth * (gram.sum(0)[:, None] * rows - gram.T @ rows)
        return jax.vmap(unravel)(rows - work.inner_lr * (gram.T @ gradients - repulsion) / count)

    def task_loss(params: Params, support_x: Array, support_y: Array, query_x: Array, query_y: Array) -> Array:
        step = stein if work.num_particles else adapted
        for _ in range(work.num_steps):
            params = (jax.checkpoint(step) if work.rematerialise else step)(params, support_x, support_y)
        if work.num_particles:
            return jax.vmap(loss, in_axes=(0, None, None))(params, query_x, query_y).mean()
        return loss(params, query_x, query_y)

    return task_loss


def pairwise(rows: Array) -> Array:
    """Squared distances of rows, from their differences."""
    return ((rows[:, None] - rows) ** 2).sum(-1)


def mlp(params: Params, x: Array) -> Array:
    """A perceptron."""
    for i in range(1, len(params) // 2):
        x = jax.nn.relu(x @ params[f"layer{i}.weight"].T + params[f"layer{i}.bias"])
    return x @ params["head.weight"].T + params["head.bias"]


def conv4(params: Params, x: Array) -> Array:
    """Four convolutions with batch statistics."""
    for i in range(1, 5):
        x = jax.lax.conv(x, params[f"layer{i}.weight"], (1, 1), "SAME")
        mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
        scale, shift = params[f"norm{i}.scale"][:, None, None], params[f"norm{i}.shift"][:, None, None]
        x = jax.nn.relu((x - mean) * jax.lax.rsqrt(var + 1e-5) * scale + shift)
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return x.reshape(x.shape[0], -1) @ params["head.weight"].T + params["head.bias"]


def _in_order(loss: Callable[..., Array], depth: int, params: Params, *task: Array) -> Array:
    return loss(params, depth, *task)
