"""Reports and the page of `metafunc play` in Chromium: drawn without an error, without a request elsewhere.

METAFUNC_CHROMIUM names the browser, as the gate's session `browser` does; without it these tests are skipped. With
METAFUNC_SCREENSHOTS, a folder, every page is photographed there in light, in dark and 390 pixels wide.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from metafunc.results.html_report import html_report
from metafunc.results.live import live
from metafunc.results.live_server import LiveServer

from .page_cases import HOSTILE, comparison_folder, run_folder

pytestmark = pytest.mark.browser
NAMES = {"maml": "maml", HOSTILE: "fomaml", "alpaca": "alpaca"}
LOOKS = {"light": (1200, "light"), "dark": (1200, "dark"), "narrow": (390, "light")}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    where = os.environ.get("METAFUNC_CHROMIUM")
    if not where:
        pytest.skip("needs METAFUNC_CHROMIUM, as nox -s browser has it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=where, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, Path]:
    return {
        "maml": run_folder(folder / "maml"),
        "alpaca": run_folder(folder / "alpaca", "alpaca"),
        "circles": run_folder(folder / "circles", tasks="circles"),
    }


@pytest.fixture(scope="module")
def reports(folder: Path, runs: dict[str, Path]) -> dict[str, Path]:
    comparison = comparison_folder(folder / "comparison", runs["maml"], NAMES)
    sources = {"comparison": comparison, "run": runs["maml"], "classes": runs["circles"]}
    return {name: html_report(source) for name, source in sources.items()}


@contextmanager
def opened(browser: Any, url: str, look: str = "light", ready: str = "drawn") -> Iterator[Any]:
    """A page that is ready; at its end there was no error, no dialogue, and no request off this machine."""
    width, scheme = LOOKS[look]
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(f"dialogue {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: None if allowed(request.url, url) else wrong.append(request.url))
    page.on("response", lambda answer: None if answer.status == 200 else wrong.append(f"{answer.status} {answer.url}"))
    answer = page.goto(url)
    assert answer.status == 200
    page.wait_for_selector(f"html[data-{ready}]", timeout=60_000)
    yield page
    page.close()
    assert wrong == []


def allowed(url: str, page: str) -> bool:
    """Whether a page may ask for it: itself, its server on this machine, and what it holds as data."""
    return url == page or url.startswith("data:") or (urlsplit(url).hostname == "127.0.0.1" and page.startswith("http"))


@contextmanager
def served(run: Path) -> Iterator[LiveServer]:
    with LiveServer(live(run), run.name) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def photograph(page: Any, name: str) -> None:
    if place := os.environ.get("METAFUNC_SCREENSHOTS"):
        page.screenshot(path=Path(place) / f"{name}.png", full_page=True)


def fits(page: Any) -> bool:
    """Whether nothing is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", ["comparison", "run", "classes"])
def test_a_report_is_drawn(browser: Any, reports: dict[str, Path], name: str, look: str) -> None:
    with opened(browser, reports[name].as_uri(), look) as page:
        visible = page.locator(".chart:visible").count()
        assert (
            page.locator(".chart:visible svg").count()
            == visible
            == int(page.evaluate("document.documentElement.dataset.drawn"))
        )
        assert visible > 1
        assert fits(page)
        # Menus, boxes and bars that the browser draws are dark where the page is.
        assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light dark"
        photograph(page, f"{name}-{look}")


def test_a_hostile_name_is_shown_as_it_is(browser: Any, reports: dict[str, Path]) -> None:
    with opened(browser, reports["comparison"].as_uri()) as page:
        assert HOSTILE in page.locator("#results tbody th").nth(1).inner_text()
        assert page.locator("main img").count() == 0


def paths(page: Any) -> list[str]:
    """What the function explorer draws."""
    found: list[str] = page.eval_on_selector_all("#functions svg path", "all => all.map(one => one.getAttribute('d'))")
    return found


def test_the_slider_and_the_task_change_what_is_drawn(browser: Any, reports: dict[str, Path]) -> None:
    with opened(browser, reports["comparison"].as_uri()) as page:
        page.wait_for_selector("#functions[data-shown='0 2']")
        last = paths(page)
        page.locator("#functions [name=step]").fill("0")
        page.wait_for_selector("#functions[data-shown='0 0']")
        first = paths(page)
        page.locator("#functions [name=task]").select_option(index=1)
        page.wait_for_selector("#functions[data-shown='1 0']")
        assert last != first != paths(page)


