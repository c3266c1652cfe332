"""A module is tried on the first tasks of a training, on every way in, before the first step."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from metafunc_cli.__main__ import run
from torch import Tensor, nn

import metafunc
from metafunc import algorithms, data, tree
from metafunc import nn as models
from metafunc.nn import first_calls, module_trial
from metafunc.training.config import train
from metafunc.types import MetaLearner, Model

SOURCE = """
import torch
from torch import nn

class Counting(nn.Module):
    def __init__(self, inputs=1, outputs=1):
        super().__init__()
        self.mix, self.calls = nn.Linear(inputs, outputs), 0

    def forward(self, x):
        self.calls += 1
        return self.mix(x) / self.calls

class Cut(Counting):
    def forward(self, x):
        return self.mix(x).detach()

class Kept(Counting):
    def forward(self, x):
        if not self.calls:
            self.calls = 2 * self.mix.weight
        return x @ self.calls.T + self.mix.bias

def net():
    return Counting()

def cut():
    return Cut()

def kept():
    return Kept()

def policy(input_shape, num_outputs):
    return Counting(input_shape[0], num_outputs)
"""
REFUSED = {
    "net": "two calls differ",
    "cut": "mix.weight, mix.bias have no effect on the output",
    "kept": "mix.weight have no effect on the output, though the module's own do",
}
SINUSOID = data.sinusoid(num_shots=5, num_queries=5, num_test_queries=10)
MANY = [
    ("maml", {}),
    ("reptile", {}),
    ("imaml", {}),
    ("bmaml", {"num_particles": 2}),
    ("platipus", {}),
    ("deep_ensemble", {"num_particles": 2}),
    ("pretrain", {}),
]


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"nets_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def module_of(name: str) -> nn.Module:
    space: dict[str, Any] = {}
    exec(SOURCE, space)
    made: nn.Module = space[name]()
    return made


def learner_of(module: nn.Module, name: str = "maml", **settings: Any) -> MetaLearner[Any, Any]:
    def network(shape: tuple[int, ...], outputs: int | None) -> Model:
        return models.from_module(module)

    return algorithms.build(name, network, (1,), "regression", 1, **settings)


def never(event: object) -> None:
    raise AssertionError(f"a step was taken: {event}")


@pytest.mark.parametrize("name", REFUSED)
def test_the_command_line_refuses_before_the_first_step(
    name: str, nets: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "maml", "sinusoid", "--model", f"{nets}:{name}", "--steps", "3", "--num-tasks", "3"]
    assert run([*line, "--test-tasks", "2", "--quiet", "--out", "run"]) == 2
    printed = capsys.readouterr().err.strip()
    assert REFUSED[name] in printed
    assert "\n" not in printed
    assert not [*tmp_path.glob("run/checkpoints/*")]


@pytest.mark.parametrize("name", REFUSED)
def test_fit_and_a_configuration_refuse_with_the_same_message(name: str, nets: str) -> None:
    with pytest.raises(ValueError, match=REFUSED[name]) as by_fit:
        metafunc.fit(learner_of(module_of(name)), SINUSOID, steps=3, num_tasks=3, on_event=never)
    config = {
        "algorithm": {"name": "maml"},
        "tasks": {"name": "sinusoid"},
        "model": {"name": f"{nets}:{name}"},
        "training": {"steps": 3, "num_tasks": 1},
    }
    with pytest.raises(ValueError, match=REFUSED[name]) as by_config:
        train(config, imports=True)
    with pytest.raises(ValueError, match=REFUSED[name]) as by_example:
        models.from_module(module_of(name), example_input=torch.randn(5, 1))
    assert str(by_fit.value) == str(by_config.value) == str(by_example.value)


@pytest.mark.parametrize(("name", "settings"), MANY)
def test_the_module_of_any_learner_is_tried(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="two calls differ"):
        metafunc.fit(learner_of(module_of("net"), name, **settings), SINUSOID, steps=1, num_tasks=2, on_event=never)


def test_the_module_of_a_policy_is_tried(nets: str) -> None:
    config = {
        "algorithm": {"name": "maml_rl", "num_trajectories": 2, "test_trajectories": 2},
        "tasks": {"name": "navigation", "horizon": 4},
        "model": {"name": f"{nets}:policy"},
        "training": {"steps": 1, "num_tasks": 2},
    }
    with pytest.raises(ValueError, match="two calls differ"):
        train(config, imports=True)


def test_what_is_kept_from_the_first_inputs_is_state() -> None:
    class Scaled(nn.Module):
        """It scales its inputs by the first ones that it ever sees."""

        def __init__(self) -> None:
            super().__init__()
            self.layer, self.scale = nn.Linear(1, 1), 0.0

        def forward(self, x: Tensor) -> Tensor:
            self.scale = self.scale or x.std().item()
            return self.layer(x / self.scale)

    with pytest.raises(ValueError, match="two calls differ"):
        metafunc.fit(learner_of(Scaled()), SINUSOID, steps=1, num_tasks=2, on_event=never)


class Net(nn.Module):
    """Two layers and a function between them; it notes the types that it is called with."""

    def __init__(self, function: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__()
        self.first, self.last, self.function = nn.Linear(1, 8), nn.Linear(8, 1), function
        self.types: set[torch.dtype] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.types.add(x.dtype)
        return self.last(self.function(self.first(x)))


def net() -> nn.Module:
    torch.manual_seed(0)
    return Net()


@pytest.mark.parametrize("name", ["maml", "deep_ensemble", "platipus"])
def test_the_trial_moves_no_number_and_draws_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained() -> Any:
        return metafunc.fit(learner_of(net(), name), SINUSOID, steps=3, num_tasks=3, seed=4).meta

    torch.manual_seed(5)
    state = torch.get_rng_state()
    learner = learner_of(net(), name)
    torch.set_rng_state(state)
    metafunc.fit(learner, SINUSOID, steps=1, num_tasks=3)
    assert torch.equal(torch.get_rng_state(), state)
    tried = trained()
    monkeypatch.setattr(first_calls, "trying", nullcontext)
    assert all(map(torch.equal, tree.leaves(tried), tree.leaves(trained())))


def test_the_trial_runs_in_the_types_of_training() -> None:
    """A forward that names float32 is one that trains in float32; that the step is right is tried in float64, later."""
    metafunc.fit(learner_of(Net(lambda h: torch.tanh(h.float()))), SINUSOID, steps=1, num_tasks=2)
    seen: list[torch.dtype] = []

    def note(h: Tensor) -> Tensor:
        seen.append(h.dtype)
        return torch.tanh(h)

    metafunc.fit(learner_of(Net(note)), SINUSOID, steps=1, num_tasks=2)
    assert (seen[0], seen[-1]) == (torch.float32, torch.float32)


def test_a_wrong_second_derivative_is_refused_before_the_first_step() -> None:
    class Wrong(Net):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.shift = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))

        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(self.first(x))
            return self.last(torch.ops.aten.native_layer_norm(h, (8,), self.scale, self.shift, 1e-5)[0])

    with pytest.raises(ValueError, match="off by a relative"):
        metafunc.fit(learner_of(Wrong()), SINUSOID, steps=1, num_tasks=2, on_event=never)


def test_the_module_sees_the_first_two_tasks_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Tensor]] = []
    monkeypatch.setattr(module_trial, "try_out", lambda functional, inputs, params=None: seen.append([*inputs]))
    metafunc.fit(learner_of(net()), SINUSOID, steps=1, num_tasks=3)
    tasks = SINUSOID.train(metafunc.data.sampling.generator_for(0, "train", 0), 2)
    assert all(map(torch.equal, seen[0], tasks.query.x))


def test_what_fits_the_tasks_ill_is_said_in_their_terms() -> None:
    with pytest.raises(ValueError, match="The learner fails on the first task of sinusoid"):
        metafunc.fit(learner_of(nn.Sequential(nn.Linear(2, 1))), SINUSOID, steps=1, num_tasks=2)


def test_a_forward_that_raises_something_is_a_refusal_that_names_the_part() -> None:
    def fail(h: Tensor) -> Tensor:
        raise KeyError("mask")

    class Part(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return fail(x)

    with pytest.raises(ValueError, match=r"in the submodule '1': .*mask"):
        metafunc.fit(learner_of(nn.Sequential(nn.Linear(1, 1), Part())), SINUSOID, steps=1, num_tasks=2)
