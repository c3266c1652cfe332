"""Parts and orders that a table states itself: support before query, tasks where the column puts them."""

import numpy as np
import pandas as pd
import pytest
import torch

from metafunc.data import Grouped, from_table, generator_for
from metafunc.data.class_split import DEFAULT_FRACTIONS as SHARES
from metafunc.data.class_split import PARTS
from metafunc.data.task_rows import TooFewRows
from metafunc.data.task_split import split_tasks

SETTINGS = {"task": "task", "targets": "y", "num_shots": 3, "num_queries": 4, "num_test_queries": 20}
RAW = {"standardise": False}


def table(sizes=(9,) * 12):
    """Row i of task t: its day is i, in any order, and y = 1000 t + i."""
    cells = [(f"t{t:02d}", i, 1000.0 * t + i) for t, size in enumerate(sizes) for i in range(size)]
    return pd.DataFrame(cells, columns=["task", "time", "y"]).sample(frac=1, random_state=0)


def samplers(family):
    return zip(PARTS, (family.train, family.validation, family.test), strict=True)


def first(rows, count):
    return torch.equal(rows, torch.arange(float(count)).expand_as(rows))


@pytest.mark.parametrize("of", [lambda i: i, lambda i: pd.Timestamp(2024, 1, 1) + pd.Timedelta(days=int(i))])
@pytest.mark.parametrize("sizes", [(9,) * 12, (4, 5, 9) * 4])
def test_the_support_set_is_the_earliest_rows(of, sizes):
    frame = table(sizes).assign(when=lambda t: t["time"].map(of))
    ordered, drawn = (
        from_table(frame, **SETTINGS, **RAW, inputs=["time"], order_column=name) for name in ("when", None)
    )
    for part, sample in samplers(ordered):
        tasks = sample(generator_for(0, part, 0), 50)
        assert first(tasks.support.x[..., 0], 3)
        mask = torch.ones_like(tasks.query.x[..., 0]) if tasks.query.mask == () else tasks.query.mask
        later = torch.where(mask.bool(), tasks.query.x[..., 0], 99)
        assert (later >= 3).all()
        for row, real in zip(later.tolist(), mask.sum(1).int().tolist(), strict=True):
            assert len({*row} - {99.0}) == real
        size = torch.tensor(sizes)[(tasks.support.y[:, 0, 0] / 1000).long()]
        assert torch.equal(mask.sum(1), (size - 3).clamp(max=mask.shape[1]).float()), "all later rows are asked for"
    assert not first(drawn.train(generator_for(0, "train", 0), 50).support.x[..., 0], 3)


def test_a_range_of_shots_is_a_prefix_too():
    family = from_table(
        table((4, 5, 9) * 4), **(SETTINGS | {"num_shots": (1, 5)}), **RAW, inputs=["time"], order_column="time"
    )
    tasks = family.train(generator_for(0, "train", 0), 200)
    count = tasks.support.mask.sum(1)
    assert {*count.int().tolist()} == {1, 2, 3, 4, 5}
    assert ((tasks.support.x[..., 0] == torch.arange(5.0)) | ~tasks.support.mask.bool()).all()
    asked = torch.where(tasks.query.mask.bool(), tasks.query.x[..., 0], 99)
    assert (asked >= count[:, None]).all()
    assert tasks.query.mask.sum(1).min() >= 1


