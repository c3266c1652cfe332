"""The replacements for torch's fused operations: the same values, and derivatives that finite differences confirm."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from metafunc.nn import exact


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ones(*shape: int) -> Tensor:
    return torch.ones(*shape, dtype=torch.float64)


def weight_norm(functions):
    """Torch has it outside `torch.nn.functional`."""
    return torch._weight_norm if functions is F else functions.weight_norm


X, SCALE, SHIFT = randn(3, 2, 4), 1 + 0.3 * randn(2, seed=1), randn(2, seed=2)
ROWS, ROW_SCALE, ROW_SHIFT = randn(3, 4), 1 + 0.3 * randn(4, seed=1), randn(4, seed=2)
MEAN, VAR = randn(2, seed=3), randn(2, seed=4).exp()
Q, K, V = randn(2, 3, 4), randn(2, 3, 4, seed=1), randn(2, 3, 5, seed=2)
INDICES = torch.tensor([[0, 2, 1], [2, 2, 0]])
PAIRS = {
    "batch_norm": (
        lambda f, x, w, b: f.batch_norm(x, None, None, w, b, training=True),
        (X, SCALE, SHIFT),
    ),
    "batch_norm_running": (lambda f, x, w, b: f.batch_norm(x, MEAN, VAR, w, b, eps=0.01), (X, SCALE, SHIFT)),
    "batch_norm_plain": (lambda f, x: f.batch_norm(x, None, None, training=True), (X,)),
    "layer_norm": (lambda f, x, w, b: f.layer_norm(x, (4,), w, b), (ROWS, ROW_SCALE, ROW_SHIFT)),
    "layer_norm_two_axes": (lambda f, x, w, b: f.layer_norm(x, (2, 4), w, b), (X, randn(2, 4), randn(2, 4))),
    "layer_norm_plain": (lambda f, x: f.layer_norm(x, (4,), eps=0.1), (ROWS,)),
    "instance_norm": (lambda f, x, w, b: f.instance_norm(x, weight=w, bias=b), (X, SCALE, SHIFT)),
    "instance_norm_running": (
        lambda f, x, w, b: f.instance_norm(x, MEAN, VAR, w, b, use_input_stats=False),
        (X, SCALE, SHIFT),
    ),
    "instance_norm_plain": (lambda f, x: f.instance_norm(x), (X,)),
    "embedding": (lambda f, w: f.embedding(INDICES, w), (randn(3, 2),)),
    "embedding_padding": (lambda f, w: f.embedding(INDICES, w, padding_idx=-1).square(), (randn(3, 2),)),
    "attention": (lambda f, q, k, v: f.scaled_dot_product_attention(q, k, v), (Q, K, V)),
    "attention_scaled": (lambda f, q, k, v: f.scaled_dot_product_attention(q, k, v, scale=0.7), (Q, K, V)),
    "attention_causal": (lambda f, q, k, v: f.scaled_dot_product_attention(q, k, v, is_causal=True), (Q, K, V)),
    "attention_mask": (
        lambda f, q, k, v: f.scaled_dot_product_attention(q, k, v, attn_mask=torch.eye(3, dtype=torch.bool)),
        (Q, K, V),
    ),
    "attention_bias": (
        lambda f, q, k, v, m: f.scaled_dot_product_attention(q, k, v, attn_mask=m),
        (Q, K, V, randn(3, 3, seed=3)),
    ),
    "attention_grouped": (
        lambda f, q, k, v: f.scaled_dot_product_attention(q, k, v, enable_gqa=True),
        (randn(1, 4, 3, 4), randn(1, 2, 3, 4, seed=1), randn(1, 2, 3, 5, seed=2)),
    ),
    "weight_norm": (lambda f, v, g: weight_norm(f)(v, g), (ROWS, 1 + randn(3, 1, seed=5).square())),
    "weight_norm_inner_axis": (lambda f, v, g: weight_norm(f)(v, g, 1), (X, 1 + randn(1, 2, 1, seed=5).square())),
    "weight_norm_whole": (lambda f, v, g: weight_norm(f)(v, g, -1), (X, 1.5 * ones(1).sum())),
    "hardsigmoid": (lambda f, x: f.hardsigmoid(2 * x), (ROWS,)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_values_and_gradients_are_torchs(name):
    function, inputs = PAIRS[name]
    ours, theirs = (
        [leaf.clone().requires_grad_() for leaf in inputs],
        [leaf.clone().requires_grad_() for leaf in inputs],
    )
    mine, by_torch = function(exact, *ours), function(F, *theirs)
    torch.testing.assert_close(mine, by_torch, rtol=1e-12, atol=1e-13)
    weights = randn(*by_torch.shape, seed=7)
    # Torch's backward of hardsigmoid multiplies by one sixth in single precision, also in float64.
    rtol = 1e-7 if name == "hardsigmoid" else 1e-11
    torch.testing.assert_close(
        torch.autograd.grad((weights * mine).sum(), ours),
        torch.autograd.grad((weights * by_torch).sum(), theirs),
        rtol=rtol,
        atol=1e-13,
    )


@pytest.mark.parametrize("name", [name for name in PAIRS if "padding" not in name])
def test_finite_differences_confirm_both_derivatives(name):
    """The padding row's derivative is zero by definition, so finite differences say otherwise."""
    function, inputs = PAIRS[name]
    leaves = tuple(leaf.clone().requires_grad_() for leaf in inputs)
    assert torch.autograd.gradcheck(lambda *x: function(exact, *x), leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda *x: function(exact, *x), leaves, fast_mode=True)


