"""One concept has one word: the right-hand column of the table of docs/notation.md is refused wherever people read."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .prose import Text, first_lines, found_in, of_module, of_page
from .sources import GENERATED, ROOT, commands, modules, relative

PAGES = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "benchmarks").rglob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ]
)
UNREAD = {"tests/house/test_words.py": "it holds the refused words themselves, as samples"}
"""Files that are left out, and why."""
FOLDERS = ("benchmarks", "docs", "examples", "tests")
BESIDE = sorted(
    path
    for path in (*ROOT.glob("*.py"), *(each for folder in FOLDERS for each in (ROOT / folder).rglob("*.py")))
    if relative(path) not in UNREAD
)
"""What stands beside the house: tests, benchmarks, examples and the tools of the gate."""
SECTION = re.compile(r"^## Words\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
RATE = "a X a Y"
"""The one form of the table that stands for many: "a row a task", "points a class", "once a step"."""
ONE = "row|number|column|line|panel|scale|particle|index|product|thread|report|file|seed|draw|point|copy|task"
MANY = (
    "points|rows|drawings|images|classes|characters|queries|tasks|steps|trajectories|numbers|networks|priors|"
    "particles|evaluations|rollouts|gradients|epochs|operations|metres|seconds|minutes|hours|"
    "nats|ms|columns|panels|copies|products|shots|goals"
)
BY = (
    "task|step|row|class|character|run|metric|check|particle|trajectory|file|paper|chunk|point|seed|line|column|batch|"
    "iteration|second|minute|test|update|leaf|element|prior|family|episode|group|page|namespace|thread|process|core|"
    "copy|module|layer|method|cell|learner|kind|block|identity|observation|parameter|call|image|channel|draw|sample|"
    "setting|place|hour|day|action|adaptation|goal|state|policy|weight|unit|rank|machine|label|network|table|figure|"
    "option|entry|member|feature|axis|event|trial|rollout|environment|algorithm|tracker|training|curve|half"
)
GAP = r"(?!\s*\n\s*\n)\s+"
"""Between two words of one paragraph."""
RATES = re.compile(
    rf"\b((an?|one)\s+(\w+\s+)?({ONE})|(?<!how many )({MANY})|one|once|twice)"
    rf"{GAP}an?{GAP}((outer|inner|new|training)\s+)?({BY})\b(?!\s+(has|have|takes?|needs?|is|was|can)\b)",
    re.IGNORECASE,
)
"""A rate without its "per": what is counted, and what it is counted by."""


class Legitimate(NamedTuple):
    """Where a form of the table means something else.

    Args:
        form: the form.
        reason: what it means there.
        context: what it is a part of there; anything by default.
        files: the files, or folders, where it may stand; all by default.
    """

    form: str
    reason: str
    context: str = ""
    files: tuple[str, ...] = ("",)


CREDIT = (
    "metafunc/rl/losses.py",
    "metafunc/algorithms/policies/maml_rl.py",
    "cli/metafunc_cli/presets/control.py",
    relative(GENERATED),
    "docs/meta_rl.md",
    "tests/cli/settings/test_flag_values.py",
    "benchmarks/README.md",
    "benchmarks/rl/navigation.py",
    "tests/algorithms/policies/",
    "tests/rl/",
)
PLAY = (
    "cli/metafunc_cli/__main__.py",
    "cli/metafunc_cli/commands/play.py",
    "cli/metafunc_cli/settings/word_table.py",
    "cli/metafunc_cli/settings/run_argument.py",
    "metafunc/results/live_server.py",
    "noxfile.py",
    "tests/cli/commands/test_report_and_play.py",
    "tests/house/wheel_contents.py",
    "tests/results/test_pages_in_browser.py",
)
LINES = ("metafunc/data/families/sine_or_line.py", "tests/testing/problems/test_linear_gaussian.py")
LEGITIMATE = (
    Legitimate("dice", "the estimator", r"DiCE|`(loaded_)?dice`|\blvc dice\b|(loaded|lambda) dice"),
    Legitimate("dice", "the estimator", r"\A(loaded )?dice\Z", ("metafunc/rl/estimators.py", relative(GENERATED))),
    Legitimate("dice", "the estimator", files=("tests/algorithms/policies/", "tests/rl/")),
    Legitimate("edge", "a bin's", r"\Aedges\Z", ("metafunc/evaluation/metrics/calibration.py",)),
    Legitimate("slope", "a line's", r"slopes?(,| and) intercepts?"),
    Legitimate("slope", "a line's", files=LINES),
    Legitimate("slope", "a rectifier's", r"random slopes"),
    Legitimate("play", "the command", r"`?metafunc play\b"),
    Legitimate("play", "the command", files=PLAY),
    Legitimate("swap", "one function for another", files=("metafunc/nn/", "docs/gotchas.md")),
    Legitimate("signal", "the operating system's", files=("metafunc/training/", "metafunc/execution/", "cli/")),
    Legitimate("signal", "the operating system's", files=("docs/decisions/", "docs/architecture.md", "CHANGELOG.md")),
    Legitimate("signal", "the operating system's", files=("tests/execution/", "tests/training/", "tests/cli/")),
    Legitimate("signal", "the operating system's", files=("docs/reliability.md", "tests/house/faults/")),
    Legitimate("signal", "the operating system's", files=("docs/ranks.md",)),
    Legitimate("signal", "an input along one axis", files=("tests/nn/module_cases.py",)),
    Legitimate("signal", "beside noise", r"[Nn]o signal|signal[- ]to[- ]noise"),
    Legitimate("credit", "what E-MAML gives to the sampled data", files=CREDIT),
    Legitimate("told", "distinguished", r"[Tt]old apart"),
    Legitimate("turned", "another verb", r"[Tt]urned (into|to|out|off|on)\b"),
)


def forms() -> list[str]:
    """The right-hand column of the page's table."""
    section = re.search(SECTION, (ROOT / "docs/notation.md").read_text())
    assert section, "docs/notation.md has no section of words"
    rows = re.findall(r"^\|[^|]*\|[^|]*\|([^|]*)\|$", section[0], flags=re.MULTILINE)[2:]
    return list(dict.fromkeys(form.strip() for row in rows for form in row.split(",")))


