"""Attention against torch's own modules in double precision, masks against leaving rows out, derivatives to second."""

import pytest
import torch
from torch.testing import assert_close

from metafunc import tree
from metafunc.nn.attention import Transformer, attend
from metafunc.testing.numerics.differences import richardson

WIDTH, HEADS, HIDDEN, LAYERS = 8, 2, 6, 3
NETWORK = Transformer(WIDTH, HEADS, LAYERS, HIDDEN)
KEEP = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.float64)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def params():
    start = NETWORK.init(torch.Generator().manual_seed(0))
    return {name: leaf.double() + 0.1 * randn(*leaf.shape, seed=i) for i, (name, leaf) in enumerate(start.items())}


def torch_layer(values, i):
    """The same layer as torch has it."""
    module = torch.nn.TransformerEncoderLayer(
        WIDTH, HEADS, HIDDEN, dropout=0.0, activation="gelu", batch_first=True, dtype=torch.float64
    )
    own = {name.removeprefix(f"block{i}."): leaf for name, leaf in values.items() if name.startswith(f"block{i}.")}
    state = {
        "self_attn.in_proj_weight": torch.cat([own[f"{part}.weight"] for part in ("query", "key", "value")]),
        "self_attn.in_proj_bias": torch.cat([own[f"{part}.bias"] for part in ("query", "key", "value")]),
        "self_attn.out_proj.weight": own["merge.weight"],
        "self_attn.out_proj.bias": own["merge.bias"],
        "linear1.weight": own["layer1.weight"],
        "linear1.bias": own["layer1.bias"],
        "linear2.weight": own["layer2.weight"],
        "linear2.bias": own["layer2.bias"],
        "norm1.weight": own["norm1.scale"],
        "norm1.bias": own["norm1.shift"],
        "norm2.weight": own["norm2.scale"],
        "norm2.bias": own["norm2.shift"],
    }
    module.load_state_dict(state)
    return module


def joint_pass(values, context, queries, keep=None):
    """All rows through torch's layers together, where every row may look at the context alone."""
    h = torch.cat([context, queries])[None]
    hidden = torch.ones(h.shape[1], h.shape[1], dtype=torch.bool)
    hidden[:, : len(context)] = False if keep is None else keep == 0
    for i in range(1, LAYERS + 1):
        h = torch_layer(values, i)(h, src_mask=hidden)
    return h[0, len(context) :]


@pytest.mark.parametrize("keep", [None, KEEP])
def test_reading_from_memory_is_the_joint_pass_of_torch_s_layers(keep):
    values, context, queries = params(), randn(5, WIDTH, seed=1), randn(4, WIDTH, seed=2)
    found = NETWORK.read(values, queries, NETWORK.remember(values, context, () if keep is None else keep))
    assert_close(found, joint_pass(values, context, queries, keep), rtol=1e-11, atol=1e-11)
    assert not torch.allclose(found, joint_pass(values, context.flip(1), queries, keep), rtol=1e-3)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_a_head_is_torch_s_attention(heads):
    queries, keys, values = (randn(n, WIDTH, seed=i) for i, n in enumerate((4, 5, 5)))
    module = torch.nn.MultiheadAttention(WIDTH, heads, bias=False, batch_first=True, dtype=torch.float64)
    eye = torch.eye(WIDTH, dtype=torch.float64)
    module.load_state_dict({"in_proj_weight": eye.repeat(3, 1), "out_proj.weight": eye})
    expected, _ = module(queries[None], keys[None], values[None], key_padding_mask=(KEEP == 0)[None])
    assert_close(attend(queries, keys, values, KEEP, num_heads=heads), expected[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("garbage", [0.0, 1e4])
def test_masked_rows_are_absent_rows_to_the_second_derivative(garbage):
    values, queries = params(), randn(4, WIDTH, seed=2)
    context = torch.where(KEEP[:, None] > 0, randn(5, WIDTH, seed=1), garbage)

    def loss(at, rows, mask):
        return NETWORK.read(at, queries, NETWORK.remember(at, rows, mask)).square().sum()

    along = tree.map(lambda leaf: randn(*leaf.shape, seed=3), values)

    def derivatives(rows, mask):
        gradient = torch.func.grad(lambda at: loss(at, rows, mask))
        return torch.func.jvp(gradient, (values,), (along,))

    kept, masked = derivatives(context[KEEP > 0], ()), derivatives(context, KEEP)
    for found, expected in zip(tree.leaves(masked), tree.leaves(kept), strict=True):
        assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("rows", "mask"), [(0, ()), (0, torch.zeros(0).double()), (5, torch.zeros(5).double())])
def test_nothing_to_read_is_zero_and_has_finite_derivatives(rows, mask):
    values, queries, context = params(), randn(4, WIDTH, seed=2), randn(rows, WIDTH, seed=1)
    assert attend(queries, context, context, mask, num_heads=HEADS).eq(0).all()

    def loss(at):
        return NETWORK.read(at, queries, NETWORK.remember(at, context, mask)).square().sum()

    gradient, second = torch.func.jvp(torch.func.grad(loss), (values,), (tree.map(torch.ones_like, values),))
    assert all(leaf.isfinite().all() for leaf in tree.leaves((gradient, second)))


def test_gradient_and_hessian_are_those_of_differences():
    values, queries, context = params(), randn(4, WIDTH, seed=2), randn(5, WIDTH, seed=1)

    def loss(at):
        return NETWORK.read(at, queries, NETWORK.remember(at, context, KEEP)).tanh().sum()

    u, v = ({name: randn(*leaf.shape, seed=s) for name, leaf in values.items()} for s in (5, 6))
    gradient, second = torch.func.jvp(torch.func.grad(loss), (values,), (v,))
    limit = richardson(loss, values, u)
    assert abs(tree.dot(gradient, u) - limit.value) <= limit.error + 1e-9
    limit = richardson(lambda at: tree.dot(torch.func.grad(loss)(at), u), values, v)
    assert abs(tree.dot(second, u) - limit.value) <= limit.error + 1e-8
    assert abs(tree.dot(second, u)) > 1e-3


def test_reverse_over_reverse_under_vmap_is_a_loop_of_forward_over_reverse():
    values, queries = params(), randn(3, 4, WIDTH, seed=2)
    contexts, masks = randn(3, 5, WIDTH, seed=1), torch.stack([KEEP, 1 - KEEP, 0 * KEEP])
    along = tree.map(lambda leaf: randn(*leaf.shape, seed=3), values)

    def gradient(at, rows, context, mask):
        return torch.func.grad(lambda p: NETWORK.read(p, rows, NETWORK.remember(p, context, mask)).square().sum())(at)

    def backwards(rows, context, mask):
        return torch.func.grad(lambda at: tree.dot(gradient(at, rows, context, mask), along))(values)

    found = torch.vmap(backwards)(queries, contexts, masks)
    for i in range(3):
        one = torch.func.jvp(lambda at, i=i: gradient(at, queries[i], contexts[i], masks[i]), (values,), (along,))[1]
        for leaf, expected in zip(tree.leaves(tree.at(found, i)), tree.leaves(one), strict=True):
            assert_close(leaf, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((8, 3, 1, 4), "3 heads cannot share a width of 8"), ((8, 2, 0, 4), "num_layers must be at least 1, not 0")],
)
def test_sizes_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        Transformer(*sizes)
