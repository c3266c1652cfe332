"""Learners that adapt without steps, in JAX, for one task."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from benchmarks.speed.workloads import FLOOR, HEADS, JITTER, LAYERS

Params = dict[str, Array]


def perceptron(p: Params, prefix: str, depth: int, x: Array) -> Array:
    """Linear layers with rectifiers between them."""
    for i in range(1, depth + 1):
        x = jax.nn.relu(linear(p, f"{prefix}layer{i}", x))
    return linear(p, f"{prefix}head", x)


def linear(p: Params, name: str, x: Array) -> Array:
    """A linear layer by its name."""
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def normed(p: Params, name: str, x: Array) -> Array:
    """A layer norm by its name."""
    centred = x - x.mean(-1, keepdims=True)
    return (
        centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p[f"{name}.scale"] + p[f"{name}.shift"]
    )


def tnp_loss(p: Params, depth: int, support_x: Array, support_y: Array, query_x: Array, query_y: Array) -> Array:
    """The mean negative log-likelihood of the query rows, all of whose tokens read the support set's."""
    count = len(support_x)
    y = jnp.concatenate([support_y, jnp.zeros_like(query_y)])
    h = perceptron(p, "tokens.", depth, jnp.concatenate([jnp.concatenate([support_x, query_x]), y], 1))
    for i in range(1, LAYERS + 1):
        query, key, value = (
            linear(p, f"block{i}.{name}", h).reshape(len(h), HEADS, -1) for name in ("query", "key", "value")
        )
        scores = jnp.einsum("nhd,mhd->hnm", query, key[:count]) / query.shape[-1] ** 0.5
        found = jnp.einsum("hnm,mhd->nhd", jax.nn.softmax(scores), value[:count]).reshape(h.shape)
        h = normed(p, f"block{i}.norm1", h + linear(p, f"block{i}.merge", found))
        inner = jax.nn.gelu(linear(p, f"block{i}.layer1", h), approximate=False)
        h = normed(p, f"block{i}.norm2", h + linear(p, f"block{i}.layer2", inner))
    mean, raw = jnp.split(perceptron(p, "head.", depth, h[count:]), 2, 1)
    scale = FLOOR + (1 - FLOOR) * jax.nn.softplus(raw)
    return -jax.scipy.stats.norm.logpdf(query_y, mean, scale).mean()


def spectral(p: Params, features: Array) -> Array:
    """The spectral mixture kernel of all pairs of rows, one component after the other."""
    apart = features[:, None] - features

    def component(log_weight: Array, frequency: Array, log_bandwidth: Array) -> Array:
        decay = -2 * jnp.pi**2 * ((apart * jnp.exp(log_bandwidth)) ** 2).sum(-1)
        return jnp.exp(log_weight + decay) * jnp.cos(2 * jnp.pi * apart * frequency).prod(-1)

    return jax.vmap(component)(p["log_weight"], p["frequency"], p["log_bandwidth"]).sum(0)


def dkt_loss(
    kernel: Callable[[Params, Array], Array],
    p: Params,
    depth: int,
    support_x: Array,
    support_y: Array,
    query_x: Array,
    query_y: Array,
) -> Array:
    """The negative log evidence of all rows, per row."""
    features = perceptron(p, "", depth, jnp.concatenate([support_x, query_x]))
    y = jnp.concatenate([support_y, query_y])[:, 0] - p["mean"]
    gram = kernel(p, features)
    noise = jnp.exp(2 * p["log_scale"]) + JITTER * jnp.diagonal(gram).mean()
    factor = jnp.linalg.cholesky(gram + noise * jnp.eye(len(y), dtype=y.dtype))
    white = jax.scipy.linalg.solve_triangular(factor, y, lower=True)
    evidence = -(white**2).sum() / 2 - jnp.log(jnp.diagonal(factor)).sum() - len(y) / 2 * jnp.log(2 * jnp.pi)
    return -evidence / len(y)


def by_halves(factors: Array) -> Array:
    """The product over the first axis, whose derivative is products again."""
    while (count := len(factors)) > 1:
        both = factors[: count // 2] * factors[count // 2 : count // 2 * 2]
        factors = jnp.concatenate([both, factors[-1:]]) if count % 2 else both
    return factors[0]


def spectral_by_products(p: Params, features: Array) -> Array:
    """The same as matrix products over all pairs of rows, inputs first."""
    t = (features.T[:, :, None] - features.T[:, None]).reshape(features.shape[1], -1)
    decay = -2 * jnp.pi**2 * (jnp.exp(2 * p["log_bandwidth"]) @ t**2)
    waves = by_halves(jnp.cos(2 * jnp.pi * p["frequency"].T[..., None] * t[:, None]))
    return (jnp.exp(p["log_weight"][:, None] + decay) * waves).sum(0).reshape(len(features), -1)


LOSSES = {"tnp": tnp_loss, "dkt": partial(dkt_loss, spectral)}
BEST = {"tnp": tnp_loss, "dkt": partial(dkt_loss, spectral_by_products)}