def pattern(form: str) -> re.Pattern[str]:
    """A form with any ending of its first word, and a plural of its last, on one line or across two."""
    if form == RATE:
        return RATES
    first, *rest = form.split()
    stem, last = first[:-1], first[-1]
    endings = {"e": "(e|es|ed|er|ers|ing)", "y": "(y|ies|ied|ying|ys|yed|yer|yers)"}
    ending = endings.get(last, f"{last}({last}?(ed|er|ers|ing)|s|es)?")
    words = [re.escape(stem) + ending, *map(re.escape, rest)]
    return re.compile(r"\b" + GAP.join(words) + r"s?\b", re.IGNORECASE)


PATTERNS = {form: pattern(form) for form in forms()}


def refused(name: str, texts: list[Text]) -> Iterator[str]:
    """The lines of a file that hold a form of the table, but for those where it means something else."""
    for form, compiled in PATTERNS.items():
        contexts = [each.context for each in LEGITIMATE if each.form == form and name.startswith(each.files)]
        if "" not in contexts:
            yield from (f"{name}:{line}: {words}" for line, words in found_in(compiled, texts, "|".join(contexts)))


def texts_of(path: Path) -> list[Text]:
    source = path.read_text()
    if path.suffix == ".py":
        return of_module(source)
    # The table itself is left out, in such a way that lines keep their numbers.
    return of_page(re.sub(SECTION, lambda section: "\n" * section[0].count("\n"), source))


@pytest.mark.parametrize("path", [*modules(), *commands(), *BESIDE, *PAGES], ids=relative)
def test_words_are_the_fields(path: Path) -> None:
    assert not sorted(refused(relative(path), texts_of(path)))


@pytest.mark.parametrize("form", PATTERNS)
def test_a_form_is_caught_in_prose_and_in_code(form: str) -> None:
    wrong = "one row a task" if form == RATE else form
    broken = wrong.replace(" ", "\n")
    assert list(refused("docs/x.md", of_page(f"It has {broken} here.")))
    for source in (f'"""It has {wrong} here."""', f"# It has {wrong}\n", f'print(f"It has {wrong}, {{1}}")'):
        assert list(refused("metafunc/x.py", of_module(source)))


@pytest.mark.parametrize(
    "source",
    ["def collect_slopes(): pass", "class TaskWorld: pass", "dice = 1", "def f(told): pass", "for mended in (): pass"],
)
def test_a_name_is_caught(source: str) -> None:
    assert list(refused("metafunc/x.py", of_module(source)))


@pytest.mark.parametrize(
    "text",
    [
        "Points a task has.",
        "How many rows a class has.",
        "The slope and intercept.",
        "Told apart.",
        "Draws an episode.",
        "DiCE's box.",
        "An amendment to the display.",
        "A row per task.",
        "# A file and one row\n\nAn algorithm is both.",
        "He recommended `played`.",
        "`vmap` maps a `NamedTuple` natively, and predicts a distribution.",
        "```\nworld\n```\n",
    ],
)
def test_what_means_something_else_passes(text: str) -> None:
    assert not list(refused("docs/x.md", of_page(text)))


@pytest.mark.parametrize("path", [*modules(), *commands()], ids=relative)
def test_docstrings_begin_with_a_sentence(path: Path) -> None:
    """Of functions and classes that are public: a word or two is a riddle."""
    assert not [name for name, first in first_lines(path.read_text()) if name[0] != "_" and len(first.split()) < 3]


def test_the_line_is_that_of_the_word() -> None:
    assert list(refused("x.py", of_module('"""One.\n\nThe\nworld.\n"""\n'))) == ["x.py:4: world"]
    assert list(refused("x.md", of_page("```\nworld\n```\n\nIt is carried\nout."))) == ["x.md:5: carried out"]


def test_every_exception_is_of_a_form() -> None:
    assert {each.form for each in LEGITIMATE} <= PATTERNS.keys()
