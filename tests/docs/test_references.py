"""What the pages refer to is there: files, dotted names, and the benchmarks' commands."""

import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (".", "docs", "docs/decisions", "docs/notebooks", "examples", "benchmarks", "benchmarks/speed")
PAGES = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))
CHANGES = ROOT / "CHANGELOG.md"  # also names what was


def each(pages: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", pages, ids=lambda path: str(path.relative_to(ROOT)))


@each(PAGES)
def test_links_lead_to_files(page: Path) -> None:
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", prose)
    assert not [target for target in targets if not (page.parent / target).exists()]


@each([page for page in PAGES if page != CHANGES])
def test_dotted_names_exist(page: Path) -> None:
    names = {*re.findall(r"\bmetafunc(?:\.[A-Za-z_]\w*)+", page.read_text())}
    assert not [name for name in names if not exists(name)]


@each(PAGES)
def test_commands_of_benchmarks_exist(page: Path) -> None:
    modules = {*re.findall(r"python -m (benchmarks(?:\.\w+)+)", page.read_text())}
    assert not [module for module in modules if importlib.util.find_spec(module) is None]


def test_the_page_of_parts_has_every_package() -> None:
    packages = [path.parent.name for path in (ROOT / "metafunc").glob("*/__init__.py")]
    page = (ROOT / "docs/api.md").read_text()
    assert len(packages) == 13
    assert not [name for name in packages if f"**`metafunc.{name}`**: " not in page]


def exists(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_a_name_that_is_gone_is_found() -> None:
    assert exists("metafunc.nn.exact.weight_norm")
    assert not exists("metafunc.posterior.kl")
    assert not exists("metafunc.nn.nothing")
