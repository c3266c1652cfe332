"""What a reader of the house reads: prose of pages, docstrings, comments, messages, and the names that it gives."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from typing import NamedTuple


class Text(NamedTuple):
    """A piece of prose, and the line where it begins."""

    line: int
    text: str


def of_page(source: str) -> list[Text]:
    """A page without its code, which is blanked so that lines keep their numbers."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    return [Text(1, re.sub(r"^```.*?^```|`[^`\n]+`", blank, source, flags=re.MULTILINE | re.DOTALL))]


def of_module(source: str) -> list[Text]:
    """A module's docstrings and other strings, its comments, and the names that it defines."""
    tree = ast.parse(source)
    strings = [
        Text(node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return [*strings, *_comments(source), *(Text(line, spoken(name)) for line, name in _names(tree))]


def _comments(source: str) -> Iterator[Text]:
    """Comments; those on lines one after the other are one text."""
    block: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if block and token.start[0] != block[-1][0] + 1:
                yield Text(block[0][0], "\n".join(text for _, text in block))
                block = []
            block.append((token.start[0], token.string.lstrip("# ")))
    if block:
        yield Text(block[0][0], "\n".join(text for _, text in block))


def _names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The names that are given: of functions, classes, arguments, fields and variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


def spoken(name: str) -> str:
    """A name as the words that it is made of: `_MetaLearner` and `meta_learner` are "meta learner"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").strip().lower()


def first_lines(source: str) -> Iterator[tuple[str, str]]:
    """The first lines of the docstrings of functions and classes, by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (docstring := ast.get_docstring(node)):
            yield node.name, docstring.splitlines()[0]


def found_in(pattern: re.Pattern[str], texts: list[Text], unless: str) -> Iterator[tuple[int, str]]:
    """Where a pattern is found that is no part of a context: the line, and what was found, on one line."""
    for line, text in texts:
        spared = [match.span() for match in re.finditer(unless, text)] if unless else []
        for match in pattern.finditer(text):
            if not any(start <= match.start() and match.end() <= end for start, end in spared):
                yield line + text.count("\n", 0, match.start()), " ".join(match[0].split())
