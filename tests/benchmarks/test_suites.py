"""The benchmarks' suites: whatever they ask for can be trained; and what is kept of them, with its tables."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from metafunc_cli.commands import bench, compare_requests
from metafunc_cli.display.screen import Screen
from metafunc_cli.settings.bench_options import Benching
from metafunc_cli.suites import suite as suites
from metafunc_cli.suites.narrowed import line, narrowed

from metafunc import tree
from metafunc.training.build import MODELS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks/suites"
FILES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.toml"))
IMAGES = [file for file in FILES if "omniglot" in file]
"""Those whose families read a collection of images."""


def one_of_each(file: str, path: str | None = None) -> suites.Suite:
    """A suite with one family of each kind of tasks."""
    read = suites.read(str(FOLDER / file))
    names = {family.tasks: family.name for family in read.families}
    return narrowed(read, Benching(families=tuple(names.values()), path=path))[0]


@pytest.mark.parametrize("file", FILES)
def test_every_cell_asks_for_what_there_is(file: str) -> None:
    suite = suites.read(str(FOLDER / file))
    assert suite.about.endswith((".", "?"))
    for family in suite.families:
        assert family.name.endswith("_full") == file.startswith("full/"), "whose results have names of their own"
        found, _, passed = compare_requests.read(line(suite, family, None))
        requests = compare_requests.requested(Screen(json=False, quiet=True, silent=True), found, passed)
        assert {*requests} == {name.split("+")[0] for name in suite.algorithms}
        for algorithm, (request, *others) in requests.items():
            assert len(others) == suite.seeds - 1
            config = request.settings.to_json()
            assert 1 < config["training"]["num_tasks"] <= 25
            alphabets = 30 if config["tasks"]["name"] == "tiny_omniglot" else None
            number = config["tasks"].get("num_train_tasks", alphabets)
            assert config["algorithm"].get("num_train_tasks", number) == number, "of a hyper-prior"
            check_parts(algorithm, config)


def check_parts(algorithm: str, config: dict[str, Any]) -> None:
    """Every part of a network that a setting names is there."""
    named = [config["algorithm"][name] for name in ("encoder", "own") if name in config["algorithm"]]
    prefixes = [each for text in named for each in text.split(",") if each]
    if prefixes:
        settings = {key: value for key, value in config["model"].items() if key != "name"}
        shape = (1, 28, 28) if "omniglot" in config["tasks"]["name"] or config["tasks"]["name"] == "pose" else (1,)
        paths = tree.paths(MODELS[config["model"]["name"]](shape, 5, **settings).init(torch.Generator()))
        for prefix in prefixes:
            assert any(path.startswith(prefix) for path in paths), f"{algorithm}: {prefix} is in none of {paths}"


@pytest.mark.parametrize("file", [file for file in FILES if file not in IMAGES and "/" not in file])
def test_cells_are_built_without_a_download(file: str) -> None:
    suite = one_of_each(file)
    assert {*bench._looked_over(suite, None)} == {family.name for family in suite.families}


@pytest.mark.nightly
@pytest.mark.parametrize("file", IMAGES)
def test_cells_of_omniglot_are_built(file: str, omniglot_path: Path) -> None:
    suite = one_of_each(file, str(omniglot_path))
    assert {*bench._looked_over(suite, None)} == {family.name for family in suite.families}


def test_suites_have_folders_of_their_own_and_families_results_of_their_own() -> None:
    stems = [Path(file).stem for file in FILES]
    families = [family.name for file in FILES for family in suites.read(str(FOLDER / file)).families]
    assert len({*stems}) == len(stems)
    assert len({*families}) == len(families)


def test_pages_name_suites_that_there_are() -> None:
    pages = [ROOT / "benchmarks/README.md", *(ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"benchmarks/suites/([\w/-]+\.toml)", page.read_text())}
    assert named
    assert named <= {*FILES}


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.keep")


def number(mean: float) -> dict[str, float]:
    return {"mean": mean, "ci95": 0.01}


def test_what_a_suite_found_is_kept_by_family(
    keep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("RESULTS", "FIGURES"):
        monkeypatch.setattr(keep.reporting, name, tmp_path / name)
    out = tmp_path / "out"
    (out / "waves/inputs").mkdir(parents=True)
    (out / "waves/figures").mkdir()
    (out / "waves/figures/cost.png").write_bytes(b"a picture")
    row = {"algorithm": "cnp", "seeds": [0, 1], "parameters": 1234, "cpu_seconds": 12.3}
    for folder, mean in (("waves", 1.5), ("waves/inputs", 2.5)):
        (out / folder / "compare.json").write_text(json.dumps({"tasks": "gp", "rows": [{**row, "nll": number(mean)}]}))
    by_rows = {
        f"cnp-{seed}": {
            "command": "metafunc eval",
            "num_tasks": 5,
            "autoregressive": {"joint_nll": number(seed + 0.5)},
            "of": {},
        }
        for seed in (0, 1)
    }
    (out / "waves/row_by_row.json").write_text(json.dumps(by_rows))
    further = [
        {"test": "inputs", "commands": ["metafunc compare RUNS"], "rows": []},
        {"test": "row by row", "commands": [], "rows": [{"learner": "cnp", "seeds": [0, 1]}]},
    ]
    words = ["--algorithms", "cnp", "--data.path", "/somewhere/images", "--seeds", "2"]
    report = {"families": [{"family": "waves", "further": further}], "commands": {"waves": words}}
    (out / "bench.json").write_text(json.dumps(report))
    keep.main((out,))
    kept = keep.reporting.read("waves")
    asked = "metafunc compare --algorithms cnp --data.path OMNIGLOT --seeds 2 --out "
    assert kept["command"] == f"{asked}{out / 'waves'}"
    assert kept["machine"]["threads"] == 1
    assert kept["inputs"]["command"] == "metafunc compare RUNS"
    assert kept["row by row, cnp-1"] == {name: by_rows["cnp-1"][name] for name in by_rows["cnp-1"] if name != "of"}
    assert (tmp_path / "FIGURES/waves_cost.png").read_bytes() == b"a picture"
    capsys.readouterr()
    keep.main(table=("waves",))
    assert capsys.readouterr().out.splitlines() == [
        "|  | NLL (nats) | row by row (nats) | CPU seconds | parameters |",
        "| --- | --- | --- | --- | --- |",
        "| `cnp` | 1.500 ± 0.010 | 1.0 ± 6.4 | 12 | 1,234 |",
        "",
        "|  | NLL (nats) | CPU seconds | parameters |",
        "| --- | --- | --- | --- |",
        "| `cnp` | 2.500 ± 0.010 | 12 | 1,234 |",
        "",
    ]


def test_tables_of_what_was_kept_before_can_be_printed(keep: Any) -> None:
    names = [family.name for file in FILES for family in suites.read(str(FOLDER / file)).families]
    kept = {name: result for name in names if (result := keep.reporting.read(name))}
    assert len(kept) > 20
    for name, result in kept.items():
        table = keep.shown(result).splitlines()
        assert len(table) >= 2 + len(result["rows"]), name
    assert "| 0.257 ± 0.013 |" in keep.shown(kept["gp_rbf"]), "convcnp row by row"
    with pytest.raises(SystemExit, match="nothing has no results yet"):
        keep.main(table=("nothing",))
