"""A command that several ranks share: started as so many processes of itself, or one of them already."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from metafunc_cli import launch
from metafunc_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metafunc.execution.distributed import Ranks
    from metafunc.execution.rank_agreement import Agreement
    from metafunc.types import TaskFamily


def shared(argv: Sequence[str], asked: int, command: "Callable[[Ranks], int]") -> int:
    """Run a command on the ranks that are to share it.

    Args:
        argv: the command line, with the command's name.
        asked: how many ranks; of those that torchrun has started, one stands for as many as there are.
        command: what each of them does.

    Returns:
        The exit code.

    Raises:
        UsageError: there cannot be so many.
    """
    if asked < 1:
        raise UsageError(f"--ranks must be at least 1, not {asked}.")
    if asked > 1 and not launch.is_rank():
        return launch.launch(argv, asked)
    if launch.is_rank() and asked not in (1, size := int(os.environ["WORLD_SIZE"])):  # before one waits for another
        raise UsageError(f"There are {size} ranks already: leave out --ranks {asked}.")
    from metafunc.execution.distributed import join

    with join() as ranks:
        return command(ranks)


def hold_alike(settled: "Agreement", meta: Any, config: "Mapping[str, Any]", family: "TaskFamily") -> None:
    """Hold ranks against each other that have loaded the same run.

    Raises:
        ValueError: two differ in versions, processors, data, meta-parameters or what they are to do.
    """
    from metafunc.execution.device import device_of
    from metafunc.training.environment import environment
    from metafunc.training.together import comparable, sum_of

    if settled.ranks.size > 1:
        here = environment(family, device=device_of("cpu"), threads=1)
        settled.alike({**comparable(here, config), "the sum of the meta-parameters": sum_of(meta)})
