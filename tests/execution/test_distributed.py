"""What ranks tell each other: shares, bytes, trees; and how they meet."""

from pathlib import Path

import pytest
import torch

from metafunc.execution import distributed
from metafunc.execution.distributed import ALONE, Ranks


@pytest.mark.parametrize("number", [0, 1, 3, 8, 25])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_shares_are_all_things_once_in_order_and_alike(number: int, size: int) -> None:
    shares = [Ranks(rank, size).share(number) for rank in range(size)]
    assert [i for share in shares for i in share] == list(range(number))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_tells_itself() -> None:
    parts = {"a": torch.ones(2)}
    assert ALONE.first
    assert ALONE.tell({"a": 1}) == [{"a": 1}]
    assert ALONE.from_first(b"ab") == b"ab"
    assert ALONE.joined(parts, 0)["a"] is parts["a"]
    with distributed.join() as ranks:
        assert ranks is ALONE


def test_torchrun_with_one_worker_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert distributed.launched()
    with distributed.join() as ranks:
        assert ranks is ALONE


@pytest.mark.parametrize(("given", "message"), [("soon", "a number of seconds, not 'soon'"), ("0", "above 0")])
def test_a_timeout_is_a_number_of_seconds(given: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), (distributed.TIMEOUT, given)):
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message), distributed.join():
        pass


def test_restarts_of_torchrun_come_with_advice() -> None:
    restarts = {"TORCHELASTIC_MAX_RESTARTS": "3", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    said = distributed.advice(restarts)
    assert said is not None
    assert "set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before torchrun" in said
    assert distributed.advice({}) is None
    assert distributed.advice({**restarts, "TORCHELASTIC_MAX_RESTARTS": "0"}) is None
    assert distributed.advice({**restarts, "TORCHELASTIC_USE_AGENT_STORE": "False"}) is None


def test_someone_who_does_not_come_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), (distributed.TIMEOUT, "0.5")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(distributed.STORE, (tmp_path / "store").as_uri())
    with pytest.raises(distributed.RankLost, match="Another rank has ended or does not answer"), distributed.join():
        pass
