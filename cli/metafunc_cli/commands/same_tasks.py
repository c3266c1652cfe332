"""Whether the learners of a comparison are tested on the same tasks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metafunc_cli.display.screen import refusals
from metafunc_cli.errors import UsageError
from metafunc_cli.settings.options import Comparison

if TYPE_CHECKING:
    from metafunc.types import TaskFamily


def check_same_tasks(each: "Sequence[tuple[str, TaskFamily, Mapping[str, Any]]]", asked: Comparison) -> None:
    """Look at a few of the tasks that learners are tested on: their settings need not show whether they are the same.

    Args:
        each: for every row its name, its task family and that family's settings.
        asked: which split, and with what seed.

    Raises:
        UsageError: two rows have other tasks, or a family has no such split.
    """
    import torch

    from metafunc import tree
    from metafunc.data import generator_for
    from metafunc.evaluation.scoring import sampler_of

    def look(family: "TaskFamily") -> Any:
        with refusals():
            return sampler_of(family, asked.split)(generator_for(asked.test_seed, asked.split, 0), 2)

    name, family, others = each[0]
    first = tree.leaves(look(family))
    for row, family, mine in each[1:]:
        leaves = tree.leaves(look(family))
        if len(leaves) != len(first) or not all(torch.equal(a, b) for a, b in zip(first, leaves, strict=True)):
            differing = [setting for setting in {**others, **mine} if others.get(setting) != mine.get(setting)]
            raise UsageError(
                f"{row} and {name} have other tasks to be tested on (they differ in "
                f"{', '.join(f'{s}: {mine.get(s)} and {others.get(s)}' for s in differing)}), and paired differences "
                "need the same ones."
            )
