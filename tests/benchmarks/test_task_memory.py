"""The program that measures a task's memory by its inner steps, on tiny work."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # `benchmarks` is no part of the installed package

from benchmarks.speed import task_memory


def test_each_number_of_inner_steps_has_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    task_memory.main(["W1", "--tiny", "--steps", "1", "2"])
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["inner steps"] for line in lines] == [1, 2]
    assert all(line["peak"] >= line["base"] > 100 for line in lines)  # torch alone is larger
