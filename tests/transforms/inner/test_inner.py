"""Inner loops against plain Python loops over torch.autograd, and each transform against the step it changes."""

import pytest
import torch

from metafunc import tree
from metafunc.transforms.inner import (
    clipped,
    descend,
    first_order,
    gradient_descent,
    masked,
    path,
    proximal,
    repeat,
    trajectory,
)
from metafunc.transforms.optim import adam, momentum, sgd
from metafunc.types import Batch

LR = 0.1


def data(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    return Batch(x, x.sum(1).sin())


def params(seed=1):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return {"body": {"w": draw(2, 3), "b": draw(3)}, "head": draw(3)}


def loss(at, batch):
    return ((batch.x @ at["body"]["w"] + at["body"]["b"]).tanh() @ at["head"] - batch.y).square().mean()


def outer(adapted):
    """Some smooth function of the adapted parameters, to differentiate."""
    return loss(adapted, data(seed=5)) + adapted["head"].sin().sum()


def plain_loop(start, num_steps, *, steps_of=None, objective=loss):
    """Gradient descent with torch.autograd, keeping the graph."""
    leaves = tree.leaves(start)
    for k in range(num_steps):
        value = objective(tree.unflatten(start, leaves), data() if steps_of is None else steps_of[k])
        gradients = torch.autograd.grad(value, leaves, create_graph=True)
        leaves = [leaf - LR * gradient for leaf, gradient in zip(leaves, gradients, strict=True)]
    return tree.unflatten(start, leaves)


def by_autograd(function):
    """Value and gradient of a function of the parameters by plain autograd."""
    start = tree.map(lambda leaf: leaf.clone().requires_grad_(), params())
    value = function(start)
    return value.detach(), torch.autograd.grad(value, tree.leaves(start))


def by_func(function):
    gradient, value = torch.func.grad_and_value(function)(params())
    return value, tree.leaves(gradient)


def agree(first, second, tolerance=1e-12):
    pairs = zip(tree.leaves(first), tree.leaves(second), strict=True)
    return all(torch.allclose(x, y, rtol=tolerance, atol=tolerance) for x, y in pairs)


@pytest.mark.parametrize("num_steps", [0, 1, 4])
def test_gradient_descent_is_the_plain_loop_and_so_is_its_derivative(num_steps):
    adapt = gradient_descent(loss, lr=LR, num_steps=num_steps)
    found = by_func(lambda at: outer(adapt(at, data())))
    assert agree(found, by_autograd(lambda at: outer(plain_loop(at, num_steps))))
    if num_steps:
        assert not agree(found, by_autograd(lambda at: outer(plain_loop(at, num_steps - 1))), 1e-3)


@pytest.mark.parametrize("optimiser", [sgd(LR), momentum(LR, decay=0.7), adam(LR)], ids=["sgd", "momentum", "adam"])
def test_first_order_keeps_the_value_bitwise_and_has_the_identity_for_a_derivative(optimiser):
    step = descend(loss, optimiser)
    stopped = first_order(step)
    assert agree(repeat(stopped, 3)(params(), data()), repeat(step, 3)(params(), data()), 0)
    gradient = torch.func.grad(lambda at: outer(repeat(stopped, 3)(at, data())))(params())
    expected = torch.func.grad(outer)(repeat(step, 3)(params(), data()))
    assert agree(gradient, expected)
    exact = torch.func.grad(lambda at: outer(repeat(step, 3)(at, data())))(params())
    assert not agree(gradient, exact, 1e-3)


def test_first_order_of_any_adapt_and_not_only_of_a_step():
    def halve(at, batch):
        return tree.scale(at, 0.5)

    stopped = first_order(halve)
    assert agree(stopped(params(), data()), halve(params(), data()), 0)
    gradient = torch.func.grad(lambda at: outer(stopped(at, data())))(params())
    assert agree(gradient, torch.func.grad(outer)(tree.scale(params(), 0.5)))


def test_first_order_leaves_the_derivative_of_a_learned_step_size():
    def after(rate, change):
        step = change(descend(loss, sgd(rate)))
        return outer(step(params(), data()))

    rate = torch.tensor(LR, dtype=torch.float64)
    exact = torch.func.grad(after)(rate, lambda step: step)
    assert torch.allclose(torch.func.grad(after)(rate, first_order), exact, rtol=1e-12)
    assert exact.abs() > 1e-3


def test_masked_adapts_what_is_selected_and_is_differentiated_through_all():
    step = masked(descend(loss, sgd(LR)), lambda name: name.startswith("body"))
    adapted = repeat(step, 2)(params(), data())
    assert torch.equal(adapted["head"], params()["head"])

    def plain(at):
        body, head = at["body"], at["head"]
        for _ in range(2):
            value = loss({"body": body, "head": head}, data())
            w, b = torch.autograd.grad(value, [body["w"], body["b"]], create_graph=True)
            body = {"w": body["w"] - LR * w, "b": body["b"] - LR * b}
        return outer({"body": body, "head": head})

    assert agree(by_func(lambda at: outer(repeat(step, 2)(at, data()))), by_autograd(plain))


def test_masks_compose_and_commute_with_the_other_transforms():
    step = descend(loss, sgd(LR))
    both = masked(masked(step, lambda name: name.startswith("body")), lambda name: name.endswith("b"))
    adapted = both(params(), data())
    assert torch.equal(adapted["body"]["w"], params()["body"]["w"])
    assert not torch.equal(adapted["body"]["b"], params()["body"]["b"])

    def chosen(name):
        return name == "head"

    one, other = masked(clipped(step, 0.1), chosen), clipped(masked(step, chosen), 0.1)
    assert agree(one(params(), data()), other(params(), data()), 0)
    moved = tree.sub(one(params(), data()), params())
    assert torch.allclose(tree.norm(moved), torch.tensor(0.1 * LR, dtype=torch.float64), rtol=1e-12)
    assert agree(first_order(masked(step, chosen))(params(), data()), masked(step, chosen)(params(), data()), 0)


def test_clipping_shortens_long_gradients_and_leaves_short_ones():
    step = descend(loss, sgd(1.0))
    length = tree.norm(tree.sub(step(params(), data()), params())).item()
    short = tree.sub(clipped(step, 0.5 * length)(params(), data()), params())
    full = tree.sub(step(params(), data()), params())
    assert agree(short, tree.scale(full, 0.5))
    assert agree(clipped(step, 2 * length)(params(), data()), step(params(), data()), 0)


def test_clipping_is_differentiable_on_both_sides_and_at_zero():
    for bound in (0.05, 50.0):
        step = clipped(descend(loss, sgd(LR)), bound)

        def plain(at, bound=bound):
            gradients = torch.autograd.grad(loss(at, data()), tree.leaves(at), create_graph=True)
            length = torch.cat([gradient.reshape(-1) for gradient in gradients]).norm()
            factor = bound / length if length > bound else 1.0
            moved = [leaf - LR * factor * gradient for leaf, gradient in zip(tree.leaves(at), gradients, strict=True)]
            return outer(tree.unflatten(at, moved))

        assert agree(by_func(lambda at, step=step: outer(step(at, data()))), by_autograd(plain))
    flat = clipped(descend(lambda at, _: at.square().sum(), sgd(LR)), 1.0)
    gradient = torch.func.jacrev(lambda at: flat(at, data()))(torch.zeros(2))
    assert torch.allclose(gradient, (1 - 2 * LR) * torch.eye(2))


def test_the_proximal_loss_pulls_towards_its_anchor():
    anchor, at = params(2), params(3)
    offset = tree.ravel(at)[0] - tree.ravel(anchor)[0]
    expected = loss(at, data()) + 0.5 * 3.0 * offset.square().sum()
    assert torch.allclose(proximal(loss, anchor, strength=3.0)(at, data()), expected, rtol=1e-12)
    assert proximal(loss, at, strength=3.0)(at, data()) == loss(at, data())
    towards = torch.func.grad(lambda to: proximal(loss, to, strength=3.0)(at, data()))(anchor)
    assert agree(tree.ravel(towards)[0], -3.0 * offset)


@pytest.mark.parametrize("optimiser", [sgd(LR), adam(LR)], ids=["sgd", "adam"])
def test_a_path_holds_every_shorter_run_bitwise(optimiser):
    step = descend(loss, optimiser)
    rows = tree.unstack(path(step)(params(), data(), 3))
    assert len(rows) == 4
    assert all(agree(row, repeat(step, k)(params(), data()), 0) for k, row in enumerate(rows))


def test_finish_is_applied_once_to_each_row():
    def finish(at, support):
        return {**at, "count": support.x.sum() + at["head"].sum()}

    step = descend(loss, sgd(LR))
    bare = repeat(step, 2)(params(), data())
    finished = repeat(step, 2, finish=finish)(params(), data())
    assert agree({key: finished[key] for key in bare}, bare, 0)
    assert torch.equal(finished["count"], data().x.sum() + bare["head"].sum())
    rows = path(step, finish=finish)(params(), data(), 2)
    assert rows["count"].shape == (3,)
    assert torch.equal(rows["count"][-1], finished["count"])


def test_a_trajectory_takes_each_data_set_in_turn():
    batches = [data(seed) for seed in range(3)]
    rows = trajectory(descend(loss, sgd(LR)), params(), batches)
    start = tree.map(lambda leaf: leaf.clone().requires_grad_(), params())
    for k, row in enumerate(rows):
        assert agree(row, tree.detach(plain_loop(start, k, steps_of=batches)))
    backwards = trajectory(descend(loss, sgd(LR)), params(), batches[::-1])
    assert not agree(rows[-1], backwards[-1], 1e-6)


def test_a_trajectory_takes_a_bare_function_for_a_step():
    assert agree(repeat(lambda at, _: tree.scale(at, 0.5), 3)(params(), data()), tree.scale(params(), 0.125))


def test_an_optimiser_s_state_is_carried_from_step_to_step():
    step = descend(loss, momentum(LR, decay=0.9))
    restarted = params()
    for _ in range(3):
        restarted = step(restarted, data())
    assert not agree(repeat(step, 3)(params(), data()), restarted, 1e-3)
    plain = descend(loss, sgd(LR))
    restarted = params()
    for _ in range(3):
        restarted = plain(restarted, data())
    assert agree(repeat(plain, 3)(params(), data()), restarted, 0)


def test_vmap_over_tasks_is_a_loop():
    tasks = tree.stack([data(seed) for seed in range(3)])
    adapt = gradient_descent(loss, lr=LR, num_steps=2)
    batched = torch.vmap(adapt, in_dims=(None, 0))(params(), tasks)
    assert agree(batched, tree.stack([adapt(params(), data(seed)) for seed in range(3)]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gradient_descent(loss, lr=-0.1), "lr must be .*not -0.1"),
        (lambda: gradient_descent(loss, lr=float("nan")), "lr must be .*not nan"),
        (lambda: repeat(descend(loss, sgd(LR)), -1), "num_steps must be at least 0, not -1"),
        (lambda: clipped(descend(loss, sgd(LR)), 0.0), "max_norm must be above 0, not 0.0"),
        (lambda: proximal(loss, params(), strength=-1.0), "strength must be at least 0, not -1.0"),
        (lambda: proximal(loss, params(), strength=float("nan")), "strength must be at least 0, not nan"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_mask_that_selects_nothing_names_what_there_is():
    step = masked(descend(loss, sgd(LR)), lambda path: path == "elsewhere")
    with pytest.raises(ValueError, match=f"No leaf is selected.*{tree.paths(params())[0]}"):
        step(params(), data())
