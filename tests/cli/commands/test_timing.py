"""How long a training has taken, in all and until each validation, over its interruptions."""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from metafunc_cli.__main__ import run as main
from metafunc_cli.commands import trained_together, trials
from metafunc_cli.commands.timing import SECONDS, Account, Clock, Times, times_of, validations_of
from metafunc_cli.commands.trained_together import Share

import metafunc
from metafunc import algorithms, data, likelihood, nn
from metafunc.training.events import Event
from metafunc.training.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    learner = algorithms.maml(nn.mlp((1,), 1, hidden=(2,)), likelihood.gaussian())
    metafunc.fit(learner, data.sinusoid(), steps=0, out=tmp_path / "run")
    return Run(tmp_path / "run")


def worked(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_a_clock_knows_what_was_taken_until_each_validation(run: Run) -> None:
    heard: list[Event] = []
    clock = Clock()
    timed = clock.around(heard.append)
    for step in (1, 2, 3):
        worked(0.003)
        timed(Event("train", step, 3))
        if step > 1:
            timed(Event("validation", step, 3))
    assert [event.phase for event in heard] == ["train", "train", "validation", "train", "validation"]
    Account(run).keep(clock.taken, clock.validations)
    found = validations_of(run)
    assert [*found] == [2, 3]
    assert 0.006 <= found[2] <= found[3] - 0.003
    assert found[3] <= (times_of(run).cpu or 0.0) < found[3] + 1.0, "nothing is taken after the last one"


def test_seconds_go_on_where_a_training_was_stopped(run: Run) -> None:
    assert validations_of(run) == {}
    Account(run).keep(Times(9.0, 2.0), {10: Times(4.0, 1.0), 20: Times(8.0, 1.5), 30: Times(9.0, 2.0)})
    # It went back to step 15, validated at 20 once more, later than the first time, and did not come to 30.
    Account(run).keep(Times(5.0, 1.5), {20: Times(3.0, 1.0)})
    assert validations_of(run) == {10: 1.0, 20: 3.0}
    Account(run).keep(Times(4.0, 1.5), {30: Times(3.0, 1.0)})
    assert validations_of(run) == {10: 1.0, 20: 3.0, 30: 4.5}
    assert times_of(run) == Times(18.0, 5.0)
    Account(run).keep(Times(1.0, 0.5), {})
    assert (validations_of(run), times_of(run).cpu) == ({10: 1.0, 20: 3.0, 30: 4.5}, 5.5)
    Account(run).keep(Times(0.0, 0.0), {40: Times(0.0, 0.0)})
    assert [*validations_of(run)] == [10, 20, 30], "a training that took no step is not timed"


def test_what_is_kept_at_checkpoints_is_not_added_twice(run: Run) -> None:
    Account(run).keep(Times(2.0, 1.0), {10: Times(1.0, 0.5)})
    account = Account(run)
    account.keep(Times(1.0, 1.0), {20: Times(1.0, 1.0)})
    account.keep(Times(3.0, 2.0), {20: Times(1.0, 1.0), 30: Times(3.0, 2.0)})  # and then it was killed
    assert (times_of(run), validations_of(run)) == (Times(5.0, 3.0), {10: 0.5, 20: 2.0, 30: 3.0})


def test_what_was_not_timed_from_the_beginning_has_no_times(run: Run) -> None:
    run.write(SECONDS, {"seconds": 4.0})
    assert (times_of(run), validations_of(run)) == (Times(4.0, None), {})
    Account(run).keep(Times(2.0, 2.0), {10: Times(1.0, 1.0)})
    assert (times_of(run), validations_of(run)) == (Times(6.0, None), {})


def test_a_damaged_file_is_named_and_holds_no_times(run: Run) -> None:
    Account(run).keep(Times(2.0, 2.0), {10: Times(1.0, 1.0)})
    file = run.path / SECONDS
    file.write_text(file.read_text().replace("10", "11"))
    with pytest.warns(UserWarning, match=r"seconds\.json is not what this run wrote"):
        assert validations_of(run) == {}
    assert times_of(run) == Times(None, None)


def test_seeds_that_go_on_from_different_steps_have_the_time_of_their_own_steps(tmp_path: Path) -> None:
    """Every step takes a second; the second training has only the last hundred left, in turns with the first's."""
    clock, shares = Clock(), [Share(Account(Run(tmp_path))) for _ in range(2)]
    for step in range(1, 1001):
        for share, at in zip(shares, (step, 900 + step), strict=True):
            if at <= 1000:
                clock.steps += 1
                clock.taken = Times(float(clock.steps), float(clock.steps))
                share.of(clock, Event("train", at, 1000))
                if at % 50 == 0:
                    share.of(clock, Event("validation", at, 1000))
    first, second = ({step: taken.cpu for step, taken in share.validations.items()} for share in shares)
    assert first[50] == pytest.approx(50, abs=1)
    assert first[1000] == pytest.approx(1000, abs=1)
    assert second == pytest.approx({950: 50, 1000: 100}, abs=1)
    assert shares[1].taken.cpu == pytest.approx(100, abs=1)


@pytest.mark.parametrize("together", [False, True])
def test_what_a_training_takes_is_kept_at_its_checkpoints(
    together: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not at its end alone, to which one that is killed does not come."""
    kept: dict[str, list[int]] = {}

    class Watched(Account):
        def keep(self, taken: Times, validations: Mapping[int, Times]) -> None:
            kept.setdefault(self.run.path.name, []).append(len(validations))
            super().keep(taken, validations)

    monkeypatch.setattr(trained_together if together else trials, "Account", Watched)
    line = (
        "compare --algorithms maml --tasks sinusoid --seeds 2 --model mlp --model.hidden 2 --num-tasks 2 --steps 6 "
        "--validate-every 2 --checkpoint-every 2 --test-tasks 4 --no-figures --quiet"
    )
    assert main([*line.split(), *["--together"] * together, "--out", str(tmp_path / "out")]) == 0
    assert {*kept} == {"maml-0", "maml-1"}
    for numbers in kept.values():
        assert numbers[0] == 1, "validations before the first checkpoint"
        assert numbers[-1] == 3
