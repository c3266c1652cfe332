"""The site: its pages, their place in its navigation, and the reference that is made from tables and configuration."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import jupytext
import pytest
import yaml
from metafunc_cli.__main__ import COMMANDS

import metafunc
from docs.site import __main__ as site
from docs.site import assemble, commands, reference
from metafunc.algorithms import ALGORITHMS
from metafunc.data import FAMILIES
from metafunc.evaluation.metrics import METRICS

ROOT = Path(__file__).parents[2]
CONFIGURATION = yaml.safe_load((ROOT / "mkdocs.yml").read_text())


def leaves(entry: Any) -> list[str]:
    """The pages of a part of the navigation."""
    if isinstance(entry, str):
        return [entry]
    return [page for each in (entry.values() if isinstance(entry, dict) else entry) for page in leaves(each)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "pages"
    assemble.assemble(folder)
    return folder


def test_every_page_has_one_place_in_the_navigation(pages: Path) -> None:
    there = sorted(path.relative_to(pages).as_posix() for path in pages.rglob("*.md"))
    assert sorted(leaves(CONFIGURATION["nav"])) == there


def test_the_reference_of_the_navigation_is_what_the_tables_give() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    assert site.with_navigation(text) == text, "run `nox -s config`"
    with pytest.raises(ValueError, match="0 pairs of markers"):
        site.with_navigation(text.replace("# end of reference", ""))


def test_the_configuration_asks_nothing_of_other_hosts(pages: Path) -> None:
    assert CONFIGURATION["theme"]["font"] is False
    assert "offline" not in str(CONFIGURATION["plugins"])
    assert "repo_url" not in CONFIGURATION, "with it every page asks the repository's host for its numbers"
    for name in CONFIGURATION["extra_css"] + CONFIGURATION["extra_javascript"]:
        assert (pages / name).exists(), name
    style = (pages / "assets/katex/katex.min.css").read_text()
    fonts = {name for name in re.findall(r"url\(([^)]+)\)", style) if name.endswith("woff2")}
    assert fonts
    assert not [name for name in fonts if not (pages / "assets/katex" / name).exists()]
    assert "MIT" in (pages / "assets/katex/LICENSE").read_text()


def test_every_builder_and_every_public_name_has_a_page() -> None:
    found = reference.pages()
    assert {f"reference/algorithms/{name}.md" for name in ALGORITHMS} <= found.keys()
    assert {f"reference/tasks/{name}.md" for name in FAMILIES} <= found.keys()
    homes = {getattr(metafunc, name).__module__ for name in metafunc._NAMES}
    assert {reference.place(home) for home in homes} <= found.keys()
    assert "::: metafunc.algorithms.gradient_based.maml.maml\n" in found["reference/algorithms/maml.md"]
    assert all(f"| `{name}` |" in found["reference/metafunc.md"] for name in (*metafunc._NAMES, *metafunc._MODULES))


def test_every_command_and_every_flag_is_there() -> None:
    page = commands.commands()
    sections = dict(re.findall(r"^## metafunc (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert [*sections] == [*COMMANDS]
    for name, parts in commands.OPTIONS.items():
        for field in (field for part in parts for field in fields(part) if field.name not in ("network", "target")):
            assert f"| `--{field.name.replace('_', '-')}` |" in sections[name], (name, field.name)
    assert "usage: metafunc list" in sections["list"]
    assert "| `--steps` | whole number | `10000` | outer steps. |" in sections["train"]
    assert "| `--model` | `NAME` |  | the network" in sections["train"]


def test_every_setting_is_there_with_its_text() -> None:
    page = commands.settings()
    for _, rows, prefix in commands.HEADS.values():
        for name, row in rows.items():
            section = re.search(rf"^### {name}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
            assert section, name
            for field in fields(row.fields):
                flag = f"--{prefix}{field.name}".replace("_", "-")
                line = re.search(rf"^\| `{flag}` \|.*\| (.*) \|$", section[1], re.MULTILINE)
                assert line, (name, field.name)
                assert line[1], (name, field.name)


def test_links_are_those_of_the_site() -> None:
    page = "See [a](../benchmarks/README.md#speed), [b](tutorial.md), [c](../LICENSE), `[d](e.md)`.\n"
    page += "```\n[f](g.md)\n```\n"
    assert assemble.linked(page, "docs/faq.md") == (
        "See [a](results.md#speed), [b](tutorial.md), "
        f"[c]({assemble.REPOSITORY}/blob/main/LICENSE), `[d](e.md)`.\n```\n[f](g.md)\n```\n"
    )
    assert assemble.target("../../benchmarks/README.md", "docs/notebooks/first-steps.md") == "../results.md"
    assert assemble.target("03_an_ensemble.py", "examples/README.md") == "examples.md#03-an-ensemble"
    with pytest.raises(ValueError, match=r"docs/faq.md has a link to gone.md"):
        assemble.target("gone.md", "docs/faq.md")


def test_the_glossary_has_every_metric_and_every_column() -> None:
    page = (ROOT / "docs/glossary.md").read_text()
    table = page.split("## Metrics")[1].split("\n## ")[0]
    for name, row in METRICS.items():
        line = re.search(rf"^\| `{name}` \| (.) \| (.*?) \|", table, re.MULTILINE)
        assert line, f"docs/glossary.md has no {name}"
        assert line[1] == ("↑" if row.higher_is_better else "↓")
        assert line[2] == ("both" if len(row.kinds) > 1 else row.kinds[0])
    assert {*re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)} == {*METRICS}
    columns = ("ci95", "median", "trimmed_mean", "diverged", "noise_scale", "noise_tasks_left_out", "temperature")
    more = ("prior_precision", "seconds", "parameters", "interval", "loss", "gradient_norm", "outer_lr", "entropy")
    assert not [name for name in (*columns, *more) if f"`{name}`" not in page]


@pytest.mark.parametrize("path", sorted((ROOT / "docs/notebooks").glob("*.md")), ids=lambda path: path.stem)
def test_notebooks_have_cells_of_both_kinds(path: Path) -> None:
    found = jupytext.read(path)
    assert found.metadata["kernelspec"]["name"] == "python3"
    assert {cell.cell_type for cell in found.cells} == {"markdown", "code"}
    code = [cell.source for cell in found.cells if cell.cell_type == "code"]
    assert not [line for source in code for line in source.splitlines() if len(line) > 120]


def test_a_notebook_has_a_page_without_its_header(pages: Path) -> None:
    page = (pages / "notebooks/first-steps.md").read_text()
    assert page.startswith("# First steps")
    assert "](first-steps.ipynb)" in page
    assert "jupytext" not in page


def test_the_readme_is_whole_where_no_checkout_is() -> None:
    page = re.sub(r"^```.*?^```", "", (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    home = f"{assemble.REPOSITORY}/blob/main/"
    targets = re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", page, re.MULTILINE)
    links = [inline or defined for inline, defined in targets]
    assert len(links) > 10
    assert not [link for link in links if not link.startswith("https://")]
    assert not [link for link in links if link.startswith(home) and not (ROOT / link.removeprefix(home)).exists()]
    words = {" ".join(text.split()) for text in re.findall(r"(?<!\!)\[([^\]]+)\](?![(:])", page)}
    assert words == {*re.findall(r"^\[([^\]]+)\]:", page, re.MULTILINE)}, "a link has no target, or a target no link"


def test_the_citation_is_that_of_the_file() -> None:
    file, page = yaml.safe_load((ROOT / "CITATION.cff").read_text()), (ROOT / "docs/citation.md").read_text()
    assert f"title  = {{{file['title']}}}" in page
    assert file["authors"][0]["name"] in page


def test_the_builders_of_the_site_are_pinned() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert {"zensical==0.0.73", "mkdocstrings-python==2.0.11"} <= {*groups["site"]}
    assert {"include-group": "site"} in groups["dev"]
