"""The machine that can be made to fail, and the folders that its commands start from: once for all tests."""

from collections.abc import Iterator

import pytest

from .corruption import Readers
from .jobs import WARM_UP, Bases
from .machine import Machine


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The warm process."""
    machine = Machine(tmp_path_factory.mktemp("shim"), WARM_UP)
    yield machine
    machine.close()


@pytest.fixture(scope="session")
def bases(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Bases:
    """What commands start from."""
    return Bases(machine, tmp_path_factory.mktemp("faults").resolve())


@pytest.fixture(scope="session")
def readers(bases: Bases) -> Readers:
    """Commands that read a run folder."""
    return Readers(bases)
