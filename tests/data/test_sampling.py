"""A task is a function of (seed, split, step, index) and of nothing else."""

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metafunc import tree
from metafunc.checks import at_least
from metafunc.data.episodes import Rows, episodes
from metafunc.data.sampling import Grouped, between, distinct, generator_for, redraw, replayed, sampler
from metafunc.types import Batch, Task

COUNTS = st.integers(1, 70)


def echo(width: int):
    return sampler(width, lambda u: Task(Batch(u, u), Batch(u, u)))


@settings(max_examples=150, deadline=None)
@given(width=st.integers(1, 40), few=COUNTS, many=COUNTS, seed=st.integers(0, 2**31))
def test_a_row_does_not_depend_on_how_many_follow(width, few, many, seed):
    few, many = sorted((few, many))
    first, second = (echo(width)(torch.Generator().manual_seed(seed), n).support.x for n in (few, many))
    assert torch.equal(first, second[:few])


def test_normals_would_depend_on_it():
    """The wrong twin: torch's own normals fill blocks of 16, so a longer draw changes its first rows."""
    few, many = (torch.randn(n, 3, generator=torch.Generator().manual_seed(0)) for n in (5, 6))
    assert not torch.equal(few, many[:5])


@settings(deadline=None)
@given(seed=st.integers(), split=st.text(max_size=8), step=st.integers(0), index=st.integers(0, 20))
def test_any_task_can_be_redrawn(seed, split, step, index):
    sample = echo(5)
    tasks = sample(generator_for(seed, split, step), 30)
    again = redraw(sample, seed, split, step, index)
    assert all(torch.equal(a[index], b) for a, b in zip(tree.leaves(tasks), tree.leaves(again), strict=True))


def test_neighbouring_steps_splits_and_seeds_have_different_generators():
    triples = itertools.product(range(5), ("train", "validation", "test"), range(200))
    draws = [torch.rand((), dtype=torch.float64, generator=generator_for(*triple)).item() for triple in triples]
    assert len(set(draws)) == len(draws)


def test_drawing_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    redraw(echo(3), 0, "train", 1, 2)
    assert torch.equal(before, torch.get_rng_state())


def test_the_generator_keeps_32_bits_of_its_seed():
    """Why `generator_for` passes four bytes: torch would drop the others silently."""
    low, high = (torch.rand(4, generator=torch.Generator().manual_seed(s)) for s in (5, 5 + 2**40))
    assert torch.equal(low, high)


@settings(max_examples=100)
@given(data=st.data(), k=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_distinct_agrees_with_drawing_from_a_hat(data, k, seed):
    sizes = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=5))
    uniforms = torch.rand(len(sizes), k, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    for row, size, chosen in zip(
        uniforms.tolist(), sizes, distinct(uniforms, torch.tensor(sizes)).tolist(), strict=True
    ):
        hat = list(range(size))
        assert chosen == [hat.pop(int(u * len(hat))) if hat else j for j, u in enumerate(row)]


def test_distinct_is_uniform_over_ordered_choices():
    uniforms = torch.rand(24_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    counts = Counter(map(tuple, distinct(uniforms, torch.full((24_000,), 4)).tolist()))
    assert len(counts) == 12
    expected = 2000
    # A chi-square with 11 degrees of freedom exceeds 31.3 with probability 0.001.
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 31.3


def test_distinct_at_the_largest_uniform_stays_in_range():
    top = torch.full((3,), 1 - 2**-53, dtype=torch.float64)
    assert distinct(top, torch.tensor(3)).tolist() == [2, 1, 0]


def test_between_spans_its_interval():
    assert between(torch.tensor([0.0, 0.5]), -5.0, 5.0).tolist() == [-5, 0]


def test_at_least_names_the_argument():
    with pytest.raises(ValueError, match="num_shots must be at least 1, not 0"):
        at_least(1, num_queries=3, num_shots=0)


def test_groups_are_what_the_episodes_are_of():
    first = Batch(torch.arange(3.0)[:, None], torch.zeros(3, 1))
    sample = replayed(Task(first, first))
    assert isinstance(sample, Grouped)
    tasks = sample(generator_for(0, "test", 0), 50)
    groups = sample.groups(generator_for(0, "test", 0), 50)
    assert torch.equal(groups[:, 0].float(), tasks.query.x[:, 0])
    assert not torch.equal(sample.groups(generator_for(1, "test", 0), 50), groups)
    assert torch.equal(sample.groups(generator_for(0, "test", 0), 20), groups[:20])


@pytest.mark.parametrize("shots", [2, (1, 3)])
def test_groups_of_episodes_are_their_classes(shots):
    values = torch.arange(6.0).repeat_interleave(8)[:, None]
    rows = Rows(values, torch.arange(0, 48, 8), torch.full((6,), 8))
    sample = episodes(rows, torch.tensor([1, 3, 5]), num_ways=2, num_shots=shots, num_queries=2)
    assert isinstance(sample, Grouped)
    tasks, groups = (draw(generator_for(0, "test", 0), 30) for draw in (sample, sample.groups))
    assert torch.equal(groups.float(), tasks.query.x[:, ::2, 0])
    assert sample.of == "classes"