def test_a_head_sorts_the_table_both_ways(browser: Any, reports: dict[str, Path]) -> None:
    with opened(browser, reports["comparison"].as_uri()) as page:

        def column() -> list[float]:
            cells = page.locator("#results tbody tr td:nth-child(2)")
            return [float(cells.nth(i).get_attribute("data-value")) for i in range(cells.count())]

        head = page.locator("#results thead button").nth(1)
        values = column()
        head.click()
        assert column() == sorted(values)
        head.click()
        assert column() == sorted(values, reverse=True)
        page.locator("#results thead button").nth(0).click()
        assert page.locator("#results tbody th").nth(1).inner_text().startswith("alpaca")


def test_another_metric_is_another_picture(browser: Any, reports: dict[str, Path]) -> None:
    with opened(browser, reports["comparison"].as_uri()) as page:
        page.locator("#adaptation select").select_option("nll")
        page.wait_for_selector("#adaptation [data-option=nll] svg")
        assert page.locator("#adaptation .chart:visible").count() == 1
        assert "log-likelihood" in page.locator("#adaptation figcaption:visible").inner_text()


def test_a_report_prints(browser: Any, reports: dict[str, Path], folder: Path) -> None:
    with opened(browser, reports["comparison"].as_uri(), "dark") as page:
        printed = page.pdf(format="A4")
        assert printed.startswith(b"%PDF")
        assert len(printed) > 20_000
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"


def click(page: Any, *places: tuple[float, float]) -> None:
    """Set points, each given by shares of the width and the height."""
    box = page.locator("#stage").bounding_box()
    for across, down in places:
        page.locator("#stage").click(position={"x": across * box["width"], "y": down * box["height"]})


def after(page: Any, number: int) -> None:
    """Wait for the answer to a request."""
    page.wait_for_selector(f'html[data-adapted="{number}"]', timeout=60_000)


@pytest.mark.parametrize("look", LOOKS)
def test_points_change_the_prediction_and_can_be_removed(browser: Any, runs: dict[str, Path], look: str) -> None:
    with served(runs["alpaca"]) as server, opened(browser, server.url, look, "adapted") as page:
        mean: Callable[[], str] = lambda: str(page.locator("#plot .mean").get_attribute("d"))  # noqa: E731
        before = mean()
        click(page, (0.3, 0.3), (0.5, 0.6))
        after(page, 3)
        assert mean() != before
        assert page.locator("#plot .point").count() == 2
        assert page.locator("#plot .draw").count() == 3
        assert page.locator("#plot .band").count() == 1
        assert "2 points; adapted and predicted in" in page.locator("#status").inner_text()
        assert fits(page)
        photograph(page, f"play-{look}")
        page.locator("#plot .point").first.click()
        page.locator("#undo").click()
        after(page, 5)
        assert mean() == before


def test_steps_and_examples_of_a_point_learner(browser: Any, runs: dict[str, Path]) -> None:
    with served(runs["maml"]) as server, opened(browser, server.url, "light", "adapted") as page:
        page.locator("#example").click()
        after(page, 2)
        assert page.locator("#plot .point").count() > 1
        mean = page.locator("#plot .mean").get_attribute("d")
        page.locator("#steps").fill("0")
        after(page, 3)
        assert page.locator("#plot .mean").get_attribute("d") != mean


def test_the_plane_is_coloured_by_class(browser: Any, runs: dict[str, Path]) -> None:
    pixels = "(() => { const c = document.getElementById('canvas'); return c.toDataURL(); })()"
    with served(runs["circles"]) as server, opened(browser, server.url, "light", "adapted") as page:
        click(page, (0.3, 0.3))
        page.locator("#classes button").nth(0).click()
        click(page, (0.7, 0.7))
        after(page, 3)
        photograph(page, "play-circles")
        two = page.evaluate(pixels)
        page.locator("#clear").click()
        after(page, 4)
        assert page.evaluate(pixels) != two
        assert page.locator("#plot .point").count() == 0
