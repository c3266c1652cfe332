"""What the identities are worth: each must fail on an implementation that is wrong in the way it is about."""

import importlib
import pkgutil
import re
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call

from metafunc import algorithms, testing, tree
from metafunc.bayes import gaussian, linear_regression, stein
from metafunc.bayes.gaussian import Gaussian
from metafunc.bayes.stein import stein_loss
from metafunc.evaluation import metrics
from metafunc.nn import from_module, likelihood
from metafunc.testing import (
    IDENTITIES,
    ConvexCase,
    EnsembleCase,
    GaussianCase,
    IdentityError,
    LearnerCase,
    LossCase,
    ModelCase,
    NetworkCase,
    QuadraticCase,
    TabularCase,
    network,
    random_tasks,
)
from metafunc.testing.identities import updates
from metafunc.testing.numerics import report
from metafunc.testing.numerics.rounding import by_autograd, count, hessian_product, mean, row
from metafunc.testing.problems import tabular
from metafunc.testing.problems.strategies import Normals, tree_loss
from metafunc.transforms import curvature
from metafunc.transforms.implicit import implicit
from metafunc.transforms.inner import first_order as stop
from metafunc.transforms.inner import gradient_descent, repeat
from metafunc.transforms.objectives import chaser, pool, squared_distance
from metafunc.transforms.optim import sgd
from metafunc.types import Batch, Task

normal = Normals(0)
TASKS = random_tasks("regression", num_outputs=1)
LOSS = LossCase(tree_loss, {"w": normal(2, 3), "b": normal(3)}, TASKS, inner_lr=0.3, num_steps=2)
MODEL = ModelCase(
    lambda params, x: torch.tanh(x @ params["w"]) @ params["v"],
    lambda outputs, batch: (outputs - batch.y).square().mean(),
    {"w": normal(2, 3), "v": normal(3, 1)},
    row(TASKS, 0).support,
)
QUADRATIC = QuadraticCase(
    normal(3), Task(*(Batch(normal(2, 4, 3), normal(2, 4)) for _ in range(2))), inner_lr=0.1, num_steps=3, strength=1.0
)
CONVEX = ConvexCase(normal(2), torch.eye(2, dtype=torch.float64) + 0.2 * normal(2, 2), normal(2, 2))
ENSEMBLE = EnsembleCase(tree_loss, {"w": normal(4, 3)}, row(TASKS, 0).support)
GAUSSIANS = GaussianCase(*(Gaussian({"w": normal(3)}, {"w": normal(3)}) for _ in range(2)))
MDP = tabular.random(torch.Generator().manual_seed(0), num_states=3, horizon=3)
TABULAR = TabularCase(MDP, normal(3, 2))


def network_case():
    model = network((2,), 1)
    params = model.init(torch.Generator().manual_seed(0))
    return NetworkCase(model, likelihood.gaussian(), normal.like(params), TASKS, inner_lr=0.3)


NETWORK = network_case()


def learner_case():
    learner = algorithms.build("maml", network, (2,), "regression", 1, inner_lr=0.1, num_steps=2)
    return LearnerCase(learner, learner.init(torch.Generator().manual_seed(0)), TASKS, num_steps=2)


LEARNER = learner_case()

# The founding text's derivations, its algebra slips and the usual shortcuts, as meta-gradients.


def factor(loss, point, vector, task, inner_lr):
    return tree.add_scaled(vector, -inner_lr, hessian_product(loss, point, vector, task.support))


def two_steps(loss, params, task, inner_lr):
    after = tree.add_scaled(params, -inner_lr, by_autograd(loss, params, task.support))
    last = tree.add_scaled(after, -inner_lr, by_autograd(loss, after, task.support))
    return after, by_autograd(loss, last, task.query)


def hessian_counted_twice(loss, params, tasks, inner_lr, num_steps):
    """(I - aH)(I - aH - aH') g: H of the first step enters the second factor as well."""
    task = row(tasks, 0)
    after, slope = two_steps(loss, params, task, inner_lr)
    once = factor(loss, after, slope, task, inner_lr)
    once = tree.add_scaled(once, -inner_lr, hessian_product(loss, params, slope, task.support))
    return factor(loss, params, once, task, inner_lr)


