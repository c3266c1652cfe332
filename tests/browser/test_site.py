"""The built site in a browser: every page loads from here alone, equations are rendered, and the search finds.

The site is built by `nox -s site`; without it there is nothing to look at.
"""

import os
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.browser
SITE = Path(__file__).parents[2] / "build/site"
SEEN = ("", "concepts/", "reference/algorithms/maml/", "reference/commands/", "bayesian/", "results/", "gallery/")
"""What is looked at in both schemes and on a telephone: the home page, pages of the reference, equations, pictures."""
RENDERED = "document.querySelectorAll('.arithmatex').length <= document.querySelectorAll('.katex').length"
FOUND = {
    "maml_plus_plus": "algorithms/maml_plus_plus",
    "PLATIPUS": "algorithms/platipus",
    "alpaca": "algorithms/alpaca",
}
"""What is looked for, and the page of the reference that has to be the first result."""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    if not (SITE / "index.html").exists():
        if os.environ.get("METAFUNC_REQUIRE_DATA"):
            pytest.fail("there is no build/site: run `nox -s site` first")
        pytest.skip("there is no build/site: run `nox -s site` first")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    program = os.environ.get("METAFUNC_CHROMIUM") or shutil.which("chromium") or pytest.skip("there is no Chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page, and what went wrong on it: answers that are no 200, messages of the console, requests to elsewhere."""

    def __init__(self, chromium: Any, address: str, **settings: Any) -> None:
        self.address, self.wrong = address, list[str]()
        self.context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self._note(message.type in ("error", "warning"), message.text))
        self.page.on("pageerror", lambda error: self._note(True, str(error)))
        self.page.on("request", lambda request: self._note(not self._here(request.url), request.url))
        self.page.on(
            "response", lambda answer: self._note(answer.status not in (200, 304), f"{answer.status} {answer.url}")
        )

    def _here(self, url: str) -> bool:
        return url.startswith((self.address, "data:", f"blob:{self.address}"))

    def _note(self, wrong: bool, what: str) -> None:
        self.wrong += [what] if wrong else []

    def open(self, path: str) -> Any:
        """Load a page of the site, with its equations."""
        self.page.goto(self.address + path, wait_until="load")
        self.page.wait_for_function("typeof renderMathInElement === 'function'")
        return self.page


@pytest.fixture
def watched(chromium: Any, address: str) -> Iterator[Watched]:
    watched = Watched(chromium, address)
    yield watched
    watched.context.close()


def paths() -> list[str]:
    """Every page of the built site."""
    return sorted(path.parent.relative_to(SITE).as_posix() for path in SITE.rglob("index.html"))


def looked_at() -> list[str]:
    """The pages that are opened: all that were written by hand, and of each folder of the reference the first."""
    reference = {path.rpartition("/")[0]: path for path in reversed(paths()) if path.startswith("reference/")}
    return [path for path in paths() if not path.startswith("reference/")] + sorted(reference.values())


def test_every_page_is_served_and_shows_nothing_from_elsewhere(address: str) -> None:
    for path in paths():
        with urlopen(f"{address}{'' if path == '.' else path + '/'}") as answer:
            assert answer.status == 200, path
            text = answer.read().decode()
        assert not re.findall(
            r"<(?:script|img|iframe)[^>]*src=.?https?:[^ >]*|<link[^>]*stylesheet[^>]*https?:", text
        ), path
    assert len(paths()) > 100


def test_pages_load_from_here_alone(watched: Watched) -> None:
    equations = 0
    for path in looked_at():
        page = watched.open("" if path == "." else f"{path}/")
        assert page.locator("h1").count() == 1, path
        page.wait_for_function(RENDERED)
        assert page.locator(".katex-error").count() == 0, path
        equations += page.locator(".katex").count()
        assert not watched.wrong, (path, watched.wrong)
    assert len(looked_at()) > 40
    assert equations > 200


def test_what_goes_wrong_is_seen(watched: Watched) -> None:
    page = watched.open("")
    page.evaluate("fetch('no-such-page').catch(() => 0)")
    page.evaluate("console.error('of the console')")
    page.evaluate("fetch('http://127.0.0.2:9/').catch(() => 0)")
    page.wait_for_timeout(200)
    for part in ("404", "of the console", "127.0.0.2"):
        assert [what for what in watched.wrong if part in what], part


@pytest.mark.parametrize("words", FOUND)
def test_the_search_finds(watched: Watched, words: str) -> None:
    page = watched.open("")
    page.keyboard.press("Control+k")
    page.keyboard.type(words)
    page.get_by_text(re.compile(r"^[0-9]+ results$")).wait_for()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/reference/{FOUND[words]}/**")
    assert not watched.wrong


def test_a_head_sorts_a_table_of_the_results(watched: Watched) -> None:
    page = watched.open("results/")
    assert page.locator("article th > button").count() == page.locator("article thead th").count() > 100
    table = page.locator("article table", has_text="mean squared error over tasks").first
    head = table.get_by_role("button", name="10 steps")

    def column(number: int) -> list[str]:
        return [text.split("±")[0].strip() for text in table.locator(f"tbody td:nth-child({number})").all_inner_texts()]

    before = column(7)
    finite = sorted((text for text in before if text != "diverges"), key=float)
    assert "diverges" in before
    assert before != [*finite, "diverges"]
    head.click()
    assert column(7) == [*finite, "diverges"]
    head.click()
    assert column(7) == [*reversed(finite), "diverges"]
    table.get_by_role("button", name="mean squared error over tasks").click()
    assert column(2) == sorted(column(2))
    for name in ("", "choosing/"):
        assert watched.open(name).locator("th > button").count() == 0, name
    assert not watched.wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_the_screen(chromium: Any, address: str, scheme: str, width: int, tmp_path: Path) -> None:
    watched = Watched(chromium, address, viewport={"width": width, "height": 900}, color_scheme=scheme)
    folder = Path(os.environ.get("METAFUNC_SCREENSHOTS", tmp_path))
    for path in SEEN:
        page = watched.open(path)
        page.screenshot(path=str(folder / f"{path.strip('/').replace('/', '-') or 'home'}-{scheme}-{width}.png"))
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        brightness = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).slice(0, 3).map(Number)"
        )
        assert (sum(brightness) > 3 * 128) == (scheme == "light"), path
        filters = page.eval_on_selector_all("article img", "all => all.map(one => getComputedStyle(one).filter)")
        assert all((one == "none") == (scheme == "light") for one in filters), path
        assert path != "gallery/" or len(filters) > 5
    assert not watched.wrong
    watched.context.close()


def test_the_way_from_home_to_a_function(watched: Watched) -> None:
    page = watched.open("")
    page.get_by_role("link", name="Reference", exact=True).first.click()
    page.get_by_role("link", name="metafunc", exact=True).last.click()
    page.get_by_role("link", name="metafunc.training.fit").first.click()
    page.wait_for_url("**/reference/training/fit/")
    assert page.locator("#metafunc\\.training\\.fit\\.fit").count() == 1
    assert page.get_by_text("Examples", exact=False).count() > 0
    assert not watched.wrong