def test_the_task_of_a_draw_is_that_of_its_first_uniform_number():
    ordered, drawn = (from_table(table(), **SETTINGS, **RAW, order_column=name) for name in ("time", None))
    which = [family.train(generator_for(0, "train", 0), 40).support.y[:, 0, 0] // 1000 for family in (ordered, drawn)]
    assert torch.equal(*which)


@pytest.mark.parametrize("called", ["validation", "val"])
def test_a_column_says_which_part_a_task_is_in(called):
    part_of = {f"t{t:02d}": ("train", called, "test", "unused")[t % 4] for t in range(12)}
    frame = table().assign(part=lambda t: t["task"].map(part_of))
    family = from_table(frame, **SETTINGS, **RAW, split_column="part")
    assert family.info["inputs"] == ["time"]
    assert family.info["task_split"] == "column part"
    for number, (part, sample) in enumerate(samplers(family)):
        seen = {*(sample(generator_for(0, part, 0), 99).support.y[:, 0, 0] // 1000).int().tolist()}
        assert seen == {t for t in range(12) if t % 4 == number}
    shuffled = from_table(frame.drop(columns="part"), **SETTINGS, **RAW)
    assert shuffled.info["tasks"] != family.info["tasks"]


def test_what_is_standardised_by_is_that_of_the_column_s_training_tasks():
    frame = table().assign(
        part=lambda t: np.where(t["task"] < "t08", "train", np.where(t["task"] < "t10", "val", "test"))
    )
    family = from_table(frame, **SETTINGS, split_column="part")
    known = frame[frame["part"] == "train"]["y"]
    assert family.info["target_mean"] == [pytest.approx(known.mean())]
    assert family.info["target_mean"] != [pytest.approx(frame["y"].mean())]


def test_small_tasks_are_named_and_never_dropped_in_silence():
    frame = table((9,) * 10 + (2, 3))
    with pytest.raises(ValueError, match=r"2 tasks have no row left .* such as task 't10' with 2, 't11' with 3"):
        from_table(frame, **SETTINGS)
    with pytest.warns(UserWarning, match=r"The table has 2 tasks .* left out: 't10' with 2, 't11' with 3\."):
        family = from_table(frame, **SETTINGS, small_tasks="drop")
    assert family.info["dropped"] == {"t10": 2, "t11": 3}
    assert "dropped" not in from_table(frame, **(SETTINGS | {"num_shots": 1})).info


def test_fewer_support_rows_are_suggested_where_a_task_has_a_single_row():
    for sizes, suggested in (
        ((5,) * 10 + (6, 1), {"num_shots": ["4"], "small_tasks": "drop"}),
        ((5,) * 10 + (6, 2), {"num_shots": ["1"]}),
        ((1,) * 10 + (6, 6), {}),
    ):
        with pytest.raises(TooFewRows) as found:
            from_table(table(sizes), **(SETTINGS | {"num_shots": 5}))
        assert found.value.suggested == suggested


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda t: t, {"order_column": "day"}, r"not 'day': choose order_column among them"),
        (lambda t: t.assign(time="x"), {"order_column": "time"}, r"row 1, column 'time' is 'x'.* order_column needs"),
        (
            lambda t: t.assign(when=t["time"].where(t.index != t.index[4])),
            {"order_column": "when", "inputs": ["time"]},
            r"row 5, column 'when' is empty.* order_column needs a number or a date",
        ),
        (lambda t: t, {"split_column": "part"}, r"not 'part': choose split_column among them"),
        (lambda t: t.assign(p="train"), {"split_column": "p"}, r"names no task for the validation part: its cells are"),
        (
            lambda t: t.assign(p=[("train", "validation", "test")[i % 3] for i in range(len(t))]),
            {"split_column": "p"},
            r"row \d+, column 'p' is '\w+', and an earlier row of task 't\d+' is '\w+': a task is in one part",
        ),
        (
            lambda t: t.assign(p=t["task"].where(t["task"] != "t03")),
            {"split_column": "p"},
            r"column 'p' is empty; every row needs its part",
        ),
        (
            lambda t: t.assign(p="train"),
            {"split_column": "p", "fractions": (0.5, 0.25, 0.25)},
            r"split_column and fractions are two ways",
        ),
    ],
)
def test_orders_and_parts_that_cannot_be_are_refused(change, settings, message):
    with pytest.raises(ValueError, match=message):
        from_table(change(table()), **SETTINGS, **settings)


NAMES = [f"t{i // 3}" for i in range(24)]


def test_every_task_is_left_out_by_one_fold():
    parts = [split_tasks("t.csv", pd.DataFrame(), NAMES, None, SHARES, 0, (i, 4))[0].parts for i in range(4)]
    assert sorted(torch.cat([each["test"] for each in parts]).tolist()) == list(range(8))
    for i, each in enumerate(parts):
        assert sorted(torch.cat([*each.values()]).tolist()) == list(range(8)), "parts have no task in common"
        assert torch.equal(each["validation"], parts[(i + 1) % 4]["test"])


@pytest.mark.parametrize(
    ("fold", "fractions", "message"),
    [((0, 99), SHARES, "fewer than 99 folds"), ((0, 4), (0.5, 0.25, 0.25), "three ways to split")],
)
def test_folds_that_there_are_not_are_refused(fold, fractions, message):
    with pytest.raises(ValueError, match=message):
        split_tasks("t.csv", pd.DataFrame(), NAMES, None, fractions, 0, fold)


def test_all_tasks_may_be_for_the_training():
    family = from_table(table(), **SETTINGS, fractions=(1.0, 0.0, 0.0))
    assert family.info["tasks"] == {"train": 12, "validation": 0, "test": 0}
    assert isinstance(family.test, Grouped)
    assert family.test.of == "training tasks"
    with pytest.raises(ValueError, match="none is left for the train part"):
        from_table(table(), **SETTINGS, fractions=(0.0, 0.5, 0.5))