def swapped_factors(loss, params, tasks, inner_lr, num_steps):
    task = row(tasks, 0)
    after, slope = two_steps(loss, params, task, inner_lr)
    return factor(loss, after, factor(loss, params, slope, task, inner_lr), task, inner_lr)


def slopes_after_one_step(loss, params, tasks, inner_lr):
    found = []
    for i in range(count(tasks)):
        task = row(tasks, i)
        after = tree.add_scaled(params, -inner_lr, by_autograd(loss, params, task.support))
        found.append(by_autograd(loss, after, task.query))
    return found


def sum_outside(loss, params, tasks, inner_lr, num_steps):
    """The mean of the gradients, times one task's factor: the index outlives its sum."""
    total = mean(slopes_after_one_step(loss, params, tasks, inner_lr))
    return factor(loss, params, total, row(tasks, count(tasks) - 1), inner_lr)


def mean_hessian(loss, params, tasks, inner_lr, num_steps):
    total = mean(slopes_after_one_step(loss, params, tasks, inner_lr))
    return mean([factor(loss, params, total, row(tasks, i), inner_lr) for i in range(count(tasks))])


def detached_hessian(loss, params, tasks, inner_lr, num_steps):
    """MAML that is silently first order."""
    step = stop(gradient_descent(loss, lr=inner_lr))

    def meta_loss(params):
        losses = [loss(repeat(step, num_steps)(params, task.support), task.query) for task in tree.unstack(tasks)]
        return torch.stack(losses).mean()

    return torch.func.grad(meta_loss)(params)


def first_task_only(loss, params, tasks, inner_lr, num_steps):
    return LOSS.meta_gradient(loss, params, tree.map(lambda leaf: leaf[:1], tasks), inner_lr, num_steps)


def meta(name, gradient):
    return lambda: IDENTITIES[name].check(replace(LOSS, meta_gradient=gradient))


def of(name, case, **wrong):
    return lambda: IDENTITIES[name].check(case, **wrong)


# Losses that no implementation can be right about.


def plain_layer_norm():
    """A module's layer norm through plain `torch.func`: in torch 2.13 its batching rule loses second derivatives."""
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1)).double()
    params = {name: normal.like(leaf.detach()) for name, leaf in module.named_parameters()}

    def loss(params, batch):
        return (functional_call(module, params, (batch.x,)) - batch.y).square().mean()

    return LossCase(loss, params, TASKS)


class WrongDoubleBackward(torch.autograd.Function):
    """The square, whose backward forgets that it depends on x."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, slope):
        return 2 * ctx.saved_tensors[0].detach() * slope


def wrong_double_backward(params, batch):
    return (WrongDoubleBackward.apply(params["w"]).sum(0) * batch.x[:, :1] - batch.y).square().mean()


class WrongBackward(torch.autograd.Function):
    """Doubles, but claims to have tripled."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return 2 * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, slope):
        return 3 * slope


class WrongForwardMode(WrongBackward):
    """Doubles, and claims to have tripled in forward mode only."""

    @staticmethod
    def backward(ctx, slope):
        return 2 * slope

    @staticmethod
    def jvp(ctx, tangent):
        return 3 * tangent


class WrongBatchingRule(torch.autograd.Function):
    """The identity, which under `vmap` doubles, as do its derivatives."""

    @staticmethod
    def forward(x):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, slope):
        return WrongBatchingRule.apply(slope)

    @staticmethod
    def jvp(ctx, tangent):
        return WrongBatchingRule.apply(tangent)

    @staticmethod
    def vmap(info, in_dims, x):
        return 2 * x, in_dims[0]


def through(function):
    """The loss of parameters that have passed through a function."""
    return replace(LOSS, loss=lambda params, batch: tree_loss(tree.map(function.apply, params), batch))


def growing_loss():
    calls = []

    def loss(params, batch):
        calls.append(None)
        return tree_loss(params, batch) * len(calls)

    return replace(LOSS, loss=loss)


def sum_of_tasks(loss, params, tasks, inner_lr, num_steps):
    found = LOSS.meta_gradient(loss, params, tasks, inner_lr, num_steps)
    return tree.scale(found, float(count(tasks)))


