"""Names in a recorded configuration that have changed since; free of torch, since the command line reads them too."""

from collections.abc import Collection, Mapping
from typing import Any

RENAMED: Mapping[str, str] = {"random": "random_policy", "oracle": "oracle_policy"}
"""Algorithms by the name that a run may have been recorded with."""


def current(config: Mapping[str, Any], known: Collection[str] | None = None) -> dict[str, Any]:
    """A configuration with today's name of its algorithm.

    Args:
        config: the sections of a run's `config.json`.
        known: the algorithms that there are, of which the new name has to be one; None: any will do.

    Example:
        >>> from metafunc.training.renamed import current
        >>> current({"algorithm": {"name": "random"}, "tasks": {"name": "navigation"}})
        {'algorithm': {'name': 'random_policy'}, 'tasks': {'name': 'navigation'}}
    """
    section = config.get("algorithm")
    new = RENAMED.get(str(section.get("name"))) if isinstance(section, Mapping) else None
    if not section or new is None or (known is not None and new not in known):
        return dict(config)
    return {**config, "algorithm": {**section, "name": new}}
