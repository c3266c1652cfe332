"""One training by several ranks: bitwise that of one process, however it is interrupted; and what they refuse."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from metafunc import tree
from metafunc.algorithms import ALGORITHMS
from metafunc.training.build import build
from metafunc.training.settings import adam
from metafunc.training.state import RunSpec, State, begin
from metafunc.training.together import Together, next_tasks

HERE = Path(__file__).parent
PLATIPUS = {"algorithm": {"name": "platipus"}, "tasks": {"name": "sinusoid", "num_shots": 2, "num_queries": 2}}
MR_MAML = {**PLATIPUS, "algorithm": {"name": "mr_maml_w"}}


@pytest.fixture(scope="module")
def trained(ran: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return ran(HERE / "rank_cases.py", tmp_path_factory.mktemp("trained"), "rows", "sums")


@pytest.fixture(scope="module")
def found(ran: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return ran(HERE / "ending_cases.py", tmp_path_factory.mktemp("ranks"), "endings", "refusals", "firsts")


def test_rows_have_the_bits_of_one_process_on_two_and_four_ranks(trained: Any) -> None:
    ((alone, tested),) = trained["rows"]["1"]
    assert len(alone) == 9
    for size in ("2", "4"):
        assert [each for each, _ in trained["rows"][size]] == [alone] * int(size)
    assert [test for _, test in trained["rows"]["2"]] == [tested] * 2
    assert set(tested) == {"maml", "protonet"}


@pytest.mark.nightly  # some 300 trainings, whose minutes grow with what else the machine does
def test_every_row_has_them(ran: Callable[..., Any], tmp_path: Path) -> None:
    found = ran(HERE / "rank_cases.py", tmp_path, "all rows")["all rows"]
    (alone,) = found["1"]
    assert set(alone) == set(ALGORITHMS)
    for size in ("2", "4"):
        assert found[size] == [alone] * int(size)


def test_a_signal_on_one_rank_stops_all_after_the_same_step(found: Any) -> None:
    ends = found["endings"]
    assert [end["error"] for end in ends["stopped"]] == ["Interrupted", "Interrupted"]
    assert ends["stopped"][0]["message"] == ends["stopped"][1]["message"]
    assert ends["stopped"][0]["message"].startswith("SIGTERM stopped the run after step 5. It is saved in ")
    assert ends["reached"] == "step-000000005"


def test_a_run_goes_on_with_another_number_of_ranks_as_if_it_had_not_stopped(found: Any) -> None:
    ends = found["endings"]
    (whole,) = ends["whole"]
    assert whole["step"] == 8
    assert ends["stopped on"] == [whole] * 4
    assert ends["killed on"] == [whole]
    assert ends["hung on"] == [whole]
    assert ends["bits"]["stopped"] == ends["bits"]["killed"] == ends["bits"]["hung"] == ends["bits"]["whole"]
    assert len(ends["bits"]["whole"]) > 1


@pytest.mark.nightly  # some forty trainings
def test_whichever_rank_is_killed_after_whichever_step_nothing_is_lost(ran: Callable[..., Any], tmp_path: Path) -> None:
    assert ran(HERE / "ending_cases.py", tmp_path, "kills")["kills"] >= 3


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_a_rank_whose_fellow_was_killed_or_hangs_says_so_and_ends(found: Any, how: str) -> None:
    first, second = found["endings"][how]
    assert second == -9
    assert first["error"] == "RankLost"
    assert first["message"].startswith("Another rank has ended or does not answer, so that this one cannot go on (")


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("shards", "6 tasks of a step cannot be cut into 4 equal shards: give shards that divide num_tasks."),
        ("ranks", "2 ranks cannot share 1 shard equally: give 2 shards, or a multiple that divides num_tasks."),
        ("seed", "training.seed is 0 on rank 0 and 3 on rank 1. Start all of them with the same."),
        ("shards of one", "training.shards is 4 on rank 0 and 2 on rank 1."),
        ("data", 'data.fingerprint is "of rank 0" on rank 0 and "of rank 1" on rank 1.'),
        ("commit", 'git is "commit 0" on rank 0 and "commit 1" on rank 1.'),
        ("argument", "steps must be at least 0, not -1."),
        ("held", "holds a run already."),
        ("unshared", "is not the same folder on rank 1, whose machine may have rank 0 after a restart"),
    ],
)
def test_what_one_rank_refuses_all_refuse_before_a_step(found: Any, case: str, message: str) -> None:
    for said in found["refusals"][case]:
        assert said["error"] == "ValueError"
        assert said["everywhere"] is True
        assert message in said["message"]
    assert found["refusals"]["wrote"] is False


def test_what_another_rank_cannot_do_is_said_with_its_number(found: Any) -> None:
    assert found["refusals"]["argument"][0]["message"].startswith("On rank 1: ")
    first, second = found["refusals"]["broken"]
    assert (first["error"], first["message"]) == ("RefusedElsewhere", "On rank 1: no such table")
    assert (second["error"], second["message"]) == ("FileNotFoundError", "no such table")


def test_all_ranks_diverge_and_know_the_task(found: Any) -> None:
    for said in found["refusals"]["diverged"]:
        assert said["error"] == "Diverged"
        assert "1 of its 4 tasks cause it, the first with index 3;" in said["message"]


def test_replicas_that_differ_are_noticed(found: Any) -> None:
    for said in found["refusals"]["drifted"]:
        assert said["error"] == "Drifted"
        assert said["message"].startswith("The meta-parameters of rank 1 are not those of rank 0 after step 2")


def test_rank_0_alone_gives_trackers_their_numbers(found: Any) -> None:
    assert found["firsts"]["logged"] == [["begun", 4, 4, 8, 8, "closed"], ["closed"]]


def test_rank_0_alone_shows_a_bar(found: Any) -> None:
    assert found["firsts"]["shown"] == [[1, 2], []]


def test_ranks_start_a_stack_from_what_one_process_does(found: Any) -> None:
    (alone,) = found["firsts"]["stacked alone"]
    assert alone["step"] == 0
    assert found["firsts"]["stacked"] == [alone] * 2


def test_the_sum_over_shards_is_taken_in_their_order_whatever_rank_has_them(trained: Any) -> None:
    found = trained
    ((alone,),) = ([one["sums"] for one in each] for size, each in found["sums"].items() if size == "1")
    for size, each in found["sums"].items():
        for one in each:
            for way in (0, 1):  # gathered by all, and by segments
                assert one["sums"][way][:2] == alone[way][:2]
            for way in range(3):
                assert one["sums"][way][2] == [int(size) - 1, 0]
        reduced = {json.dumps(one["sums"][2][0]) for one in each}
        assert len(reduced) == 1
    # A sum that does not keep the order, as torch.distributed takes it, is another by its last bits.
    assert found["sums"]["4"][0]["sums"][2][0] != alone[2][0]
    assert found["sums"]["4"][0]["sums"][2][1] == pytest.approx(alone[2][1], rel=1e-6)


def test_what_ranks_tell_each_other(trained: Any) -> None:
    for rank in range(3):
        said = trained["sums"]["3"][rank]
        assert said["given"] == [[0, 1, 2], "07"]
        # In the order of those who have a part, on the rank that has none as well.
        assert said["joined"] == [["b", [[0, 2, 2, 2], [0, 2, 2, 2]]], ["a", [[0, 4, 4, 4], [0, 4, 4, 4]]]]


def started(config: dict[str, Any], num_shards: int) -> tuple[Any, Any, State[Any]]:
    learner, family = build(config)
    meta = learner.init(torch.Generator().manual_seed(0))
    return learner, family, begin(meta, adam, None, RunSpec(0, 10, 8, None, num_shards))


def test_the_shards_of_a_step_are_its_tasks() -> None:
    learner, family, now = started(PLATIPUS, 4)
    shards = [next_tasks(learner, family, now, shard) for shard in range(4)]
    whole = next_tasks(*started(PLATIPUS, 1))
    assert torch.equal(torch.cat([shard.query.x for shard in shards]), whole.query.x)
    assert torch.equal(Together().whole(shards).support.y, whole.support.y)


def test_noise_of_tasks_differs_between_shards_and_what_a_step_shares_does_not() -> None:
    own, shared = (
        [next_tasks(*started(config, 4), shard).support.extra for shard in range(4)] for config in (PLATIPUS, MR_MAML)
    )
    noise = torch.cat([torch.cat([leaf.flatten(1) for leaf in tree.leaves(extra)], 1) for extra in own])
    assert len({tuple(row) for row in noise.tolist()}) == len(noise) == 8
    alone = tree.leaves(next_tasks(*started(MR_MAML, 1)).support.extra)
    for extra in shared:
        for leaf, of_one in zip(tree.leaves(extra), alone, strict=True):
            assert torch.equal(leaf, of_one[:2])