def sum_of_losses(loss, adapt, params, tasks):
    """A meta-test loss that is no mean."""
    return torch.vmap(lambda task: loss(adapt(params, task.support), task.query))(tasks) * count(tasks)


def half_a_step(step):
    """First order, but for half of the factor I."""

    def stopped(params, data):
        return tree.map(lambda leaf: 0.5 * (leaf + leaf.detach()), stop(step)(params, data))

    return stopped


def stateful():
    calls = []

    def loss(params, batch):
        calls.append(None)
        return tree_loss(params, batch) * (1 + 1e-9 * len(calls))

    return replace(LOSS, loss=loss)


def writes_into_its_argument():
    def loss(params, batch):
        value = tree_loss(params, batch)
        batch.y.mul_(1.5)
        return value

    return replace(LOSS, loss=loss, tasks=tree.map(torch.clone, TASKS))


def throws_dice():
    def loss(params, batch):
        torch.rand(())
        return tree_loss(params, batch)

    return replace(LOSS, loss=loss)


def first_task_alone(loss, params, tasks, inner_lr, num_steps):
    """Without vmap, which would not let a loss throw dice."""
    return by_autograd(loss, params, row(tasks, 0).support)


def leaking_evaluation(loss, adapt, params, tasks):
    """Every task starts where the one before it ended."""
    losses = []
    for task in tree.unstack(tasks):
        params = adapt(params, task.support)
        losses.append(loss(params, task.query))
    return torch.stack(losses)


def rates_of_the_wrong_sign(loss, params, rates, tasks, num_steps):
    found = updates.meta_sgd_gradient(loss, params, rates, tasks, num_steps)
    return found[0], tree.scale(found[1], -1.0)


def one_rate_for_all(loss, params, rates, tasks, num_steps):
    """As if H (a v) were a (H v): the vector of step sizes taken for a number."""
    shared = tree.leaves(rates)[0].mean()
    return updates.meta_sgd_gradient(loss, params, tree.map(lambda leaf: 0 * leaf + shared, rates), tasks, num_steps)


def unstopped(adapt):
    def task_loss(params, task):
        offset = tree.sub(params, adapt(params, task.support))
        return 0.5 * tree.dot(offset, offset)

    return task_loss


def half_repulsion(particles):
    values = stein.rbf(particles)
    return values._replace(repulsion=values.repulsion / 2)


def doubled_kernel(particles):
    values = stein.rbf(particles)
    return values._replace(gram=2 * values.gram)


def partial_kernel(particles):
    """Partial to the first particle."""
    values = stein.rbf(particles)
    return values._replace(gram=values.gram * torch.arange(1, len(particles) + 1))


def stein_without_the_two(loss, lr):
    return stein.stein(loss, sgd(lr), kernel=half_repulsion)


def independent(loss, lr):
    """Particles that do not see each other: an ensemble, and no Stein step."""
    return lambda particles, data: torch.vmap(gradient_descent(loss, lr=lr), (0, None))(particles, data)


def mean_energy(energies, temperature):
    """Its plain gradient: particles that do not see each other."""
    return lambda particles, data: energies(particles, data).mean()


def warm_repulsion(energies, temperature):
    """A temperature that scales the energies' part and not the repulsion."""
    return stein_loss(energies)


def unstopped_kernel(energies, temperature):
    """The kernel-weighted energies, differentiated through the kernel as well."""

    def loss(particles, data):
        rows = torch.vmap(lambda particle: tree.ravel(particle)[0])(particles)
        return (stein.rbf(rows).gram @ energies(particles, data)).mean()

    return loss


def forgets_the_prior_mean(prior, features, y):
    return linear_regression.condition(prior._replace(mean=torch.zeros_like(prior.mean)), features, y)


def by_member(predictive, y):
    members = [predictive._replace(**{predictive._fields[0]: one[None]}) for one in predictive[0]]
    return torch.stack([metrics.nll(member, y) for member in members])


def total_of_members(predictive, y):
    """Without the 1 / M: a mixture whose probability is a sum."""
    return -torch.logsumexp(-by_member(predictive, y), 0)


