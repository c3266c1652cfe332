"""Puts the pages of the site together in one folder, from which `mkdocs.yml` builds it.

Pages stay where a reader of the repository expects them; here they get their place on the site, and links between them
are written again. What a link names that is no page leads to the repository.
"""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from docs.site import commands, reference

ROOT = Path(__file__).parents[2]
FOLDER = Path("build/pages")
"""Where the pages are put, below the repository's root; `mkdocs.yml` has the same."""
REPOSITORY = "https://github.com/metafunc/metafunc"
MOVED = {
    "README.md": "index.md",
    "benchmarks/README.md": "results.md",
    "examples/README.md": "examples.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Pages that lie outside of docs/, and where they are on the site. `docs/index.md` stands for the README."""
COPIED = ("docs/assets", "docs/images", "benchmarks/figures")
SORTER = "metafunc/results/page/sort.js"
"""What sorts the tables of a report, and here those of the results."""
CODE = re.compile(r"^(```+|~~~+).*?^\1[ \t]*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)")


def assemble(folder: Path = ROOT / FOLDER) -> None:
    """Write every page of the site, and copy what pages show.

    Args:
        folder: emptied and filled again.

    Raises:
        ValueError: a page has a link to a file that is not there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for source in COPIED:
        shutil.copytree(ROOT / source, folder / place(source))
    shutil.copy(ROOT / SORTER, folder / "assets")
    found = {place(name): page(name) for name in sources()}
    found |= commands.pages() | reference.pages()
    for name, text in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def sources() -> list[str]:
    """The pages that are written by hand, by their place in the repository."""
    every = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
    return every + [name for name in MOVED if name != "README.md"]


def place(name: str) -> str:
    """Where a file of the repository is on the site."""
    return MOVED.get(name, name.removeprefix("docs/").removeprefix("benchmarks/"))


def page(name: str) -> str:
    """A page of the repository as the site has it."""
    text = linked((ROOT / name).read_text(), name)
    if name == "examples/README.md":
        text += scripts()
    return notebook(text, name) if name.startswith("docs/notebooks/") else text


def linked(text: str, name: str) -> str:
    """A page with its links as they are on the site; code is left as it is."""
    pieces, end = [], 0
    for code in CODE.finditer(text):
        pieces += [_relinked(text[end : code.start()], name), code[0]]
        end = code.end()
    return "".join([*pieces, _relinked(text[end:], name)])


def _relinked(prose: str, name: str) -> str:
    return LINK.sub(lambda match: match[1] + target(match[2], name), prose)


def target(link: str, name: str) -> str:
    """What a relative link of a page is on the site.

    Args:
        link: relative to the page, without an anchor.
        name: the page, by its place in the repository.

    Raises:
        ValueError: there is no such file.

    Examples:
        >>> target("../benchmarks/README.md", "docs/tutorial.md")
        'results.md'
    """
    wanted = Path(os.path.normpath(Path(name).parent / link)).as_posix()
    if not (ROOT / wanted).exists():
        raise ValueError(f"{name} has a link to {link}, which is not there.")
    if wanted.startswith("examples/") and wanted.endswith(".py"):
        return f"{_from(name, 'examples.md')}#{anchor(Path(wanted))}"
    copied = any(wanted.startswith(f"{folder}/") for folder in COPIED)
    if copied or wanted in MOVED or (wanted.startswith("docs/") and wanted.endswith(".md")):
        return _from(name, place(wanted))
    return f"{REPOSITORY}/blob/main/{wanted}"


def _from(name: str, other: str) -> str:
    return Path(os.path.relpath(other, Path(place(name)).parent)).as_posix()


def anchor(script: Path) -> str:
    """What an example is called in a link."""
    return script.stem.replace("_", "-")


def scripts(paths: Iterable[Path] = ()) -> str:
    """The examples' sources, one below the other."""
    every = sorted(paths or (ROOT / "examples").glob("*.py"))
    heads = [f"\n## {path.name} {{ #{anchor(path)} }}\n" for path in every]
    return "".join(f"{head}\n```python\n{path.read_text()}```\n" for head, path in zip(heads, every, strict=True))


def notebook(text: str, name: str) -> str:
    """A notebook's page: without its header, and with the line that offers it for download."""
    body = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL).lstrip()
    title, _, rest = body.partition("\n")
    return f"{title}\n\n[Download as a notebook]({Path(name).stem}.ipynb){{ download }}\n{rest}"
