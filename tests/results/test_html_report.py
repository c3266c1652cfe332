"""Reports: one file each, from finished folders alone."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from metafunc.results import html_report as module
from metafunc.results.html_comparison import decided
from metafunc.results.html_report import html_report
from metafunc.training.json_file import FileError

from .page_cases import HOSTILE, comparison_folder, run_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def whole(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = {"maml": "maml", HOSTILE: "fomaml", "alpaca": "alpaca"}
    return comparison_folder(tmp_path_factory.mktemp("comparisons") / "comparison", run, names)


@pytest.fixture
def compared(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "comparison"))


class Page(HTMLParser):
    """The elements of a page with their attributes, and what its scripts draw from."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        text = file.read_text()
        self.feed(text)
        self.data: dict[str, Any] = json.loads(
            re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)[0]
        )

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def sections(self) -> list[str | None]:
        return [attributes["id"] for tag, attributes in self.elements if tag == "section"]


def test_a_comparison_has_all_its_parts(compared: Path) -> None:
    file = html_report(compared)
    assert file == compared / "report.html"
    page = Page(file)
    parts = ["results", "functions", "differences", "gap", "adaptation", "calibration", "made"]
    assert page.sections() == parts
    asked = {attributes["data-spec"] for _, attributes in page.elements if "data-spec" in attributes}
    assert asked == page.data["specs"].keys()
    assert file.stat().st_size < 1.5e6


def test_a_run_has_all_its_parts(run: Path, tmp_path: Path) -> None:
    page = Page(html_report(run, tmp_path / "r.html"))
    assert page.sections() == ["results", "functions", "adaptation", "learning", "calibration", "made"]
    marked = [attributes for tag, attributes in page.elements if (tag, attributes.get("class")) == ("tr", "result")]
    assert len(marked) == 1


def test_a_run_without_a_meta_test_says_how_to_make_one(tmp_path: Path) -> None:
    file = html_report(run_folder(tmp_path / "run", test=False))
    assert "metafunc eval" in file.read_text()
    assert Page(file).sections() == ["functions", "learning", "made"]


def test_a_run_of_classes_is_reported(tmp_path: Path) -> None:
    page = Page(html_report(run_folder(tmp_path / "run", tasks="circles")))
    assert page.sections() == ["results", "adaptation", "learning", "calibration", "made"]


def test_a_page_names_nothing_that_a_browser_would_fetch(compared: Path) -> None:
    page = Page(html_report(compared))
    for tag, attributes in page.elements:
        assert tag not in ("img", "iframe", "object", "embed", "audio", "video", "base", "a")
        assert "src" not in attributes
        assert attributes.get("href", "data:,") == "data:,"
    policy = next(attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe-eval" not in policy
    assert not [spec for spec in page.data["specs"].values() if "url" in json.dumps(spec.get("data", {}))]


def test_hostile_names_are_text(compared: Path) -> None:
    file = html_report(compared)
    scripts = [attributes for tag, attributes in Page(file).elements if tag == "script"]
    assert len(scripts) == 3
    assert not any("onerror" in attributes for _, attributes in Page(file).elements)
    assert HOSTILE not in file.read_text()
    assert HOSTILE in Page(file).data["specs"]["adaptation-mse"]["encoding"]["color"]["scale"]["domain"]


def test_undecided_differences_are_grey(compared: Path) -> None:
    table = compared / "compare.json"
    report = json.loads(table.read_text())
    report["rows"][1]["paired"]["mse"] |= {"low": -1.0, "high": 1.0}
    report["rows"][2]["paired"]["mse"] |= {"low": -1.0, "high": -0.5}
    table.write_text(json.dumps(report))
    page = Page(html_report(compared))
    looks = [attributes["class"] for tag, attributes in page.elements if tag == "td" and "data-value" in attributes]
    width = len(looks) // 3
    assert "undecided" in str(looks[width])
    assert looks[2 * width] in ("decided", "best decided")
    assert [v["decided"] for v in page.data["specs"]["differences-mse"]["data"]["values"]] == [False, True]


@pytest.mark.parametrize(("low", "high", "wanted"), [(0.0, 1.0, False), (-2.0, -1.0, True), (None, None, False)])
def test_an_interval_decides_where_it_excludes_zero(low: float | None, high: float | None, wanted: bool) -> None:
    assert decided({"low": low, "high": high}) == wanted


def test_an_older_report_is_replaced_and_no_other_file(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "r.html"
    file.write_text("my own page")
    with pytest.raises(ValueError, match="exists and is no report"):
        html_report(run, file)
    assert file.read_text() == "my own page"
    file.unlink()
    html_report(run, file)
    before = file.read_bytes()
    assert before.startswith(module.MARK.encode())
    assert html_report(run, file).read_bytes() == before


@pytest.mark.parametrize("what", ["link", "folder", "nowhere"])
def test_a_report_goes_where_a_file_can_be(run: Path, tmp_path: Path, what: str) -> None:
    out = {"link": tmp_path / "link.html", "folder": tmp_path, "nowhere": tmp_path / "absent" / "r.html"}[what]
    if what == "link":
        out.symlink_to(tmp_path / "elsewhere.html")
    with pytest.raises(ValueError, match={"link": "link", "folder": "is a folder", "nowhere": "is no folder"}[what]):
        html_report(run, out)
    assert not (tmp_path / "elsewhere.html").exists()


def test_a_folder_of_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a run nor a comparison"):
        html_report(tmp_path)


def test_a_comparison_without_its_pictures_says_how_to_make_them(compared: Path) -> None:
    (compared / "pictures.json").unlink()
    with pytest.raises(FileError, match=r"Make it again by the metafunc compare"):
        html_report(compared)


BROKEN: dict[str, Any] = {
    "no rows": lambda report: report.update(rows=[]),
    "a row that is no object": lambda report: report.update(rows=[3]),
    "a mean that is text": lambda report: report["rows"][0]["mse"].update(mean="<b>"),
    "a row without a name": lambda report: report["rows"][0].pop("algorithm"),
    "an unknown key": lambda report: report["rows"][0].update(onload="x"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_table_that_was_changed_is_refused_in_one_line(compared: Path, name: str) -> None:
    report = json.loads((compared / "compare.json").read_text())
    BROKEN[name](report)
    (compared / "compare.json").write_text(json.dumps(report))
    with pytest.raises(FileError, match=r"compare\.json"):
        html_report(compared)
