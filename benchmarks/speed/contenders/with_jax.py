"""JAX as its users write it: `jit` of `grad` of `vmap` over tasks, with optax."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from benchmarks.speed.workloads import PROBE_RATE, Workload

Params = dict[str, Array]


def train(work: Workload, on_step: Callable[[], None], option: str = "") -> list[Array]:
    """Meta-train."""
    params = {name: jnp.asarray(leaf) for name, leaf in work.params().items()}
    tasks = tuple(map(jnp.asarray, work.tasks()))
    optimiser = optax.adam(1e-3) if work.outer == "adam" else optax.sgd(PROBE_RATE)
    state = optimiser.init(params)
    forward = conv4 if work.images else mlp

    def loss(params: Params, x: Array, y: Array) -> Array:
        outputs = forward(params, x)
        if work.kind == "regression":
            return jnp.mean((outputs - y) ** 2)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean()

    def task_loss(params: Params, support_x: Array, support_y: Array, query_x: Array, query_y: Array) -> Array:
        for _ in range(work.num_steps):
            gradient = jax.grad(loss)(params, support_x, support_y)
            params = jax.tree.map(lambda leaf, g: leaf - work.inner_lr * g, params, gradient)
        return loss(params, query_x, query_y)

    def meta_loss(params: Params, tasks: Any) -> Array:
        return jax.vmap(task_loss, in_axes=(None, 0, 0, 0, 0))(params, *tasks).mean()

    @jax.jit
    def step(params: Params, state: Any, tasks: Any) -> tuple[Params, Any]:
        updates, state = optimiser.update(jax.grad(meta_loss)(params, tasks), state)
        return optax.apply_updates(params, updates), state

    for _ in range(work.outer_steps):
        params, state = step(params, state, tasks)
        jax.block_until_ready(params)
        on_step()
    return [params[name] for name in work.params()]


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
