"""Which device a process takes."""

import importlib

import pytest
import torch

import metafunc
from metafunc import algorithms, data, likelihood, nn
from metafunc.execution.device import device_of
from metafunc.execution.distributed import Ranks


@pytest.fixture
def _two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "empty", lambda *_, device: None)


@pytest.mark.usefixtures("_two_gpus")
@pytest.mark.parametrize("name", ["auto", "cuda", torch.device("cuda")])
def test_the_ranks_of_a_machine_take_its_devices_in_turn(name: str | torch.device) -> None:
    assert [str(device_of(name, rank)) for rank in range(4)] == ["cuda", "cuda:1", "cuda", "cuda:1"]


@pytest.mark.usefixtures("_two_gpus")
def test_a_device_that_is_named_with_its_number_is_taken_by_all() -> None:
    assert [str(device_of("cuda:0", rank)) for rank in range(2)] == ["cuda:0"] * 2
    assert device_of("cpu", 1) == torch.device("cpu")


@pytest.mark.usefixtures("_two_gpus")
def test_one_device_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    assert str(device_of("cuda", 3)) == "cuda"


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="There is no device 'xpu:7' here"):
        device_of("xpu:7")


def test_a_training_and_a_test_take_that_of_their_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def seen(name: str | torch.device, local_rank: int = 0) -> torch.device:
        asked.append(local_rank)
        return torch.device(name)

    learner, family, ranks = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian()), data.sinusoid(), Ranks(0, 1, 3)
    for module in ("training.fit", "evaluation.meta_test"):
        monkeypatch.setattr(importlib.import_module(f"metafunc.{module}"), "device_of", seen)
    meta = metafunc.fit(learner, family, steps=1, num_tasks=2, ranks=ranks).meta
    metafunc.evaluate(learner, meta, family, num_tasks=2, num_validation_tasks=2, ranks=ranks)
    assert asked == [3, 0, 3]  # the second of the device that the first has found
