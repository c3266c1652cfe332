"""`metafunc list`: algorithms, task families, networks and presets, one line each."""

from collections.abc import Sequence

from metafunc_cli.errors import OK, UsageError
from metafunc_cli.presets.all import PRESETS
from metafunc_cli.presets.preset import Preset
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES, MODELS


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    if argv and set(argv) <= {"-h", "--help"}:
        print("usage: metafunc list\n\nPrint the algorithms, task families, networks and presets, one line each.")
    elif argv:
        raise UsageError(f"list takes no arguments, not {' '.join(argv)}.")
    else:
        print("\n".join(lines()))
    return OK


def lines() -> list[str]:
    """The whole list."""
    both = ("regression", "classification")
    algorithms = [
        (name, row.summary, "" if row.kinds == both else f"{row.kinds[0]} only") for name, row in ALGORITHMS.items()
    ]
    families = [(name, row.summary, row.kinds[0]) for name, row in FAMILIES.items()]
    networks = [(name, row.summary, "") for name, row in MODELS.items()]
    presets = [(p.name, f"{p.algorithm} on {p.tasks}, {_steps(p)}. {p.source}", "") for p in PRESETS]
    sections = {"algorithms": algorithms, "tasks": families, "networks": networks, "presets": presets}
    return [line for title, entries in sections.items() for line in ("", f"{title}:", *_aligned(entries))][1:]


def _aligned(entries: Sequence[tuple[str, str, str]]) -> list[str]:
    width = max(len(name) for name, _, _ in entries) + 2
    return [f"  {name:{width}}{text.rstrip('.')}{f' ({note})' if note else ''}" for name, text, note in entries]


def _steps(preset: Preset) -> str:
    number: int = preset.training["steps"]
    return f"{number:,} steps" if number > 1 else "1 step"
