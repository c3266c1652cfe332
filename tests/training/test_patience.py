"""Early stopping: a training that makes validation worse ends, says so, and does not go on when it is resumed."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

import metafunc
from metafunc import Outer, Recording, Validation, data, tree
from metafunc.data import from_arrays
from metafunc.training import checkpoint, config
from metafunc.training.build import build
from metafunc.training.config import train
from metafunc.training.events import Event
from metafunc.training.fit import Fit
from metafunc.training.patience import Patience
from metafunc.training.state import stopped_early
from metafunc.types import TaskFamily

VALUES = torch.tensor([0.9, 1.0, 1.1, 1.0])
CONFIG: dict[str, Any] = {"algorithm": {"name": "mixed", "num_train_tasks": 16}, "tasks": {"name": "regression"}}


def table() -> TaskFamily:
    """Twenty-five lines that rise."""
    x, of = torch.arange(9.0).repeat(25), torch.arange(25).repeat_interleave(9)
    return from_arrays(x, (of * 7 % 5) / 4 + x + 0.1 * ((of + 3 * x) % 3), of, num_shots=4, num_queries=4)


FAMILY = table()


def trained(
    out: Path, *, patience: int | None, maximize: bool = True, resume: bool = False
) -> tuple[Fit[Any], list[Event]]:
    """Ten steps uphill, which make it worse, or downhill."""
    learner, _ = build({**CONFIG, "tasks": {"name": "sinusoid"}})
    found: list[Event] = []
    fitted = metafunc.fit(
        learner,
        FAMILY,
        steps=10,
        num_tasks=4,
        out=out,
        resume=resume,
        validation=Validation(every=1, num_tasks=24, patience=patience),
        outer=Outer(functools.partial(torch.optim.Adam, lr=0.05, maximize=maximize)),
        recording=Recording(checkpoint_every=100, checkpoint_seconds=3600.0),
        on_event=found.append,
    )
    return fitted, found


def test_what_becomes_worse_ends_early_says_so_and_does_not_go_on(tmp_path: Path) -> None:
    ended, events = trained(tmp_path, patience=2)
    assert 2 <= ended.step < 10
    (said,) = [event for event in events if event.phase == "stopped"]
    assert said.step == ended.step
    best = "before training" if "before" in said.message else "after step"
    assert said.message.startswith(f"Training stopped after step {ended.step} of 10: validation was better {best}")
    assert said.message.endswith(", 2 times since.")
    saved, damaged = checkpoint.newest(tmp_path / "checkpoints")
    assert saved is not None
    assert (saved.step, stopped_early(saved), damaged) == (ended.step, True, [])
    again, events = trained(tmp_path, patience=2, resume=True)
    assert [event.phase for event in events] == ["resumed", "stopped"]
    assert events[-1].message == said.message
    assert all(map(torch.equal, tree.leaves(ended.meta), tree.leaves(again.meta)))


@pytest.mark.parametrize(("patience", "maximize"), [(None, True), (2, False)])
def test_without_patience_or_reason_all_steps_are_taken(tmp_path: Path, patience: int | None, maximize: bool) -> None:
    whole, events = trained(tmp_path, patience=patience, maximize=maximize)
    assert whole.step == 10
    assert not [event for event in events if event.phase == "stopped"]
    saved, _ = checkpoint.newest(tmp_path / "checkpoints")
    assert saved is not None
    assert not stopped_early(saved)
    assert ("patience" in saved.state) is (patience is not None)


@pytest.mark.filterwarnings("error")
def test_a_run_that_stopped_early_is_loaded_as_one_that_is_finished(tmp_path: Path) -> None:
    training = {"steps": 20, "outer_lr": 3.0, "validate_every": 1, "validation_tasks": 24, "patience": 1}
    learner, _ = build({**CONFIG, "tasks": {"name": "sinusoid"}})
    ended = train({**CONFIG, "training": training}, out=tmp_path, built=(learner, FAMILY)).fit
    assert ended.step < 20
    metafunc.load(tmp_path, learner=learner)


def test_the_count_is_of_what_is_clearly_worse_than_the_best_so_far() -> None:
    def after(values: torch.Tensor, **counted: Any) -> Patience:
        begun = Patience(1, VALUES.tolist(), **counted)
        return begun.after(2, {"nll": values}, data.sinusoid(), seed=0, most=2)

    assert after(VALUES + 0.5).worse == 1
    assert after(VALUES + 0.5, worse=1).stopped
    assert after(VALUES.flip(0) + 0.01, worse=1) == Patience(1, VALUES.tolist(), 1), "neither better nor clearly worse"
    assert after(VALUES - 0.01, worse=1) == Patience(2, (VALUES - 0.01).tolist())
    assert after(VALUES + torch.inf).worse == 1
    accuracy = Patience(1, VALUES.tolist()).after(2, {"accuracy": VALUES + 0.5}, data.sinusoid(), seed=0, most=2)
    assert accuracy.step == 2, "higher is better"


@pytest.mark.parametrize(
    ("given", "taken"), [({}, 3), ({"patience": None}, 3), ({"patience": 5}, 5), ({"patience": 0}, None)]
)
def test_a_table_has_patience_where_none_is_given(
    given: dict[str, int], taken: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Validation] = []

    def watched(*args: Any, **settings: Any) -> Fit[Any]:
        seen.append(settings["validation"])
        return metafunc.fit(*args, **settings)

    monkeypatch.setattr(config, "fit", watched)
    learner, sines = build({**CONFIG, "tasks": {"name": "sinusoid"}})
    training = {"steps": 0, "validate_every": 1, **given}
    train({**CONFIG, "training": training}, built=(learner, FAMILY))
    train({**CONFIG, "training": training}, built=(learner, sines))
    assert [validation.patience for validation in seen] == [taken, given.get("patience") or None]


def test_a_negative_patience_is_refused() -> None:
    with pytest.raises(ValueError, match="patience must be at least 0, not -1"):
        train({**CONFIG, "tasks": {"name": "sinusoid"}, "training": {"steps": 1, "patience": -1}})
