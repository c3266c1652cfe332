"""A budget of seconds: what is allotted fits into it, and is all that fits on the ladder of halves."""

from hypothesis import given
from hypothesis import strategies as st

from metafunc.training.budget import Budget, Cost, allot

COSTS = st.builds(Cost, *3 * [st.floats(0.001, 1.0)])


@given(st.lists(st.tuples(COSTS, st.sampled_from([0, 60, 150, 800])), min_size=1, max_size=6), st.floats(0.1, 20_000.0))
def test_what_is_allotted_fits_and_could_not_be_doubled_for_the_cheapest(
    each: list[tuple[Cost, int]], seconds: float
) -> None:
    costs, wanted = [cost for cost, _ in each], [steps for _, steps in each]
    found = allot(costs, wanted, least=50, num_folds=3, seconds=seconds)
    kept = [(cost, steps) for cost, steps in zip(costs, found, strict=True) if steps is not None]
    assert kept
    whole = sum(3 * (c.setup + n * c.step + c.test) + c.setup + n * c.step + 3 * c.test for c, n in kept)
    assert whole <= seconds or len(kept) == 1
    for steps, most in zip(found, wanted, strict=True):
        assert steps is None or steps == most or (50 <= steps < most and most // steps >= 2)
    assert found == wanted or sum(c.whole(n, 3) for c, n in each) > seconds


def test_the_costliest_gives_way_first() -> None:
    costs = [Cost(0.0, 0.1, 0.0), Cost(0.0, 0.01, 0.0)]
    found = [
        allot(costs, [400, 400], least=100, num_folds=4, seconds=s) for s in (220.0, 219.0, 120.0, 70.0, 69.0, 1.0)
    ]
    assert found == [[400, 400], [200, 400], [200, 400], [100, 400], [None, 400], [None, 100]]


def test_a_budget_counts_from_its_beginning_by_its_clock() -> None:
    ticks = iter([5.0, 6.0, 70.0])
    budget = Budget(60.0, lambda: next(ticks))
    assert (budget.spent, budget.left) == (1.0, -5.0)
