"""Trees as a vector space: the laws, the order of leaves, and what goes around comes around."""

from collections import OrderedDict
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils import _pytree as pytree

from metafunc import tree


class Pair(NamedTuple):
    first: Tensor
    second: object


def sample(seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return {"a": {"w": draw(2, 3), "b": draw(3)}, "pair": Pair(draw(), [draw(1), ()]), "tuple": (draw(2),)}


def same(first, second):
    return tree.paths(first) == tree.paths(second) and all(
        torch.equal(x, y) for x, y in zip(tree.leaves(first), tree.leaves(second), strict=True)
    )


def near(first, second):
    return torch.allclose(tree.ravel(first)[0], tree.ravel(second)[0], rtol=1e-12, atol=1e-12)


def test_paths_name_the_leaves_in_their_order():
    assert tree.paths(sample()) == ["a.w", "a.b", "pair.first", "pair.second.0", "tuple.0"]
    assert [leaf.shape for leaf in tree.leaves(sample())] == [(2, 3), (3,), (), (1,), (2,)]
    assert tree.size(sample()) == 6 + 3 + 1 + 1 + 2


class Checked(NamedTuple("Checked", [("leaf", Tensor)])):
    """A node that refuses anything else."""

    def __new__(cls, leaf):
        assert isinstance(leaf, Tensor)
        return super().__new__(cls, leaf)


def test_every_kind_of_node_is_walked_as_torch_does():
    one, two = torch.ones(1), torch.zeros(2)
    trees = [one, (), {}, OrderedDict(b=one, a=two), [one, (two, ())], Pair(one, {"x": [two]}), Checked(one)]
    for each in trees:
        assert all(x is y for x, y in zip(tree.leaves(each), pytree.tree_leaves(each), strict=True))
        doubled, right = tree.map(torch.neg, each), pytree.tree_map(torch.neg, each)
        assert pytree.tree_structure(doubled) == pytree.tree_structure(right)
        assert all(map(torch.equal, pytree.tree_leaves(doubled), pytree.tree_leaves(right)))
    with pytest.raises(ValueError, match="2 leaves, and 1 were given"):
        tree.unflatten({"a": one, "b": two}, [one])


def test_map_keeps_the_class_of_every_node():
    mapped = tree.map(torch.neg, sample())
    assert isinstance(mapped["pair"], Pair)
    assert mapped["pair"].second[1] == ()
    assert same(tree.map(torch.neg, mapped), sample())


@given(st.integers(0, 99), st.integers(0, 99), st.floats(-10, 10))
def test_trees_are_a_vector_space(one, other, factor):
    x, y = sample(one), sample(other)
    assert near(tree.add(x, y), tree.add(y, x))
    assert near(tree.sub(tree.add(x, y), y), x)
    assert near(tree.add_scaled(x, factor, y), tree.add(x, tree.scale(y, factor)))
    assert near(tree.add(x, tree.zeros_like(x)), x)


@given(st.integers(0, 99), st.integers(0, 99))
def test_dot_is_the_inner_product_of_the_ravelled_vectors(one, other):
    x, y = sample(one), sample(other)
    flat_x, flat_y = tree.ravel(x)[0], tree.ravel(y)[0]
    assert torch.allclose(tree.dot(x, y), flat_x @ flat_y, rtol=1e-12)
    assert torch.allclose(tree.norm(x), torch.linalg.vector_norm(flat_x), rtol=1e-12)


def test_ravel_goes_there_and_back():
    vector, unravel = tree.ravel(sample())
    assert vector.shape == (13,)
    assert same(unravel(vector), sample())
    assert not same(unravel(vector.flip(0)), sample())


def test_stack_goes_there_and_back():
    rows = [sample(seed) for seed in range(3)]
    stacked = tree.stack(rows)
    assert stacked["a"]["w"].shape == (3, 2, 3)
    assert all(same(x, y) for x, y in zip(tree.unstack(stacked), rows, strict=True))


def test_partition_takes_out_and_puts_back():
    chosen, merge = tree.partition(sample(), lambda path: path.startswith("a."))
    assert list(chosen) == ["a.w", "a.b"]
    assert same(merge(chosen), sample())
    merged = merge({"a.b": torch.zeros(3, dtype=torch.float64)})
    assert merged["a"]["b"].eq(0).all()
    assert same({"w": merged["a"]["w"], "pair": merged["pair"]}, {"w": sample()["a"]["w"], "pair": sample()["pair"]})


def test_detach_keeps_values_and_drops_derivatives():
    gradient = torch.func.grad(lambda x: tree.dot({"a": x}, tree.detach({"a": x})))(torch.tensor([3.0]))
    assert gradient.tolist() == [3.0]  # and not 6


def test_nothing_is_changed_in_place():
    x, y = sample(0), sample(1)
    tree.add_scaled(x, 2.0, y)
    tree.scale(x, 2.0)
    tree.zeros_like(x)
    assert same(x, sample(0))
    assert same(y, sample(1))


def test_trees_of_different_structure_do_not_add():
    with pytest.raises(ValueError, match=r".+"):
        tree.add({"a": torch.zeros(1)}, {"b": torch.zeros(1)})


def test_the_order_of_dict_entries_means_nothing():
    first = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0, 4.0])}
    second = {"b": torch.tensor([5.0, 6.0]), "a": torch.tensor([7.0, 8.0])}
    by_position = sum((x * y).sum() for x, y in zip(tree.leaves(first), tree.leaves(second), strict=True))
    assert tree.dot(first, second) == 7 + 16 + 15 + 24 != by_position
    assert tree.ravel(tree.aligned(first, second))[0].tolist() == [7, 8, 5, 6]
    assert tree.add(first, second)["a"].tolist() == [8, 10]


def test_two_leaves_of_one_path_are_refused():
    with pytest.raises(ValueError, match=r"both called 'a.b'"):
        tree.partition({"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}}, lambda path: True)


def test_an_index_gives_a_row_and_a_slice_some():
    stacked = {"w": torch.arange(6).reshape(3, 2), "b": (torch.arange(3),)}
    assert [leaf.tolist() for leaf in tree.leaves(tree.at(stacked, 1))] == [[2, 3], 1]
    assert [leaf.tolist() for leaf in tree.leaves(tree.at(stacked, slice(1, None)))] == [[[2, 3], [4, 5]], [1, 2]]


def test_particles_are_rows_in_the_order_of_ravel():
    stacked = {"w": torch.randn(3, 2, 2), "b": torch.randn(3)}
    expected = torch.stack([tree.ravel(particle)[0] for particle in tree.unstack(stacked)])
    assert torch.equal(tree.rows(stacked), expected)


def test_the_safe_root_is_the_root_with_no_derivative_at_zero():
    squares = torch.tensor([0.0, 0.25, 9.0], dtype=torch.float64)
    assert tree.safe_sqrt(squares).tolist() == [0.0, 0.5, 3.0]
    first = torch.func.grad(lambda at: tree.safe_sqrt(at).sum())
    assert first(squares).tolist() == [0.0, 1.0, 0.5 / 3]
    second = torch.func.grad(lambda at: first(at).sum())(squares)
    assert second.isfinite().all()
    assert second[0] == 0
