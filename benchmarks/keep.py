"""Keep what suites have found: a file of results for each family, its figures, and the tables of this folder's page.

for suite in benchmarks/suites/*.toml; do metafunc bench $suite --figures; done    # trains what is missing
python -m benchmarks.keep runs/bench-*            # results/NAME.json and figures/NAME_*.png of every family NAME
python -m benchmarks.keep --table gp_rbf circles  # prints the tables of what is kept
"""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import tyro
from metafunc_cli.suites.further import BY_ROWS
from metafunc_cli.suites.further import NAME as ROWS

from benchmarks import reporting
from metafunc.evaluation.metrics.table import label
from metafunc.results.tables import spoken

COLUMNS = ("mse", "accuracy", "nll", "gap", "joint_nll", "calibration_error", "ece")
"""The metrics that a printed table has."""


def main(folders: tyro.conf.Positional[tuple[Path, ...]] = (), table: tuple[str, ...] = ()) -> None:
    """Keep the results of suites, and print tables of what is kept.

    Args:
        folders: what `metafunc bench` has written.
        table: names of results.
    """
    for folder in folders:
        for name, result in results(folder).items():
            print(reporting.write(name, {"machine": reporting.machine(1), **result}), flush=True)
            reporting.FIGURES.mkdir(exist_ok=True)
            for picture in sorted((folder / name / "figures").glob("*.png")):
                shutil.copy(picture, reporting.FIGURES / f"{name}_{picture.name}")
    for name in table:
        if not (kept := reporting.read(name)):
            raise SystemExit(f"{name} has no results yet: keep them first.")
        print(f"{shown(kept)}\n")


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """By the families of a suite that are whole: the comparison, and further tests by what they are of."""
    if not (folder / "bench.json").exists():
        raise SystemExit(f"{folder} has no bench.json: metafunc bench writes it once the suite is tested.")
    report = _read(folder / "bench.json")
    found = {}
    for family in report["families"]:
        name = family["family"]
        words = ["compare", *report["commands"][name], "--out", str(folder / name)]
        pairs = zip(["", *words], words, strict=False)
        words = ["OMNIGLOT" if before == "--data.path" else word for before, word in pairs]
        found[name] = {"command": f"metafunc {shlex.join(words)}", **_read(folder / name / "compare.json")}
        for each in family["further"]:
            if each["test"] != BY_ROWS:
                of_split = _read(folder / name / each["test"] / "compare.json")
                found[name][each["test"]] = {"command": each["commands"][0], **of_split}
                continue
            kept = _read(folder / name / ROWS)
            for run in (f"{row['learner']}-{seed}" for row in each["rows"] for seed in row["seeds"]):
                numbers = {key: kept[run][key] for key in ("command", "num_tasks", "autoregressive")}
                found[name][f"{BY_ROWS}, {run}"] = numbers
    return found


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def shown(result: dict[str, Any]) -> str:
    """The tables of a comparison: its test's, and those of its variants."""
    variants = [part for part in result.values() if isinstance(part, dict) and "rows" in part]
    return "\n\n".join(_table(part, result) for part in (result, *variants))


def _table(part: dict[str, Any], result: dict[str, Any]) -> str:
    names = [name for name in COLUMNS if name in part["rows"][0]]
    columns = {"": [f"`{row['algorithm']}`" for row in part["rows"]]}
    for name in names:
        columns[label(name)] = [spoken(row[name]["mean"], row[name]["ci95"], name) for row in part["rows"]]
    columns["row by row (nats)"] = [_by_rows(row, part, result) for row in part["rows"]]
    seconds = [row.get("cpu_seconds") if row["parameters"] else None for row in part["rows"]]
    columns["CPU seconds"] = ["" if each is None else f"{each:.0f}" for each in seconds]
    columns["parameters"] = [f"{row['parameters']:,}" if row["parameters"] else "" for row in part["rows"]]
    kept = {head: cells for head, cells in columns.items() if any(cells)}
    return reporting.markdown([*kept], [*map(list, zip(*kept.values(), strict=True))])


def _by_rows(row: dict[str, Any], part: dict[str, Any], result: dict[str, Any]) -> str:
    """The mean over seeds of the NLL of all rows together, row by row; empty where it was not asked for."""
    names = [f"{BY_ROWS}, {row['algorithm']}-{seed}" for seed in row["seeds"]]
    if part is result and all(name in result for name in names):
        each = [result[name]["autoregressive"]["joint_nll"]["mean"] for name in names]
        mean, half = reporting.over_seeds(each)
        return spoken(mean, half, "joint_nll") if len(each) > 1 else reporting.number(mean, half)
    return ""


if __name__ == "__main__":
    tyro.cli(main)
