"""When a run has switched from traced graphs to compiled code."""

import hashlib
from typing import NamedTuple

from metafunc.execution.tracing import Signature


class Halted(Exception):  # noqa: N818 - it names what happened
    """A signal came while a step waited for its code; the step has not been taken."""


class Switch(NamedTuple):
    """A run's switch from traced graphs to compiled code.

    Args:
        step: the first compiled step.
        arguments: a sum of the shapes and types that the code is for.
    """

    step: int
    arguments: str


def sum_of(key: Signature) -> str:
    """A sum of shapes and types."""
    return hashlib.sha256(str(key).encode()).hexdigest()[:16]
