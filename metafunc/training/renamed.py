"""What has changed in configurations since some were recorded; free of torch, since the command line reads it too."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple


class Since(NamedTuple):
    """Settings of a task family that some runs were recorded without.

    Args:
        mark: a setting that was always there: a run that records it records all that there were.
        before: the new settings, as what was drawn was before one could choose.
    """

    mark: str
    before: Mapping[str, Any]


RENAMED: Mapping[str, str] = {"random": "random_policy", "oracle": "oracle_policy"}
"""Algorithms by the name that a run may have been recorded with."""
SINCE: Mapping[str, Since] = {
    "circles": Since("num_test_queries", {"radius": [0.1, 2.0], "support": "area", "queries": "balanced"}),
    "sine_or_line": Since("num_test_queries", {"amplitude": [0.1, 5.0]}),
    "classification": Since("split_column", {"classes": "shared"}),
    "tiny_omniglot": Since("image_size", {"labels": "fixed", "split": "published"}),
}
"""Settings of tasks that a run may have been recorded without."""

BEFORE: Mapping[str, Any] = {"shards": 1, "reduce": "ordered"}
"""Settings of the training that some runs were recorded without, and what they were then."""
BEFORE_ALGORITHM: Mapping[str, Mapping[str, Any]] = {
    "empirical_gp": {"start": "kernel"},
    "convcnp": {"head": "gaussian", "num_components": 5, "num_bins": 100, "bin_range": 3.0},
}
"""By the algorithm, settings that some runs were recorded without, and what they were then."""
WHERE = ("memory_limit", "disk_limit")
"""Settings of tasks that say where their data are in a machine, and change none of them."""


def current(config: Mapping[str, Any], known: Collection[str] | None = None) -> dict[str, Any]:
    """A configuration with today's name of its algorithm, and with the settings of tasks that there are since.

    What was recorded by the command line is known by a setting that was always there, since that records all of them.

    Args:
        config: the sections of a run's `config.json`.
        known: the algorithms that there are, of which the new name has to be one; None: any will do.

    Examples:
        >>> from metafunc.training.renamed import current
        >>> current({"algorithm": {"name": "random"}, "tasks": {"name": "navigation"}})
        {'algorithm': {'name': 'random_policy'}, 'tasks': {'name': 'navigation'}}
        >>> current({"tasks": {"name": "circles", "num_test_queries": 100}})["tasks"]["queries"]
        'balanced'
    """
    config = _whole(config)
    section = config.get("algorithm")
    new = RENAMED.get(str(section.get("name"))) if isinstance(section, Mapping) else None
    if not section or new is None or (known is not None and new not in known):
        return dict(config)
    return {**config, "algorithm": {**section, "name": new}}


def stated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with today's names, without settings of the training that are left open, by None, and of places.

    A run that was recorded before there was such a setting is then the same as one that leaves it open, or that has it
    as it was before: with one shard, for one.

    Examples:
        >>> from metafunc.training.renamed import stated
        >>> stated({"training": {"steps": 2, "noise_from": None}})
        {'training': {'steps': 2}}
        >>> stated({"tasks": {"name": "few_shot", "memory_limit": 4.0}})
        {'tasks': {'name': 'few_shot'}}
        >>> stated({"algorithm": {"name": "empirical_gp", "start": "kernel"}})
        {'algorithm': {'name': 'empirical_gp'}}
    """
    found = current(config)
    if isinstance(section := found.get("tasks"), Mapping):
        found["tasks"] = {name: value for name, value in section.items() if name not in WHERE}
    if isinstance(section := found.get("algorithm"), Mapping):
        before = BEFORE_ALGORITHM.get(str(section.get("name")), {})
        found["algorithm"] = {
            name: value for name, value in section.items() if name not in before or value != before[name]
        }
    if isinstance(section := found.get("training"), Mapping):
        found["training"] = {
            name: value for name, value in section.items() if value is not None and value != BEFORE.get(name)
        }
    return found


def _whole(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration, whose recorded tasks have the settings that were not there to be recorded."""
    tasks = config.get("tasks")
    if not isinstance(tasks, Mapping):
        return config
    since = SINCE.get(str(tasks.get("name")))
    if since is None or since.mark not in tasks or any(name in tasks for name in since.before):
        return config
    return {**config, "tasks": {**tasks, **since.before}}
