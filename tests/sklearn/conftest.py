"""Priors that all tests of the estimators share: a few steps on lines, and on half-planes."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray


class Rows(NamedTuple):
    """Rows of many tasks."""

    x: NDArray[np.float64]
    y: NDArray[Any]
    tasks: NDArray[np.int64]


@pytest.fixture(scope="session")
def lines() -> Rows:
    """Lines through two inputs, in units far from 0 and 1."""
    random = np.random.default_rng(0)
    tasks = np.repeat(np.arange(40), 15)
    gains = random.normal(size=(40, 2))
    x = random.normal(size=(600, 2)) * [5.0, 0.01] + [100.0, -3.0]
    standard = (x - [100.0, -3.0]) / [5.0, 0.01]
    return Rows(x, 1000.0 + 50.0 * (gains[tasks] * standard).sum(1) + random.normal(size=600), tasks)


@pytest.fixture(scope="session")
def halves() -> Rows:
    """Three classes by two parallel lines of a random direction."""
    random = np.random.default_rng(1)
    tasks = np.repeat(np.arange(40), 30)
    angles, x = random.uniform(0, 2 * np.pi, size=40)[tasks], random.normal(size=(1200, 2))
    along = np.cos(angles) * x[:, 0] + np.sin(angles) * x[:, 1]
    return Rows(x, np.array(["high", "low", "middle"])[np.where(along > 0.5, 0, np.where(along < -0.5, 1, 2))], tasks)


@pytest.fixture(scope="session")
def alpaca(lines: Rows) -> Any:
    from metafunc.sklearn import meta_train

    return meta_train(*lines[:2], tasks=lines.tasks, num_shots=5, num_queries=5, steps=200, outer_lr=0.01)


@pytest.fixture(scope="session")
def maml(lines: Rows) -> Any:
    from metafunc.sklearn import meta_train

    return meta_train(
        *lines[:2], tasks=lines.tasks, algorithm="maml", num_shots=5, num_queries=5, steps=20, num_steps=2
    )


def of_classes(halves: Rows, algorithm: str, **settings: Any) -> Any:
    from metafunc.sklearn import meta_train

    return meta_train(
        *halves[:2], tasks=halves.tasks, algorithm=algorithm, num_shots=9, num_queries=9, steps=20, **settings
    )


@pytest.fixture(scope="session")
def protonet(halves: Rows) -> Any:
    return of_classes(halves, "protonet")


@pytest.fixture(scope="session")
def anil(halves: Rows) -> Any:
    return of_classes(halves, "anil", num_steps=2)
