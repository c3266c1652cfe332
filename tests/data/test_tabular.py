"""From frames and arrays to tasks: the same tasks as from a file, and what is wrong said in one line."""

import numpy as np
import pandas as pd
import pytest
import torch

from metafunc import tree
from metafunc.data import distinct, from_arrays, from_table, generator_for, regression
from metafunc.data.class_split import by_fractions

SETTINGS = {"num_shots": 3, "num_queries": 4, "num_test_queries": 5}


def frame(sizes=(9,) * 10, **columns):
    rng = np.random.default_rng(0)
    tasks = [f"t{t}" for t, size in enumerate(sizes) for _ in range(size)]
    n = len(tasks)
    x, z = rng.normal(5.0, 2.0, n), rng.normal(-1.0, 0.1, n)
    return pd.DataFrame({"machine": tasks, "x": x, "z": z, "y": x * z, **columns}).sample(frac=1, random_state=1)


def draws(family, num_tasks=20):
    samplers = {"train": family.train, "validation": family.validation, "test": family.test}
    return {part: sample(generator_for(0, part, 0), num_tasks) for part, sample in samplers.items()}


def same(first, second):
    leaves = tree.leaves(draws(first)), tree.leaves(draws(second))
    return len(leaves[0]) == len(leaves[1]) and all(torch.equal(a, b) for a, b in zip(*leaves, strict=True))


@pytest.mark.parametrize("settings", [{}, {"standardise": False}, {"num_shots": (1, 3)}, {"split_seed": 3}])
@pytest.mark.parametrize("sizes", [(9,) * 10, (5, 9, 6) * 4])
def test_a_frame_gives_the_tasks_of_its_file_bitwise(tmp_path, settings, sizes):
    table, how = frame(sizes), SETTINGS | settings
    path = tmp_path / "t.csv"
    table.to_csv(path, index=False)
    of_file = regression(str(path), task_column="machine", **how)
    of_frame = from_table(table, task="machine", targets="y", **how)
    assert same(of_file, of_frame)
    assert {**of_file.info, "source": ""} == {**of_frame.info, "source": ""}
    assert not same(of_file, from_table(table.assign(x=table["x"] + 1e-3), task="machine", targets="y", **how)) or (
        how.get("standardise", True)
    )
    assert not same(of_file, from_table(table, task="machine", targets="x", **how))


def test_a_draw_is_what_its_uniforms_say():
    table = frame()
    family = from_table(table, task="machine", targets=("y",), **SETTINGS)
    part = by_fractions(table["machine"].tolist(), (0.64, 0.16, 0.2), 0).parts["train"].tolist()
    rows = table[table["machine"].isin([f"t{t}" for t in part])][["x", "z", "y"]]
    uniforms = torch.rand(6, 8, dtype=torch.float64, generator=generator_for(0, "train", 0))
    found = family.train(generator_for(0, "train", 0), 6)
    for i, u in enumerate(uniforms):
        task = part[int(u[0] * len(part))]
        place = distinct(u[1:], torch.tensor(9)).tolist()
        own = table[table["machine"] == f"t{task}"][["x", "z", "y"]].to_numpy()[place]
        own = torch.tensor((own - rows.to_numpy().mean(0)) / rows.to_numpy().std(0)).float()
        for batch, expected in ((found.support, own[:3]), (found.query, own[3:])):
            torch.testing.assert_close(batch.x[i], expected[:, :2], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(batch.y[i], expected[:, 2:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("of", [np.asarray, torch.tensor, list])
def test_arrays_give_the_tasks_of_a_frame(of):
    table = frame()
    number = table["machine"].str[1:].astype(int)
    inputs = [table[["x", "z"]].to_numpy().tolist(), table["y"].tolist(), number.tolist()]
    family = from_arrays(*map(of, map(np.array, inputs)) if of is not list else inputs, **SETTINGS)
    assert family.info["inputs"] == ["x0", "x1"]
    assert family.info["targets"] == ["y"]
    if of is not torch.tensor:
        expected = from_table(table.assign(machine=number.astype(str)), task="machine", targets="y", **SETTINGS)
        assert same(family, expected)


def test_one_input_and_several_targets_are_arrays_too():
    table = frame()
    family = from_arrays(table["x"], table[["y", "z"]], table["machine"], **SETTINGS)
    assert (family.input_shape, family.num_outputs) == ((1,), 2)
    assert family.info["targets"] == ["y0", "y1"]
    assert same(family, from_table(table, task="machine", targets=["y", "z"], inputs=["x"], **SETTINGS))


def test_the_index_counts_for_nothing_and_columns_may_have_numbers():
    table = frame()
    family = from_table(table, task="machine", targets="y", **SETTINGS)
    assert same(
        family, from_table(table.set_index(pd.Index([7] * len(table))), task="machine", targets="y", **SETTINGS)
    )
    numbered = table.set_axis([0, 1, 2, 3], axis=1)
    assert same(family, from_table(numbered, task="0", targets="3", **SETTINGS))


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (
            lambda t: t,
            {"task": "machin"},
            r"The table has the columns .*, and not 'machin': choose task among them, such",
        ),
        (lambda t: t, {"targets": "yield"}, r"not 'yield': choose targets among them, such as targets='y'"),
        (lambda t: t, {"inputs": ["w"]}, r"not 'w': choose inputs among them"),
        (lambda t: t.set_axis(["machine", "x", "x", "y"], axis=1), {}, r"two columns named 'x'"),
        (lambda t: t.head(0), {}, r"The table has no rows"),
        (lambda t: t, {"source": "cells.db", "inputs": ["machine"]}, r"cells.db has 0 input columns"),
    ],
)
def test_what_is_wrong_with_a_frame_is_said_by_its_arguments(change, settings, message):
    with pytest.raises(ValueError, match=message):
        from_table(change(frame()), **({"task": "machine", "targets": "y"} | SETTINGS | settings))


def test_what_is_no_frame_is_refused():
    with pytest.raises(Exception, match=r"pandas\.DataFrame"):
        from_table({"machine": [1]}, task="machine", targets="y")


@pytest.mark.parametrize(
    ("x", "y", "tasks", "message"),
    [
        (np.zeros((4, 2)), np.zeros(3), np.zeros(4), "x has 4, y has 3, tasks has 4"),
        (np.zeros((4, 2, 2)), np.zeros(4), np.zeros(4), r"x has the shape \(4, 2, 2\), and is needed as"),
        (np.zeros((4, 2)), np.zeros(4), np.zeros((4, 1)), r"tasks has the shape \(4, 1\), and is needed as \(rows,\)"),
        (np.zeros((4, 0)), np.zeros(4), np.zeros(4), "x has no columns"),
        (np.zeros((0, 2)), np.zeros(0), np.zeros(0), "have no rows"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(x, y, tasks, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(x, y, tasks)


def test_a_misspelt_word_is_refused_and_one_column_needs_no_list():
    settings = {"task": "task", "targets": "y", "num_shots": 3, "num_queries": 4}
    frame = pd.DataFrame([(t, i, 2.0 * i + t, t) for t in range(12) for i in range(8)], columns=["task", "x", "y", "z"])
    for wrong in ({"kind": "clasification"}, {"small_tasks": "keep"}):
        with pytest.raises((ValueError, TypeError), match=next(iter(wrong))):
            from_table(frame, **settings, **wrong)
    assert from_table(frame, **settings, inputs="x").info["inputs"] == ["x"]
    logs = from_table(frame.assign(y=frame["y"] + 1), **settings, log_targets=True)
    with pytest.raises(ValueError, match="log_targets=True"):
        from_table(frame, **settings, units=logs.info)