def product_of_members(predictive, y):
    """Members taken for independent witnesses: their log-probabilities are added up."""
    return by_member(predictive, y).sum()


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


def lower_half(function, params, vector):
    """Only half of a symmetric matrix."""
    return lower_half_of(lambda v: curvature.hvp(function, params, v), params, vector)


def lower_half_of(product, params, vector):
    flat, unravel = tree.ravel(params)
    matrix = torch.vmap(lambda v: tree.ravel(product(unravel(v)))[0])(torch.eye(len(flat)).to(flat)).mT
    return unravel(matrix.tril() @ tree.ravel(vector)[0])


def whole_hessian(output, loss, params, vector):
    """Not the Gauss-Newton matrix: it has the curvature of the model, which may be negative."""
    return curvature.hvp(lambda at: loss(output(at)), params, vector)


def doubled_ggn(output, loss, params, vector):
    return tree.scale(curvature.ggn_vp(output, loss, params, vector), 2.0)


def undiscounted(log_probs, rewards):
    """Rewards are discounted from the action on, whose own time counts for nothing: as many implementations have it."""
    return tabular.reward_to_go(log_probs / MDP.discounts, rewards)


def immediate_reward(log_probs, rewards):
    """An action is credited with its own reward, not with what comes of it."""
    return log_probs @ rewards


def mean_over_time(log_probs, rewards):
    return tabular.reward_to_go(log_probs, rewards) / len(rewards)


def one_step_less(loss, inner_lr, num_steps):
    return gradient_descent(loss, lr=inner_lr, num_steps=num_steps - 1)


def without_derivative(loss, inner_lr, num_steps):
    return stop(gradient_descent(loss, lr=inner_lr, num_steps=num_steps))


def wrong_sign(solve, stationarity):
    right = implicit(solve, stationarity)

    def adapt(meta, support):
        solution = right(meta, support)
        return 2 * solution.detach() - solution

    return adapt


def right_once(solve, stationarity):
    """One Newton step from the detached solution: its gradient is right, and its second derivative is not."""

    def adapt(meta, support):
        solution, held = solve(meta, support).detach(), meta.detach()
        matrix = torch.func.jacrev(lambda at: stationarity(at, held, support))(solution).detach()
        offset = torch.linalg.solve(matrix, stationarity(solution, meta, support))
        return solution - (offset - offset.detach())

    return adapt


def triangular_ggn(output, loss, params, vector):
    return lower_half_of(lambda v: curvature.ggn_vp(output, loss, params, v), params, vector)


def leaking_process():
    """Transitions whose probabilities do not sum to one."""
    return TabularCase(MDP._replace(transitions=0.9 * MDP.transitions), TABULAR.logits)


def shifted_by_the_support(model, likelihood, **settings):
    """PLATIPUS whose posterior has not seen the query set."""
    learner = algorithms.platipus(model, likelihood, **settings)

    def task_loss(meta, task):
        particles = learner.adapt(meta._replace(prior_lr=meta.posterior_lr), task.support)
        return likelihood.of(model)(tree.map(lambda leaf: leaf[0], particles), task.query)

    return replace(learner, task_loss=task_loss)


def noise_on_top(model, likelihood, **settings):
    """PLATIPUS whose particles keep a spread that nobody learned."""
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


def learner(**changes):
    """MAML with one of its functions changed."""
    return replace(LEARNER, learner=replace(LEARNER.learner, **changes))


def remembering():
    calls = []

    def adapt(meta, support):
        calls.append(None)
        return tree.scale(LEARNER.learner.adapt(meta, support), 1 + 0.1 * len(calls))

    return learner(adapt=adapt)


def shrinking():
    def adapt(meta, support):
        adapted = LEARNER.learner.adapt(meta, support)
        tree.map(lambda leaf: leaf.mul_(0.5), meta)
        return adapted

    return replace(learner(adapt=adapt), meta=tree.map(torch.clone, LEARNER.meta))


def dicing():
    def adapt(meta, support):
        torch.rand(())
        return LEARNER.learner.adapt(meta, support)

    return learner(adapt=adapt)


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
    """A `prepare` with a counter of its own for dice."""
    calls = []

    def prepare(tasks):
        calls.append(None)
        return tasks._replace(support=tasks.support._replace(x=tasks.support.x + len(calls)))

    return preparing(prepare)


