"""Pictures of a table's tasks have its columns' names, its units and its tasks' names."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import matplotlib.text
import pytest
import torch

from metafunc.evaluation.meta_test import evaluate
from metafunc.results import plot_comparison, plot_run
from metafunc.results.compared import Compared
from metafunc.results.comparison import Entry
from metafunc.results.explorer import Explorable, explored
from metafunc.results.units import task_names
from metafunc.training import config as configuration
from metafunc.training.run import Run

mpl.use("Agg")


def trained(folder: Path, inputs: int, **settings: Any) -> Any:
    """A run on twelve ants, whose legs are some 5000 micrometres long at ages of some 300 days."""
    rows = [f"ant {t},{300 + a},{a * t % 5},{5000 + 100 * t + 10 * a}" for t in range(12) for a in range(8)]
    (folder / "legs.csv").write_text("\n".join(["who,age (d),$food,leg (µm)", *rows]))
    tasks = {
        "name": "regression", "path": str(folder / "legs.csv"), "task_column": "who", "target_columns": ["leg (µm)"],
        "input_columns": ["age (d)", "$food"][:inputs], "num_shots": 3, "num_queries": 5, "num_test_queries": 5,
    } | settings  # fmt: skip
    config = {"algorithm": {"name": "alpaca"}, "tasks": tasks, "training": {"steps": 2, "num_tasks": 2}}
    made = configuration.train(config, out=folder / "run")
    return SimpleNamespace(run=Run(folder / "run"), learner=made.learner, meta=made.fit.best, family=made.family)


@pytest.fixture(scope="module", params=[True, "task"])
def one(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return trained(tmp_path_factory.mktemp("one"), 1, standardise=request.param)


def numbers(axes: Any) -> list[tuple[float, float]]:
    """The points of all markers in a panel."""
    lines = [line for line in axes.lines if line.get_marker() == "o"]
    return [pair for line in lines for pair in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def check_panel(axes: Any) -> None:
    """A panel's points are rows of the table, of the task that it is named after."""
    task = int(axes.get_title(loc="right").removeprefix("who ant "))
    for age, leg in numbers(axes):
        assert leg == pytest.approx(5000 + 100 * task + 10 * (age - 300), abs=1), "a row of another task, or no row"
    ages = [age for age, _ in numbers(axes)]
    for line in (line for line in axes.lines if line.get_marker() != "o"):
        ends = min(line.get_xdata()), max(line.get_xdata())
        assert ends == pytest.approx((min(ages), max(ages)), abs=0.1), "a curve that ends before the rows of its task"
        assert len(line.get_xdata()) > len(ages)


def test_what_is_no_unit_of_the_table_is_said_to_be_standardised(one: Any, tmp_path: Path) -> None:
    """Errors and densities over steps are not in the table's units."""
    with pytest.warns(UserWarning, match="No adaptation curve"):
        figures = dict(plot_run._of_numbers(one.run))
    said = [text.get_text() for text in figures["learning"].findobj(matplotlib.text.Text)]
    assert any("Targets are in standard deviations of the training tasks." in text for text in said)
    plain = SimpleNamespace(**vars(trained(tmp_path, 1, standardise=False)))
    with pytest.warns(UserWarning, match="No adaptation curve"):
        figures = dict(plot_run._of_numbers(plain.run))
    assert not any("standard deviations of" in t.get_text() for t in figures["learning"].findobj(matplotlib.text.Text))


def test_plot_shows_rows_of_the_table(one: Any) -> None:
    page = plot_run._functions(one.run, one.learner, one.meta, one.family, 0)
    assert page.axes[0].get_xlabel() == "age (d)"
    assert page.axes[0].get_title(loc="left") == "leg (µm)"
    for axes in page.axes:
        check_panel(axes)


def test_compare_shows_rows_of_the_table(one: Any) -> None:
    test = evaluate(one.learner, one.meta, one.family, num_tasks=4, num_steps=1)
    each = Compared(Entry("alpaca", (0,), (test,), 1, None, 1), (one.run,), one.learner, one.meta)
    ((name, page),) = plot_comparison._functions([each], 0)
    assert name == "functions"
    assert (page.axes[0].get_xlabel(), page.axes[0].get_ylabel()) == ("age (d)", "leg (µm)")
    for axes in page.axes:
        check_panel(axes)
        heights = torch.tensor(axes.collections[0].get_paths()[0].vertices[:, 1])
        assert heights.mean().item() == pytest.approx(5500, rel=0.2), "the band has the unit of the table too"


def test_the_explorer_shows_rows_of_the_table(one: Any) -> None:
    found = explored([Explorable("alpaca", one.learner, one.meta, 1, [0.1, None])], one.run)
    assert found is not None
    assert found["names"] == ["age (d)", "leg (µm)"]
    for points in (*found["support"], *found["truth"]):
        levels = {round(y - 10 * (x - 300)) for x, y in zip(points["x"], points["y"], strict=True)}
        assert len(levels) == 1
        assert (levels.pop() - 5000) % 100 == 0
    for curve in found["curves"]["alpaca"]:
        assert all(mean is not None and 2000 < mean < 9000 for mean in curve["mean"])


def test_predictions_of_several_inputs_have_the_unit_of_the_target(tmp_path: Path) -> None:
    two = trained(tmp_path, 2)
    page = plot_run._predictions(two.run, two.learner, two.meta, two.family, 0)
    assert (page.axes[0].get_xlabel(), page.axes[0].get_title(loc="left")) == ("True leg (µm)", "Predicted leg (µm)")
    for axes in page.axes:
        assert axes.get_title(loc="right").startswith("who ant ")
        assert all(4900 < leg < 6300 for leg, _ in numbers(axes))


def test_predictions_of_several_targets_say_that_they_are_standardised(tmp_path: Path) -> None:
    both = trained(tmp_path, 1, target_columns=["leg (µm)", "$food"])
    page = plot_run._predictions(both.run, both.learner, both.meta, both.family, 0)
    said = " ".join(text.get_text() for text in page.findobj(matplotlib.text.Text))
    assert "All targets, each in its standard deviations." in said.replace("\n", " ")


def test_tasks_of_no_table_have_no_names() -> None:
    from metafunc.data import sinusoid

    assert task_names(sinusoid(), {"name": "sinusoid"}, 0, 3) == []
