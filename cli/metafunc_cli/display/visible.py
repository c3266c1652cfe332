"""Text from files, folders and messages as a terminal may show it: what would steer the terminal becomes visible."""

import unicodedata
from collections.abc import Iterable, Iterator

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
from rich.measure import Measurement
from rich.segment import Segment


def visible(text: str) -> str:
    r"""Text with its control characters, and those that turn the direction of writing, written out; lines stay lines.

    Examples:
        >>> visible("a\x1b[2Jb\n\u202e")
        'a\\x1b[2Jb\n\\u202e'
    """
    return "".join(_written_out(mark) if _steers(mark) else mark for mark in text)


class Visible(RenderHook):
    """For a console: shows everything that is printed on it with `visible` text, and colours of rich's own only."""

    def process_renderables(self, renderables: "list[ConsoleRenderable]") -> "list[ConsoleRenderable]":
        """Called by the console before it prints."""
        return [_Visible(renderable) for renderable in renderables]


class _Visible:
    def __init__(self, content: RenderableType) -> None:
        self.content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        segments: Iterable[Segment] = console.render(self.content, options)
        for segment in segments:
            yield segment if segment.control else segment._replace(text=visible(segment.text))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self.content)


def _steers(mark: str) -> bool:
    """Whether a character is a control (Cc), of format, such as a right-to-left override (Cf), or half of one (Cs)."""
    return mark not in "\n\t" and unicodedata.category(mark) in ("Cc", "Cf", "Cs")


def _written_out(mark: str) -> str:
    return mark.encode("unicode_escape", "surrogatepass").decode()
