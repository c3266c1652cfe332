"""`metafunc list`: algorithms, task families, networks, presets and runs, as text or as one JSON object."""

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metafunc.checks import counted, did_you_mean
from metafunc_cli.errors import OK, UsageError, unknown
from metafunc_cli.presets.all import PRESETS
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES, MODELS
from metafunc_cli.settings.next_words import RUNS, run_folders

HELP = """usage: metafunc list [algorithms|tasks|networks|presets|runs] [NAME] [--json]

Print the algorithms, task families, networks and presets, one line each where the terminal is wide enough; or one of
these sections, or the runs in the folder runs. NAME keeps what has it as its name, algorithm, tasks or kind: metafunc
list presets maml, metafunc list algorithms classification, metafunc list runs sinusoid.

  --json   print one JSON object on stdout: by section, a list of entries
"""


NARROWEST = 30
"""Columns that a description has beside a name; with fewer it stands below."""
BELOW = 4
"""Columns that it then is indented by."""


class Entry(NamedTuple):
    """A line of the list.

    Args:
        name: what it is called.
        text: what it is.
        note: what is said of it in brackets.
        fields: the same for a program.
    """

    name: str
    text: str
    note: str
    fields: Mapping[str, Any]


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    if {"-h", "--help"} & {*argv}:
        print(HELP, end="")
        return OK
    words = [word for word in argv if word != "--json"]
    section, name = _asked(words)
    as_json = "--json" in argv
    found = _kept({section: SECTIONS[section]()} if section else {each: SECTIONS[each]() for each in USUAL}, name)
    if as_json:
        print(json.dumps({title: [entry.fields for entry in entries] for title, entries in found.items()}))
    elif section == RUNS and not found[RUNS]:
        named = f" with {name}" if name else ""
        print(f"There is no run{named} in {Path(RUNS).resolve()}: metafunc train writes them there.")
    else:
        print("\n".join(lines(found, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)))
    return OK


def _asked(words: Sequence[str]) -> tuple[str, str]:
    """The section and the name that were asked for; empty where none was.

    Raises:
        UsageError: the first word is no section, a flag is unknown, or there are more words.
    """
    flags = [word for word in words if word.startswith("-")]
    if flags:
        corrected = " ".join(["metafunc list", *(word for word in words if word not in flags), "--json"])
        raise UsageError(f"list has no flag {flags[0]}, only --json. Perhaps:\n  {corrected}")
    if words and words[0] not in SECTIONS:
        raise unknown("section", words[0], SECTIONS)
    if len(words) > 2:
        raise UsageError(f"list takes a section and one name. Perhaps:\n  metafunc list {words[0]} {words[1]}")
    section, name = (*words, "", "")[:2]
    return section, name


def _kept(sections: Mapping[str, Sequence[Entry]], name: str) -> dict[str, Sequence[Entry]]:
    """The entries that have a name.

    Raises:
        UsageError: none of those that there are has it.
    """
    if not name:
        return {**sections}
    found = {title: [entry for entry in entries if name in _names(entry)] for title, entries in sections.items()}
    for title, entries in sections.items():
        if entries and not found[title] and title != RUNS:
            known = dict.fromkeys(each for entry in entries for each in _names(entry))
            raise UsageError(
                f"There is nothing with the name {name} in {title}.{did_you_mean(name, known)} All of them:\n"
                f"  metafunc list {title}"
            )
    return {**found}


def _names(entry: Entry) -> list[str]:
    """What an entry can be kept by."""
    fields = entry.fields
    single = [fields[key] for key in ("name", "algorithm", "tasks", "kind", "network") if fields.get(key)]
    return [*single, *fields.get("kinds", ())]


def lines(sections: Mapping[str, Sequence[Entry]], columns: int | None = None) -> list[str]:
    """Sections as text: every entry on a line, or in as many columns as a terminal has."""
    whole = [line for title, entries in sections.items() for line in ("", f"{title}:", *_aligned(entries, columns))]
    return whole[1:]


def _aligned(entries: Sequence[Entry], columns: int | None) -> Iterator[str]:
    width = max((len(entry.name) for entry in entries), default=0) + 4
    for entry in entries:
        name = f"  {entry.name}"
        text = f"{entry.text.rstrip('.')}{f' ({entry.note})' if entry.note else ''}"
        if columns is None:
            yield name.ljust(width) + text
        elif columns - width >= NARROWEST:
            first, *rest = _wrapped(text, columns - width)
            yield name.ljust(width) + first
            yield from (" " * width + line for line in rest)
        else:
            yield name
            yield from (" " * BELOW + line for line in _wrapped(text, max(columns - BELOW, 1)))


def _wrapped(text: str, columns: int) -> list[str]:
    return textwrap.wrap(text, columns, break_on_hyphens=False, break_long_words=False) or [""]


def _algorithms() -> list[Entry]:
    both = ("regression", "classification")
    return [
        Entry(
            name,
            row.summary,
            "" if row.kinds == both else f"{row.kinds[0]} only",
            {"name": name, "summary": row.summary, "kinds": [*row.kinds], "trains": row.trains},
        )
        for name, row in ALGORITHMS.items()
    ]


def _families() -> list[Entry]:
    return [
        Entry(
            name,
            row.summary,
            row.kinds[0],
            {"name": name, "summary": row.summary, "kind": row.kinds[0], "network": row.model},
        )
        for name, row in FAMILIES.items()
    ]


def _networks() -> list[Entry]:
    return [Entry(name, row.summary, "", {"name": name, "summary": row.summary}) for name, row in MODELS.items()]


def _presets() -> list[Entry]:
    found = []
    for preset in PRESETS:
        steps: int = preset.training["steps"]
        fields = {"name": preset.name, "algorithm": preset.algorithm, "tasks": preset.tasks, "network": preset.model}
        text = f"{preset.algorithm} on {preset.tasks}, {counted(steps, 'steps')}. {preset.source}"
        found.append(Entry(preset.name, text, "", {**fields, "steps": steps, "source": preset.source}))
    return found


def _runs() -> list[Entry]:
    """The runs below the folder `runs`, by their paths."""
    return [_run(folder) for folder in sorted(run_folders())]


def _run(folder: Path) -> Entry:
    """A run as its files have it; what cannot be read of it is said in its line."""
    try:
        config = json.loads((folder / "config.json").read_text())
        algorithm, tasks = (config.get(section, {}).get("name") for section in ("algorithm", "tasks"))
        steps = config.get("training", {}).get("steps")
    except (OSError, ValueError, AttributeError):
        return Entry(str(folder), "its config.json cannot be read", "", {"name": str(folder), "readable": False})
    fields = {"name": str(folder), "algorithm": algorithm, "tasks": tasks, "steps": steps, "readable": True}
    tested = (folder / "meta_test.json").exists()
    text = f"{algorithm or 'a learner of its own'} on {tasks or 'tasks of its own'}"
    text += f", {counted(steps, 'steps')}" if isinstance(steps, int) else ""
    return Entry(str(folder), text, "" if tested else "not meta-tested", {**fields, "meta_tested": tested})


USUAL = ("algorithms", "tasks", "networks", "presets")
"""What is listed where no section is named."""
SECTIONS: Mapping[str, Callable[[], list[Entry]]] = {
    "algorithms": _algorithms,
    "tasks": _families,
    "networks": _networks,
    "presets": _presets,
    RUNS: _runs,
}
