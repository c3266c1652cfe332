"""Bayesian learners whose limit without noise is another learner's, and the volume of another matrix."""

from dataclasses import replace

import torch

from metafunc import algorithms, tree
from metafunc.transforms import curvature

from .cases import MODEL, NETWORK, twin


def shifted_by_the_support(model, likelihood, **settings):
    """PLATIPUS whose posterior has not seen the query set."""
    learner = algorithms.platipus(model, likelihood, **settings)

    def task_loss(meta, task):
        particles = learner.adapt(meta._replace(prior_lr=meta.posterior_lr), task.support)
        return likelihood.of(model)(tree.at(particles, 0), task.query)

    return replace(learner, task_loss=task_loss)


def noise_on_top(model, likelihood, **settings):
    """PLATIPUS whose particles keep a spread that is not learned."""
    learner = algorithms.platipus(model, likelihood, **settings)

    def adapt(meta, support):
        return tree.map(lambda leaf, noise: leaf + 1e-6 * noise, learner.adapt(meta, support), support.extra)

    return replace(learner, adapt=adapt)


def adapted_encoder(model, likelihood, *, encoder, **settings):
    """MR-MAML whose inner loop adapts everything."""
    learner = algorithms.mr_maml_w(model, likelihood, encoder=encoder, **settings)
    maml = algorithms.maml(model, likelihood, inner_lr=settings["inner_lr"], num_steps=settings["num_steps"])
    return replace(learner, task_loss=lambda meta, task: maml.task_loss(meta.params, task))


def untrained_encoder(model, likelihood, *, encoder, **settings):
    """MR-MAML that takes 'not adapted' for 'not trained'."""
    learner = algorithms.mr_maml_w(model, likelihood, encoder=encoder, **settings)

    def task_loss(meta, task):
        return learner.task_loss(meta._replace(params={**meta.params, encoder: meta.params[encoder].detach()}), task)

    return replace(learner, task_loss=task_loss)


def of_the_whole_hessian(output, loss, params, *, variance):
    """The log-determinant of the Hessian with the curvature of the model, which may be negative."""
    flat, unravel = tree.ravel(params)
    matrix = curvature.hessian(lambda at: loss(output(unravel(at))), flat)
    return torch.linalg.slogdet(torch.eye(len(flat)).double() + variance * matrix).logabsdet


TWINS = [
    twin("platipus_limit", NETWORK, platipus=shifted_by_the_support),
    twin("platipus_limit", NETWORK, platipus=noise_on_top),
    twin("mr_maml_limit", NETWORK, mr_maml=adapted_encoder),
    twin("mr_maml_limit", NETWORK, mr_maml=untrained_encoder),
    twin("laplace_volume", MODEL, log_det=of_the_whole_hessian),
]
