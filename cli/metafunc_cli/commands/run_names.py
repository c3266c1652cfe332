"""Names for the runs of a comparison: the algorithm's, and where there are several of it, what sets each apart."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metafunc_cli.settings.compose import plain

MOST = 2
"""Settings that a name may hold; where more differ, runs are named by their folders."""
BESIDE = {
    "test_tasks",
    "test_steps",
    "checkpoint_every",
    "validate_every",
    "threads",
    "device",
    "compile",
    "chunk_size",
}
"""Settings that do not decide what is learned, which name a run only where nothing else does."""
PREFIXES = {"tasks": "data.", "model": "model."}


def named_apart(configs: Sequence[Mapping[str, Any]], folders: Sequence[Path]) -> list[str]:
    """A name for each row of a comparison of runs.

    Args:
        configs: the configuration of each, without its seed.
        folders: a folder of each.

    Examples:
        >>> one, two = ({"algorithm": {"name": "maml", "inner_lr": rate}} for rate in (0.1, 0.01))
        >>> named_apart([one, two, {"algorithm": {"name": "cnp"}}], [Path("a"), Path("b"), Path("c")])
        ['maml inner_lr=0.1', 'maml inner_lr=0.01', 'cnp']
    """
    algorithms = [config["algorithm"]["name"] for config in configs]
    names = [""] * len(configs)
    for algorithm in dict.fromkeys(algorithms):
        of_it = [number for number, name in enumerate(algorithms) if name == algorithm]
        found = _apart([_flat(configs[number]) for number in of_it]) if len(of_it) > 1 else [""]
        short = _short([folders[number] for number in of_it])
        for number, said, folder in zip(of_it, found or short, short, strict=True):
            names[number] = f"{algorithm} {said}".rstrip() if found else folder
    return names


def _apart(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each has that others have otherwise; nothing where that would be too long."""
    every = dict.fromkeys(name for each in settings for name in each)
    differing = [name for name in every if any(each.get(name) != settings[0].get(name) for each in settings)]
    counting = [name for name in differing if name not in BESIDE] or differing
    if not 0 < len(counting) <= MOST:
        return []
    found = [" ".join(f"{name}={_word(each.get(name))}" for name in counting) for each in settings]
    return found if len({*found}) == len(found) else []


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """All settings by the names that their flags have."""
    return {
        (
            name if section in ("algorithm", "training") and name != "name" else f"{PREFIXES.get(section, '')}{name}"
        ): plain(value)
        for section, values in config.items()
        for name, value in values.items()
        if (section, name) != ("training", "seed")
    }


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _short(folders: Sequence[Path]) -> list[str]:
    """The last part of each path, or as many as tell them apart."""
    longest = max(len(folder.parts) for folder in folders)
    for length in range(1, longest + 1):
        names = [str(Path(*folder.parts[-length:])) for folder in folders]
        if len({*names}) == len(names):
            return names
    return [str(folder) for folder in folders]