def growing():
    calls = []

    def task_loss(meta, task):
        calls.append(None)
        return LEARNER.learner.task_loss(meta, task) * len(calls)

    return learner(task_loss=task_loss)


def unmasked(meta, task):
    return network_loss(meta, task.query)


def unmasked_adapt(meta, support):
    return LEARNER.learner.adapt(meta, support._replace(mask=()))


def half_gradient(meta, task):
    """A task loss whose gradient is half of what its value says."""
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
DETACHED = {"make_implicit": lambda solve, stationarity: lambda meta, support: solve(meta, support).detach()}

TWINS = [
    ("one_step", meta("one_step", detached_hessian)),
    ("k_steps", meta("k_steps", hessian_counted_twice)),
    ("k_steps", meta("k_steps", swapped_factors)),
    ("k_steps", meta("k_steps", detached_hessian)),
    ("many_tasks", meta("many_tasks", sum_outside)),
    ("many_tasks", meta("many_tasks", mean_hessian)),
    ("many_tasks", meta("many_tasks", first_task_only)),
    ("autograd_loop", meta("autograd_loop", detached_hessian)),
    ("autograd_loop", lambda: IDENTITIES["autograd_loop"](plain_layer_norm())),
    ("finite_differences", meta("finite_differences", detached_hessian)),
    ("finite_differences", of("finite_differences", replace(LOSS, loss=wrong_double_backward))),
    ("batching", lambda: IDENTITIES["batching"](plain_layer_norm())),
    ("batching", lambda: IDENTITIES["batching"](growing_loss())),
    ("first_order", of("first_order", LOSS, transform=lambda step: step)),
    ("linear_inner_loss", of("linear_inner_loss", LOSS, transform=lambda step: step)),
    ("linear_inner_loss", of("linear_inner_loss", LOSS, transform=half_a_step)),
    ("meta_sgd", of("meta_sgd", LOSS, gradient=rates_of_the_wrong_sign)),
    ("meta_sgd", of("meta_sgd", LOSS, gradient=one_rate_for_all)),
    ("reptile", of("reptile", LOSS, surrogate=unstopped)),
    ("meta_test", of("meta_test", LOSS, evaluate=leaking_evaluation)),
    ("meta_test", of("meta_test", LOSS, evaluate=sum_of_losses)),
    ("pure_loss", lambda: IDENTITIES["pure_loss"](stateful())),
    ("pure_loss", lambda: IDENTITIES["pure_loss"](writes_into_its_argument())),
    ("pure_loss", lambda: IDENTITIES["pure_loss"](replace(throws_dice(), tasks=TASKS, meta_gradient=first_task_alone))),
    ("task_symmetry", meta("task_symmetry", first_task_only)),
    ("task_symmetry", meta("task_symmetry", sum_of_tasks)),
    ("derivatives", of("derivatives", replace(LOSS, loss=wrong_double_backward))),
    ("derivatives", lambda: IDENTITIES["derivatives"](through(WrongBackward))),
    ("hessian_symmetry", of("hessian_symmetry", LOSS, hvp=lower_half)),
    ("hvp_modes", of("hvp_modes", LOSS, hvp=lower_half)),
    ("hvp_modes", lambda: IDENTITIES["hvp_modes"](through(WrongForwardMode))),
    ("hvp_modes", lambda: IDENTITIES["hvp_modes"](through(WrongBatchingRule))),
    ("ggn_linear", of("ggn_linear", MODEL, ggn_vp=doubled_ggn)),
    ("ggn_positive", of("ggn_positive", MODEL, ggn_vp=whole_hessian)),
    ("ggn_positive", of("ggn_positive", MODEL, ggn_vp=triangular_ggn)),
    ("adapted_point", of("adapted_point", QUADRATIC, adapt=one_step_less)),
    ("meta_optimum", of("meta_optimum", QUADRATIC, adapt=without_derivative)),
    ("ridge", of("ridge", QUADRATIC, **DETACHED)),
    ("ridge", of("ridge", QUADRATIC, make_implicit=wrong_sign)),
    ("bayesian_regression", of("bayesian_regression", QUADRATIC, solve=forgets_the_prior_mean)),
    ("unrolled_limit", of("unrolled_limit", QUADRATIC, make_implicit=wrong_sign)),
    ("implicit_convex", of("implicit_convex", CONVEX, make_implicit=wrong_sign)),
    ("implicit_convex", of("implicit_convex", CONVEX, make_implicit=right_once)),
    ("kernel_gradient", of("kernel_gradient", ENSEMBLE, kernel=half_repulsion)),
    ("one_particle", of("one_particle", ENSEMBLE, kernel=doubled_kernel)),
    ("particle_symmetry", of("particle_symmetry", ENSEMBLE, kernel=partial_kernel)),
    ("stein_direction", of("stein_direction", ENSEMBLE, make_step=stein_without_the_two)),
    ("stein_direction", of("stein_direction", ENSEMBLE, make_step=independent)),
    ("stein_loss", of("stein_loss", ENSEMBLE, make_loss=mean_energy)),
    ("stein_loss", of("stein_loss", ENSEMBLE, make_loss=warm_repulsion)),
    ("stein_loss", of("stein_loss", ENSEMBLE, make_loss=unstopped_kernel)),
    ("two_particles", of("two_particles", ENSEMBLE, make_step=stein_without_the_two)),
    ("mixture_nll", of("mixture_nll", ENSEMBLE, nll=total_of_members)),
    ("mixture_nll", of("mixture_nll", ENSEMBLE, nll=product_of_members)),
    ("leader_at_rest", of("leader_at_rest", LOSS, chaser=linear_distance)),
    ("leader_at_rest", of("leader_at_rest", LOSS, chaser=distance_with_an_offset)),
    ("stopped_leader", of("stopped_leader", LOSS, chaser=unstopped_leader)),
    ("gaussian_kl", of("gaussian_kl", GAUSSIANS, kl=lambda q, p: gaussian.kl(p, q))),
    ("gaussian_kl", of("gaussian_kl", GAUSSIANS, kl=lambda q, p: -gaussian.kl(q, p))),
    ("platipus_limit", of("platipus_limit", NETWORK, platipus=shifted_by_the_support)),
    ("platipus_limit", of("platipus_limit", NETWORK, platipus=noise_on_top)),
    ("mr_maml_limit", of("mr_maml_limit", NETWORK, mr_maml=adapted_encoder)),
    ("mr_maml_limit", of("mr_maml_limit", NETWORK, mr_maml=untrained_encoder)),
    ("laplace_volume", of("laplace_volume", MODEL, log_det=of_the_whole_hessian)),
    ("policy_gradient", of("policy_gradient", TABULAR, surrogate=undiscounted)),
    ("policy_gradient", of("policy_gradient", TABULAR, surrogate=immediate_reward)),
    ("policy_gradient", of("policy_gradient", TABULAR, surrogate=mean_over_time)),
    ("policy_gradient", of("policy_gradient", leaking_process())),
    ("pure", lambda: IDENTITIES["pure"](remembering())),
    ("pure", lambda: IDENTITIES["pure"](shrinking())),
    ("pure", lambda: IDENTITIES["pure"](dicing())),
    ("pure", lambda: IDENTITIES["pure"](preparing(marking))),
    ("pure", lambda: IDENTITIES["pure"](preparing(drawing))),
    ("pure", lambda: IDENTITIES["pure"](counting())),
    ("independent_tasks", lambda: IDENTITIES["independent_tasks"](growing())),
    ("ignored_padding", of("ignored_padding", learner(task_loss=unmasked))),
    ("ignored_padding", of("ignored_padding", learner(adapt=unmasked_adapt))),
    ("path_ends_in_adapt", of("path_ends_in_adapt", learner(path=short_path))),
    ("path_ends_in_adapt", of("path_ends_in_adapt", learner(path=ELSEWHERE["path"]))),
    ("path_ends_in_adapt", of("path_ends_in_adapt", learner(**ELSEWHERE))),
    ("path_ends_in_adapt", of("path_ends_in_adapt", learner(path=late_path))),
    ("own_support", lambda: IDENTITIES["own_support"](remembering())),
    ("meta_derivative", of("meta_derivative", learner(task_loss=half_gradient))),
    ("meta_hessian", of("meta_hessian", learner(task_loss=first_order_loss))),
    ("meta_hessian", of("meta_hessian", learner(task_loss=wrong_in_forward_mode))),
]


