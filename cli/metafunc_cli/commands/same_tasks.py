"""The tasks that the learners of a comparison are tested on are the same: made so, where presets differ, or refused."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metafunc_cli.display.screen import Screen, refusals
from metafunc_cli.errors import UsageError
from metafunc_cli.settings.comparison_options import Comparison
from metafunc_cli.settings.compose import Request, plain

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


def common(screen: Screen, requests: Mapping[str, Request], owned: Mapping[str, Sequence[str]]) -> dict[str, Request]:
    """One protocol for all: the tasks of the first algorithm, whose preset or options decide, and what was given.

    Args:
        screen: where it is said whose tasks these are, if the others' presets ask for others.
        requests: what `train` would be asked for, by algorithm.
        owned: the flags, as `train` has them, that were given for one algorithm alone, by its name.
    """
    first, *others = requests
    data = requests[first].settings.data
    found = {first: requests[first]}
    given_up: dict[str, dict[str, Any]] = {}
    for algorithm in others:
        settings = requests[algorithm].settings
        own = {
            field.name
            for field in dataclasses.fields(data)
            if f"--data.{field.name.replace('_', '-')}" in owned.get(algorithm, ())
        }
        changed = dataclasses.replace(data, **{name: getattr(settings.data, name) for name in own})
        differing = {
            field.name: getattr(settings.data, field.name)
            for field in dataclasses.fields(data)
            if plain(getattr(settings.data, field.name)) != plain(getattr(changed, field.name))
        }
        if differing:
            given_up[algorithm] = differing
        found[algorithm] = dataclasses.replace(
            requests[algorithm], settings=dataclasses.replace(settings, data=changed)
        )
    if given_up:
        screen.tell(_said(requests[first], data, given_up))
    return found


def _said(first: Request, data: Any, given_up: Mapping[str, Mapping[str, Any]]) -> str:
    """Whose tasks are taken for all, and what the others' would have been."""
    names = dict.fromkeys(name for differing in given_up.values() for name in differing)
    taken = ", ".join(f"{name} {_word(getattr(data, name))}" for name in names)
    rest = "; ".join(
        f"{algorithm} would have had {', '.join(f'{name} {_word(value)}' for name, value in differing.items())}"
        for algorithm, differing in given_up.items()
    )
    whose = f"of {first.settings.names['algorithm']}" + (f" (preset {first.preset.name})" if first.preset else "")
    flag = next(iter(names)).replace("_", "-")
    return f"note: all have the tasks {whose}: {taken}. By itself {rest}. --data.{flag} and the like decide for all."


def _word(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
