"""Every learner with an inner loop against its paper's algorithm in plain Python: a loop over tasks and torch.autograd.

Nothing of metafunc's inner loop, meta-gradient or networks is used on the paper's side.
"""

import pytest
import torch
from torch.nn import functional as F

from metafunc import algorithms, tree
from metafunc.execution.gradient import value_and_grad
from metafunc.testing import network, random_tasks

LR = 0.1
STEPS = 3
KINDS = ("regression", "classification")


def forward(params, x):
    for layer in ("layer1", "layer2"):
        x = torch.tanh(x @ params[f"{layer}.weight"].T + params[f"{layer}.bias"])
    return x @ params["head.weight"].T + params["head.bias"]


def loss(params, data):
    outputs = forward(params, data.x)
    if data.y.is_floating_point():
        return ((outputs - data.y) ** 2).mean()
    return F.cross_entropy(outputs, data.y)


def derivatives(value, params, **options):
    return dict(zip(params, torch.autograd.grad(value, list(params.values()), **options), strict=True))


def descend(params, gradient, rate=LR):
    return {name: params[name] - rate * gradient[name] for name in params}


def maml(meta, task):
    params = meta
    for _ in range(STEPS):
        params = descend(params, derivatives(loss(params, task.support), params, create_graph=True))
    return loss(params, task.query)


def fomaml(meta, task):
    params = meta
    for _ in range(STEPS):
        params = descend(params, derivatives(loss(params, task.support), params))
    return loss(params, task.query)


def anil(meta, task):
    head = {name: leaf for name, leaf in meta.items() if name.startswith("head.")}
    for _ in range(STEPS):
        head = descend(head, derivatives(loss({**meta, **head}, task.support), head, create_graph=True))
    return loss({**meta, **head}, task.query)


def meta_sgd(meta, task):
    params = {name.removeprefix("params/"): leaf for name, leaf in meta.items() if name.startswith("params/")}
    rates = {name.removeprefix("inner_lr/"): leaf for name, leaf in meta.items() if name.startswith("inner_lr/")}
    for _ in range(STEPS):
        gradient = derivatives(loss(params, task.support), params, create_graph=True)
        params = {name: params[name] - rates[name] * gradient[name] for name in params}
    return loss(params, task.query)


def maml_plus_plus(meta, task):
    """At the first step of the second of four epochs with a loss a step: 1/K - 1/(4K), and the rest."""
    params = {name.removeprefix("params/"): leaf for name, leaf in meta.items() if name.startswith("params/")}
    rates = {name.removeprefix("inner_lr/"): leaf for name, leaf in meta.items() if name.startswith("inner_lr/")}
    early = 1 / STEPS - 1 / (4 * STEPS)
    total = 0.0
    for k in range(STEPS):
        gradient = derivatives(loss(params, task.support), params, create_graph=True)
        params = {name: params[name] - rates[name][k] * gradient[name] for name in params}
        weight = early if k < STEPS - 1 else 1 - (STEPS - 1) * early
        total = total + weight * loss(params, task.query)
    return total


def pretrain(meta, task):
    both = [torch.cat([task.support.x, task.query.x]), torch.cat([task.support.y, task.query.y])]
    return loss(meta, task.support._replace(x=both[0], y=both[1]))


LOOPS = {
    "maml": (maml, {"inner_lr": LR, "num_steps": STEPS}),
    "fomaml": (fomaml, {"inner_lr": LR, "num_steps": STEPS}),
    "anil": (anil, {"inner_lr": LR, "num_steps": STEPS}),
    "meta_sgd": (meta_sgd, {"inner_lr": LR, "num_steps": STEPS}),
    "maml_plus_plus": (
        maml_plus_plus,
        {"inner_lr": LR, "num_steps": STEPS, "multi_step_epochs": 4, "steps_per_epoch": 10},
    ),
    "pretrain": (pretrain, {}),
}


def named(meta):
    """Meta-parameters as one flat dict: a NamedTuple of dicts gets its field's name before a slash."""
    if isinstance(meta, dict):
        return meta
    return {f"{field}/{name}": leaf for field, part in meta._asdict().items() for name, leaf in part.items()}


def start(name, kind, hyperparameters, step):
    learner = algorithms.build(name, network, (2,), kind, 3, **hyperparameters)
    generator = torch.Generator().manual_seed(3)
    # Off the initial values, where every learned step size is the same.
    meta = tree.map(
        lambda leaf: leaf * (1 + 0.3 * torch.rand(leaf.shape, generator=generator)), learner.init(generator)
    )
    return learner, meta, learner.prepare(meta, random_tasks(kind), generator, step=step, num_steps=100)


def by_loop(objective, meta, tasks):
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in named(meta).items()}
    each = [objective(leaves, task) for task in tree.unstack(tasks)]
    value = torch.stack(each).mean()
    return value.detach(), derivatives(value, leaves)


def agree(first, second, tolerance=1e-11):
    return first.keys() == second.keys() and all(
        torch.allclose(first[name], second[name], rtol=tolerance, atol=tolerance) for name in first
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LOOPS)
def test_value_and_meta_gradient_are_the_paper_s(name, kind):
    objective, hyperparameters = LOOPS[name]
    learner, meta, tasks = start(name, kind, hyperparameters, step=10)
    value, gradient = value_and_grad(learner.task_loss)(meta, tasks)
    expected, expected_gradient = by_loop(objective, meta, tasks)
    assert torch.allclose(value, expected, rtol=1e-11)
    assert agree(named(gradient), expected_gradient)


@pytest.mark.parametrize(("name", "other"), [("maml", fomaml), ("fomaml", maml), ("anil", maml), ("maml", anil)])
def test_the_loops_tell_the_algorithms_apart(name, other):
    _, hyperparameters = LOOPS[name]
    learner, meta, tasks = start(name, "regression", hyperparameters, step=0)
    _, gradient = value_and_grad(learner.task_loss)(meta, tasks)
    assert not agree(named(gradient), by_loop(other, meta, tasks)[1], 1e-3)


def test_first_order_maml_has_the_value_of_maml():
    _, hyperparameters = LOOPS["maml"]
    values = []
    for name in ("maml", "fomaml"):
        learner, meta, tasks = start(name, "regression", hyperparameters, step=0)
        values.append(value_and_grad(learner.task_loss)(meta, tasks)[0])
    assert torch.equal(*values)