CASES = {type(case): case for case in (LOSS, MODEL, NETWORK, QUADRATIC, CONVEX, ENSEMBLE, GAUSSIANS, TABULAR, LEARNER)}
EAGER = {name: identity for name, identity in IDENTITIES.items() if not identity.compiles}


@pytest.mark.parametrize("twin", range(len(TWINS)), ids=lambda i: f"{TWINS[i][0]}-{i}")
def test_a_wrong_twin_fails(twin):
    found = TWINS[twin][1]()
    assert not found.holds
    with pytest.raises(IdentityError, match=found.identity):
        found.check()


@pytest.mark.parametrize("name", EAGER)
def test_what_the_twins_are_twins_of_holds(name):
    EAGER[name](CASES[EAGER[name].needs]).check()


def test_every_identity_has_a_wrong_twin():
    assert {name for name, _ in TWINS} == set(EAGER)


def test_every_claim_is_seen_to_fail(monkeypatch):
    """An identity is several comparisons, each with its own claim: none may hold of all twins."""
    made, failed = set(), set()

    def spy(identity, comparisons, why, example=""):
        comparisons = list(comparisons)
        for comparison in comparisons:
            claim = (identity, re.sub(r"\d+", "#", comparison.claim.split(" The shapes")[0]))
            made.add(claim)
            if not comparison.holds:
                failed.add(claim)
        return report.summarise(identity, comparisons, why, example)

    for module in pkgutil.walk_packages(testing.__path__, f"{testing.__name__}."):
        loaded = importlib.import_module(module.name)
        if loaded is not report and getattr(loaded, "summarise", None) is report.summarise:
            monkeypatch.setattr(loaded, "summarise", spy)
    for _, twin in TWINS:
        twin()
    for name, identity in EAGER.items():
        identity(CASES[identity.needs])
        assert any(of == name for of, _ in made)
    assert not made - failed


