"""Every algorithm, and every source that a preset names, has its paper."""

import re

import pytest
from metafunc_cli.presets.all import PRESETS
from metafunc_cli.presets.citations import Used, bibtex, keys, papers
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES

OURS = {"exact"}
"""Learners of no paper's."""


@pytest.mark.parametrize("name", sorted({*ALGORITHMS} - OURS))
def test_every_algorithm_has_a_paper(name: str) -> None:
    assert any(name in paper.get("algorithms", ()) for paper in papers().values())


def test_papers_name_what_there_is() -> None:
    for paper in papers().values():
        assert {*paper.get("algorithms", ())} <= {*ALGORITHMS}
        assert {*paper.get("tasks", ())} <= {*FAMILIES}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_source_of_a_preset_is_cited(preset) -> None:  # type: ignore[no-untyped-def]
    cited = [papers()[key] for key in keys([Used("exact", "glyphs", preset.source)])]
    years = {str(paper["year"]) for paper in cited}
    assert {*re.findall(r"\(((?:19|20)\d\d)\)", preset.source)} <= years
    spoken = [one for paper in papers().values() for one in paper.get("spoken", ())]
    assert "(20" not in preset.source or any(one in preset.source for one in spoken)


def test_what_is_used_is_cited_once_and_nothing_else() -> None:
    used = [Used("maml", "sinusoid", ""), Used("maml", "gp", ""), Used("exact", "gp", "")]
    text = bibtex(used)
    assert re.findall(r"^@\w+\{(\w+),", text, re.MULTILINE) == keys(used)
    assert keys(used) == ["finn2017maml", "bruinsma2021gnp", "demsar2006comparisons", "metafunc"]
    assert text.count("{") == text.count("}")
    assert "spoken" not in text
    assert "algorithms" not in text
