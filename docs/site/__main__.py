"""Puts the site together: `python -m docs.site`, with `navigation` or `notebooks FOLDER` for a part of it alone.

`navigation` writes the reference's part of mkdocs.yml again; `notebooks` writes notebooks that Jupyter opens.
"""

import re
import sys
from pathlib import Path

import jupytext

from docs.site import assemble, reference

BETWEEN = re.compile(r"(# reference\n)(?:.*?\n)?( *# end of reference)", re.DOTALL)


def with_navigation(text: str) -> str:
    """The configuration with the reference's pages between its markers.

    Raises:
        ValueError: the markers are missing, or are there twice.
    """
    text, count = BETWEEN.subn(lambda match: match[1] + reference.navigation() + match[2], text)
    if count != 1:
        raise ValueError(f"mkdocs.yml has {count} pairs of markers for the reference; it needs one.")
    return text


def notebooks(folder: Path) -> None:
    """Write the pages of docs/notebooks as notebooks, which are not executed."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((assemble.ROOT / "docs/notebooks").glob("*.md")):
        jupytext.write(jupytext.read(path), folder / f"{path.stem}.ipynb")


def main(arguments: list[str]) -> None:
    """Do what was asked for."""
    match arguments:
        case []:
            assemble.assemble()
            notebooks(assemble.ROOT / assemble.FOLDER / "notebooks")
        case ["navigation"]:
            reference.CONFIGURATION.write_text(with_navigation(reference.CONFIGURATION.read_text()))
        case ["notebooks", folder]:
            notebooks(Path(folder))
        case _:
            sys.exit("usage: python -m docs.site [navigation | notebooks FOLDER]")


if __name__ == "__main__":
    main(sys.argv[1:])
