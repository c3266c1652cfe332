"""A run is the same run wherever its data are in a machine."""

import pytest

from metafunc.training.renamed import stated

TASKS = {"name": "few_shot", "path": "pictures", "num_ways": 5}


@pytest.mark.parametrize("limits", [{"memory_limit": 0.0}, {"memory_limit": 2.0, "disk_limit": 10.0}])
def test_limits_of_memory_and_disk_are_no_part_of_a_run(limits):
    assert stated({"tasks": {**TASKS, **limits}}) == stated({"tasks": TASKS})
    assert stated({"tasks": {**TASKS, "num_ways": 4}}) != stated({"tasks": TASKS})
