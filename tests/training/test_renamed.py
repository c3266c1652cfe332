"""A run is the same run wherever its data are in a machine, and whenever it was recorded."""

import pytest

from metafunc.training.renamed import SINCE, stated

TASKS = {"name": "few_shot", "path": "pictures", "num_ways": 5}


@pytest.mark.parametrize("limits", [{"memory_limit": 0.0}, {"memory_limit": 2.0, "disk_limit": 10.0}])
def test_limits_of_memory_and_disk_are_no_part_of_a_run(limits):
    assert stated({"tasks": {**TASKS, **limits}}) == stated({"tasks": TASKS})
    assert stated({"tasks": {**TASKS, "num_ways": 4}}) != stated({"tasks": TASKS})


@pytest.mark.parametrize("family", SINCE)
def test_tasks_that_were_recorded_without_a_setting_have_it_as_it_was(family):
    before = {"tasks": {"name": family, SINCE[family].mark: None}}
    now = {"tasks": {**before["tasks"], **SINCE[family].before}}
    assert stated(before) == stated(now) == now
    for name in SINCE[family].before:
        assert stated({"tasks": {**now["tasks"], name: "another"}}) != now


HEADS = {"head": "gaussian", "num_components": 5, "num_bins": 100, "bin_range": 3.0}


@pytest.mark.parametrize(("name", "settings"), [("empirical_gp", {"start": "kernel"}), ("convcnp", HEADS)])
def test_learners_that_were_recorded_without_a_setting_have_it_as_it_was(name, settings):
    now = {"name": name, **settings}
    assert stated({"algorithm": {"name": name}}) == stated({"algorithm": now})
    for setting in settings:
        assert stated({"algorithm": {**now, setting: "another"}}) != stated({"algorithm": now})
