"""A comparison on a terminal: whole at any width, with arrows, and one sentence."""

import csv
import io
from typing import Any

import pytest
from metafunc_cli.display.comparison import show, show_numbers
from rich.console import Console

from metafunc.results.tables import numbers_to_csv

METRICS = ("mse", "nll", "joint_nll", "crps", "calibration_error")


def row(name: str, number: int, metrics: tuple[str, ...]) -> dict[str, Any]:
    each = {metric: {"mean": 1.25 + number, "ci95": 0.125} for metric in metrics}
    paired = {metric: {"diff": float(number), "ci95": 0.05} for metric in metrics if number}
    size = {"seconds": 12.4, "parameters": 1761, "seeds": [0, 1], "steps": 5}
    return {"algorithm": name, **each, "paired": paired, "best": [], **size}


def shown(width: int, rows: int, metrics: tuple[str, ...] = METRICS) -> str:
    console = Console(file=io.StringIO(), width=width)
    names = ["maml", "platipus", "maml_plus_plus", "deep_ensemble", "alpaca", "maml inner_lr=0.01", "cnp", "llama"]
    report = {"tasks": "sinusoid", "num_tasks": 600, "rows": [row(names[i], i, metrics) for i in range(rows)]}
    lead = {"algorithm": "maml", "rival": "platipus", "diff": -1.0, "ci95": 0.05, "decided": True}
    report["leading"] = dict.fromkeys(metrics, lead if rows > 1 else {})
    show(console, report)
    return console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("rows", [1, 2, 4, 8])
def test_every_number_is_whole_at_any_width(width: int, rows: int) -> None:
    text = shown(width, rows)
    assert max(map(len, text.splitlines())) <= width
    for number in range(rows):
        assert text.count(f"{1.25 + number:.2f} ± 0.12") + text.count(f"{1.25 + number:.2f} ± 0.13") >= len(METRICS)
    assert text.count("Δ +") == len(METRICS) * (rows - 1)
    assert "…" not in text


def test_metrics_are_rows_where_there_are_too_many_for_columns() -> None:
    def first_words(text: str) -> list[str]:
        return [line.split()[0] for line in text.splitlines() if line.strip()]

    assert "platipus" not in first_words(shown(80, 2))
    assert "CRPS" in first_words(shown(80, 2))
    assert "platipus" in first_words(shown(200, 2))
    assert "CRPS" not in first_words(shown(200, 2))
    assert "platipus" in first_words(shown(80, 2, METRICS[:2]))


def test_heads_have_arrows_and_a_sentence_follows() -> None:
    text = " ".join(shown(80, 2).split())
    assert "MSE ↓" in text
    assert "calibration error ↓" in text
    assert "MSE does not decide" in text or "has the lowest MSE" in text


@pytest.mark.parametrize("width", [50, 100])
def test_numbers_of_training_tasks_are_columns(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    reports = []
    for tasks in (5, 20, 1000):
        rows = [row(name, tasks + i, ("mse", "nll")) for i, name in enumerate(("maml", "cnp"))]
        reports.append({"train_tasks": tasks, "tasks": "trend", "num_tasks": 600, "rows": rows})
    show_numbers(console, reports, "train_tasks", "training tasks")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [line.split("±")[0].split() for line in text.splitlines()]
    assert ["maml", "6.25"] in lines
    assert ["cnp", "7.25"] in lines
    assert all(text.count(f"{tasks + 1.25 + i:.2f} ±") == 2 for tasks in (5, 20, 1000) for i in (0, 1))
    assert "1,000" in text
    assert "95 % interval over 2 seeds and the tasks" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= width
    written = [*csv.DictReader(numbers_to_csv(as_in_file(reports), "train_tasks").splitlines())]
    assert len(written) == 2 * 2 * 3
    assert {key: written[3][key] for key in ("metric", "algorithm", "train_tasks", "mean", "low")} == {
        "metric": "mse", "algorithm": "cnp", "train_tasks": "20", "mean": "22.25", "low": "22.125"
    }  # fmt: skip


def as_in_file(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ends of intervals as well, which a file has and a terminal does not need."""
    for found in (each[name] for report in reports for each in report["rows"] for name in ("mse", "nll")):
        found |= {"low": found["mean"] - found["ci95"], "high": found["mean"] + found["ci95"]}
    return reports