def test_the_layer_norm_of_a_module_is_mended_by_from_module():
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1)).double()
    model = from_module(module)

    def loss(params, batch):
        return (model.apply(params, batch.x) - batch.y).square().mean()

    case = LossCase(loss, normal.like(model.init(torch.Generator().manual_seed(0))), TASKS)
    IDENTITIES["autograd_loop"](case).check()
    IDENTITIES["batching"](case).check()


def compiled_inner_loss(case):
    """Only the inner loss compiled, and its gradient differentiated again: with aot_eager the Hessian goes missing."""
    inner = torch.compile(case.loss, backend="aot_eager")

    def step(params, tasks):
        params = tree.map(lambda leaf: leaf.detach().requires_grad_(), params)
        losses = []
        for task in tree.unstack(tasks):
            slopes = torch.autograd.grad(inner(params, task.support), tree.leaves(params), create_graph=True)
            after = tree.add_scaled(params, -case.inner_lr, tree.unflatten(params, list(slopes)))
            losses.append(case.loss(after, task.query))
        value = torch.stack(losses).mean()
        return value.detach(), tree.unflatten(params, list(torch.autograd.grad(value, tree.leaves(params))))

    return step


@pytest.mark.compiled
def test_a_compiled_inner_loss_is_caught():
    torch._dynamo.reset()
    case = replace(LOSS, num_steps=1)
    check = partial(IDENTITIES["eager_is_compiled"].check, case)
    assert check().holds
    assert not check(compiled=compiled_inner_loss(case)).holds


@pytest.mark.compiled
def test_a_compiled_step_that_differs_is_caught():
    check = IDENTITIES["compiled_step"].check
    first_order = algorithms.build("fomaml", network, (2,), "regression", 1, inner_lr=0.1, num_steps=2)

    def wrong(meta, tasks):
        gradient, value = torch.func.grad_and_value(first_order.meta_loss)(meta, tasks)
        return value, gradient

    assert not check(LEARNER, compiled=wrong).holds
