"""What ranks settle before they begin: that none of them refuses to, and that they are to do the same."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from metafunc.execution.distributed import RankLost, Ranks


class RefusedElsewhere(Exception):  # noqa: N818 - it names what happened
    """Another rank cannot go on, and says why.

    Args:
        kind: the name of its exception.
        message: what it says.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Agreement:
    """What ranks settle before they begin.

    Args:
        ranks: who they are.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks, self.open = ranks, ranks.size > 1

    def reach(self, value: Any = None) -> list[Any]:
        """Wait until all ranks are here. Returns what each of them gives, as JSON.

        Raises:
            ValueError: another rank has raised one.
            RefusedElsewhere: another rank has raised something else.
        """
        if not self.open:
            return [value] * self.ranks.size
        said = self.ranks.tell({"value": value})
        for rank, answer in enumerate(said):
            if "message" in answer:
                self.open = False
                where = "" if rank == 0 else f"On rank {rank}: "
                kind, message = answer["kind"], f"{where}{answer['message']}"
                raise everywhere(ValueError(message) if kind is None else RefusedElsewhere(kind, message))
        return [answer["value"] for answer in said]

    def refuse(self, error: Exception) -> None:
        """Tell the others, who wait or will, that this rank cannot go on."""
        if not self.open or getattr(error, "everywhere", False):
            return
        self.open = False
        # A damaged file is another matter than a wrong argument, though its error is a ValueError too.
        kind = None if type(error) is ValueError else type(error).__name__
        self.ranks.tell({"kind": kind, "message": str(error)})
        everywhere(error)

    def alike(self, value: Mapping[str, Any]) -> None:
        """Hold what the ranks are against each other.

        Args:
            value: by what it is called.

        Raises:
            ValueError: two differ.
        """
        said = self.reach(value)
        for rank, other in enumerate(said):
            for name, here, there in _differences(said[0], other):
                raise everywhere(
                    ValueError(
                        f"The ranks do not agree: {name} is {_short(here)} on rank 0 and {_short(there)} on rank "
                        f"{rank}. Start all of them with the same."
                    )
                )

    def close(self) -> None:
        """Wait until all ranks are here, and end: what a rank raises from now on is its own."""
        self.reach()
        self.open = False


def everywhere(error: Exception) -> Exception:
    """Mark an error that all ranks raise, so that one of them shows it."""
    error.everywhere = True  # type: ignore[attr-defined]  # for what shows it
    return error


def _differences(first: Any, other: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """What differs between two values from JSON, by the path of its keys."""
    if isinstance(first, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys((*first, *other)):
            yield from _differences(first.get(key), other.get(key), f"{name}.{key}" if name else key)
    elif first != other:
        yield name, first, other


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


@contextmanager
def agreement(ranks: Ranks) -> Iterator[Agreement]:
    """What has to be settled before ranks begin: what one of them raises meanwhile, all raise, so that none waits.

    Examples:
        >>> from metafunc.execution.distributed import ALONE
        >>> from metafunc.execution.rank_agreement import agreement
        >>> with agreement(ALONE) as settled:
        ...     settled.reach(3)
        [3]
    """
    found = Agreement(ranks)
    try:
        yield found
    except RankLost:
        raise
    except Exception as error:
        found.refuse(error)
        raise
