"""Writes the tables of docs/choosing.md from the rows of algorithms and task families: `nox -s config`.

What is between a pair of HTML comments, `<!-- algorithms -->` and `<!-- end of algorithms -->`, is written here; the
advice around it is written by hand.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from metafunc_cli.presets.all import PRESETS
from metafunc_cli.settings.generated import FAMILIES

from metafunc.algorithms import ALGORITHMS, Algorithm

PAGE = Path(__file__).with_name("choosing.md")


def main() -> None:
    """Write the page's tables again."""
    PAGE.write_text(replaced(PAGE.read_text(), tables()))


def tables() -> dict[str, str]:
    """The tables by the name of their markers."""
    return {
        "algorithms": table(
            ("algorithm", "what it is", "tasks", "adapts by", "meta-gradient", "presets for"),
            (
                (f"`{name}`", row.summary, " · ".join(row.kinds), adapts(row), gradient(row), presets(name))
                for name, row in ALGORITHMS.items()
            ),
        ),
        "families": table(
            ("tasks", "what they are", "kind", "usual network"),
            ((f"`{name}`", row.summary, " · ".join(row.kinds), f"`{row.model}`") for name, row in FAMILIES.items()),
        ),
    }


def adapts(row: Algorithm) -> str:
    """How a learner adapts."""
    return "steps" if row.inner_steps else "conditioning"


def gradient(row: Algorithm) -> str:
    """What its meta-gradient is."""
    if not row.trains:
        return "none"
    if "control" in row.kinds:
        return "its estimator's"
    return "exact" if row.exact else "the paper's"


def presets(algorithm: str) -> str:
    """The task families that an algorithm has a paper's settings for, in order and once each."""
    found = dict.fromkeys(preset.tasks for preset in PRESETS if preset.algorithm == algorithm)
    return ", ".join(f"`{name}`" for name in found)


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    header = tuple(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def replaced(page: str, found: Mapping[str, str]) -> str:
    """A page with what is between each pair of markers replaced.

    Raises:
        ValueError: a pair of markers is missing, or is there twice.
    """
    for name, text in found.items():
        between = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)", flags=re.DOTALL)
        page, count = between.subn(lambda match, text=text: match[1] + text + match[2], page)
        if count != 1:
            raise ValueError(f"The page has {count} pairs of markers for the table {name!r}; it needs one.")
    return page


if __name__ == "__main__":
    main()
