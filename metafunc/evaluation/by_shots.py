"""How good predictions are with so many support rows: a meta-test for each number, on the same tasks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from metafunc.checks import at_least
from metafunc.data.fewer_shots import fewer_shots
from metafunc.data.sampling import generator_for
from metafunc.evaluation.meta_test import Evaluation
from metafunc.types import TaskFamily


def evaluate_by_shots(
    family: TaskFamily, shots: Sequence[int], meta_test: Callable[[TaskFamily], Evaluation]
) -> dict[int, Evaluation]:
    """Meta-tests of the same functions on the same query sets, with nested support sets.

    What a meta-test fits on validation tasks, such as a noise scale, it fits on tasks with as many support rows.

    Args:
        family: where the tasks come from, with as many support rows as the largest number.
        shots: numbers of support rows, or for classes of rows of each class.
        meta_test: from a family to its meta-test.

    Returns:
        The meta-tests by number of support rows, in increasing order.

    Raises:
        ValueError: no number is given, one is negative, or the tasks have not so many support rows.

    Examples:
        >>> import torch, metafunc
        >>> from metafunc import algorithms, data, likelihood, nn
        >>> learner = algorithms.alpaca(nn.mlp((1,), 40), likelihood.gaussian())
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> found = evaluate_by_shots(
        ...     data.sinusoid(num_shots=5),
        ...     (1, 5),
        ...     lambda family: metafunc.evaluate(learner, meta, family, num_tasks=20, num_steps=1),
        ... )
        >>> [(number, result.num_tasks) for number, result in found.items()]
        [(1, 20), (5, 20)]
    """
    if not shots:
        raise ValueError("No number of shots is given: give one or more, such as 1 2 5 10.")
    numbers = sorted({*shots})
    at_least(0, shots=numbers[0])
    fewer_shots(family, numbers[-1]).test(generator_for(0, "test", 0), 1)
    return {number: meta_test(fewer_shots(family, number)) for number in numbers}


def rows(found: Mapping[int, Evaluation], step: int | None) -> list[dict[str, Any]]:
    """For each number of support rows the metrics after a number of steps, in the form of JSON.

    Args:
        found: the meta-tests by number of support rows.
        step: of adaptation; None, or more than there are: the last one.
    """
    each = []
    for shots, result in found.items():
        described = result.to_json()
        by_step = described["by_step"]
        row = {"shots": shots, **by_step[-1 if step is None or step >= len(by_step) else step]}
        each.append(row | {name: described[name] for name in ("autoregressive",) if name in described})
    return each