def test_the_padding_row_has_no_derivative_of_any_order():
    weight = randn(3, 2)
    hessian = torch.func.hessian(lambda w: exact.embedding(INDICES, w, padding_idx=2).pow(3).sum())(weight)
    assert not hessian[2].any()
    assert not hessian[:, :, 2].any()
    assert hessian[0].any()


@given(shift=st.floats(-1e3, 1e3), scale=st.floats(0.1, 100), seed=st.integers(0, 10**6))
def test_moments_standardise(shift, scale, seed):
    x = shift + scale * randn(5, 3, 4, seed=seed)
    y = exact.normalise(x, *exact.moments(x), None, None, eps=0.0)
    mean, var = exact.moments(y)
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-10 * (1 + abs(shift) / scale))
    torch.testing.assert_close(var, ones(3), rtol=1e-9, atol=0)


def test_a_query_that_may_look_nowhere_sees_zero_and_has_a_finite_derivative():
    mask = torch.tensor([[True, False, False], [False, False, False], [True, True, True]])
    for given_mask in (mask, torch.zeros(3, 3).double().masked_fill(~mask, -torch.inf)):
        q = Q.clone().requires_grad_()
        output = exact.scaled_dot_product_attention(q, K, V, attn_mask=given_mask)
        torch.testing.assert_close(output, F.scaled_dot_product_attention(Q, K, V, attn_mask=given_mask))
        assert not output[:, 1].any()
        assert torch.autograd.grad(output.sum(), q)[0].isfinite().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact.moments(randn(1, 3)), "single value"),
        (lambda: exact.moments(randn(1, 3, 1, 1)), "single value"),
        (lambda: exact.instance_norm(randn(4, 3, 1)), "more than one position"),
        (lambda: exact.layer_norm(randn(3, 4), (3,)), r"over \(3,\).*shape \(3, 4\)"),
        (lambda: exact.batch_norm(X, MEAN, VAR, training=True), "running statistics"),
        (lambda: exact.batch_norm(X, MEAN, None), "running statistics"),
        (lambda: exact.instance_norm(X, MEAN, VAR), "running statistics"),
        (lambda: exact.embedding(INDICES, randn(3, 2), max_norm=1.0), "leave both off"),
        (lambda: exact.embedding(INDICES, randn(3, 2), scale_grad_by_freq=True), "leave both off"),
        (lambda: exact.scaled_dot_product_attention(Q, K, V, dropout_p=0.1), "dropout_p=0.1"),
        (lambda: exact.scaled_dot_product_attention(Q, K, V, torch.ones(3, 3).bool(), is_causal=True), "one of them"),
    ],
)
def test_misuse_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
