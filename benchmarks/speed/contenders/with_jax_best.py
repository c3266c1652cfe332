"""JAX in the fastest of the forms that were tried on this machine, not the form that one writes first.

Perceptrons with large weights: adapted weights that are never formed. Convolutions: images with channels last, a
convolution as matrix products of shifted images, the pool before ReLU, and a `scan` over tasks. Particles: distances
from a Gram matrix. Deep kernels: matrix products over all pairs of rows, and products over features by halves. Small
perceptrons and transformers: as commonly written, but on one thread.
"""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from benchmarks.speed.contenders.conditioning_jax import BEST
from benchmarks.speed.contenders.with_jax import Params, TaskLoss, mean_over_tasks, mlp, run, task_loss_of
from benchmarks.speed.workloads import OnStep, Workload


def train(work: Workload, on_step: OnStep, option: str = "") -> None:
    """Meta-train."""
    if work.images:
        run(work, on_step, by_scan(task_loss_of(work, conv4, squares=gram)))
    elif max(work.input_shape) > 1:
        run(work, on_step, jax.grad(mean_over_tasks(factored(work))))
    else:
        # XLA reads this when it starts, which is with the first array.
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        run(work, on_step, jax.grad(mean_over_tasks(task_loss_of(work, mlp, squares=gram, conditioning=BEST))))


def by_scan(task_loss: TaskLoss) -> Callable[[Params, Any], Params]:
    """The mean of the tasks' gradients, one task after another."""

    def gradient(params: Params, tasks: Any) -> Params:
        def add(total: Params, task: Any) -> tuple[Params, None]:
            return jax.tree.map(jnp.add, total, jax.grad(task_loss)(params, *task)), None

        total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), tasks)
        return jax.tree.map(lambda leaf: leaf / len(tasks[0]), total)

    return gradient


def gram(rows: Array) -> Array:
    """Squared distances of rows, from their inner products."""
    products = rows @ rows.T
    lengths = jnp.diag(products)
    return lengths[:, None] + lengths - 2 * products


def conv4(params: Params, x: Array) -> Array:
    """Four convolutions with batch statistics, channels last."""
    x = x.transpose(0, 2, 3, 1)
    for i in range(1, 5):
        kernel = params[f"layer{i}.weight"].transpose(2, 3, 1, 0)
        x = convolution(x, kernel)
        gain = jax.lax.rsqrt(x.var((0, 1, 2)) + 1e-5) * params[f"norm{i}.scale"]
        x = x * gain + (params[f"norm{i}.shift"] - x.mean((0, 1, 2)) * gain)
        n, height, width, channels = x.shape
        even = x[:, : height // 2 * 2, : width // 2 * 2]
        x = jax.nn.relu(even.reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4)))
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1) @ params["head.weight"].T + params["head.bias"]


def convolution(x: Array, kernel: Array) -> Array:
    """A 3x3 convolution: of one channel by patches, of many as nine matrix products."""
    n, height, width, channels = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    if channels == 1:
        return jnp.concatenate(shifted, -1) @ kernel.reshape(9, -1)
    taps = kernel.reshape(9, channels, -1)
    return sum(part.reshape(-1, channels) @ tap for part, tap in zip(shifted, taps, strict=True)).reshape(
        n, height, width, -1
    )


def factored(work: Workload) -> TaskLoss:
    """MAML's task loss, with every adapted weight as the shared one and the factors of its updates."""
    names = [name.removesuffix(".weight") for name in work.params() if name.endswith(".weight")]

    def forward(params: Params, steps: Any, x: Array, zeros: Any) -> tuple[Array, list[Array]]:
        inputs = []
        for i, name in enumerate(names):
            inputs.append(x)
            x = x @ params[f"{name}.weight"].T + params[f"{name}.bias"] + zeros[i]
            for seen, gradients in steps:
                x = x - work.inner_lr * ((inputs[i] @ seen[i].T) @ gradients[i] + gradients[i].sum(0))
            x = jax.nn.relu(x) if name != "head" else x
        return x, inputs

    def loss(outputs: Array, y: Array) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean()

    def task_loss(params: Params, support_x: Array, support_y: Array, query_x: Array, query_y: Array) -> Array:
        steps: list[Any] = []
        for _ in range(work.num_steps):

            def support_loss(zeros: Any) -> tuple[Array, list[Array]]:
                outputs, inputs = forward(params, steps, support_x, zeros)  # noqa: B023 - it is called at once
                return loss(outputs, support_y), inputs

            zeros = [jnp.zeros((len(support_x), len(params[f"{name}.bias"])), support_x.dtype) for name in names]
            gradients, inputs = jax.grad(support_loss, has_aux=True)(zeros)
            steps = [*steps, (inputs, gradients)]
        return loss(forward(params, steps, query_x, [0.0] * len(names))[0], query_y)

    return task_loss
