"""How a training ended, as those read it who start it again."""

import json
from pathlib import Path
from signal import SIGTERM

import pytest
from metafunc_cli import ended

from metafunc.training.events import Interrupted


def test_how_an_earlier_attempt_ended_is_not_said_of_a_later_one(tmp_path: Path) -> None:
    with pytest.raises(Interrupted), ended.stated(tmp_path):
        raise Interrupted(SIGTERM, tmp_path, 3)
    assert json.loads((tmp_path / ended.FILE).read_text()) == {"how": "interrupted"}
    with pytest.raises(OSError, match="full"), ended.stated(tmp_path):
        raise OSError("the disk is full")
    assert not (tmp_path / ended.FILE).exists()
    with ended.stated(tmp_path):
        pass
    assert json.loads((tmp_path / ended.FILE).read_text()) == {"how": "finished"}
