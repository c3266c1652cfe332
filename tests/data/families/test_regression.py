"""User-supplied tables: rows stay with their task, padding is marked, and bad cells are named."""

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metafunc import tree
from metafunc.data import DataUnavailable, generator_for, regression

PLAIN = {"standardise": False, "num_shots": 2, "num_queries": 3, "num_test_queries": 4}


def frame(sizes):
    """Row i of task t: inputs (t, i), target 1000 t + i."""
    cells = [(f"t{t}", float(t), float(i), 1000.0 * t + i) for t, size in enumerate(sizes) for i in range(size)]
    return pd.DataFrame(cells, columns=["task", "a", "b", "y"]).sample(frac=1, random_state=0)


@pytest.fixture
def csv(tmp_path):
    def write(table):
        table.to_csv(tmp_path / "table.csv", index=False)
        return str(tmp_path / "table.csv")

    return write


def parts(family):
    return (("train", family.train), ("validation", family.validation), ("test", family.test))


@pytest.mark.parametrize("sizes", [[7] * 20, [3, 4, 5, 6, 7] * 6])
def test_a_draw_is_rows_of_one_task(csv, sizes):
    family = regression(csv(frame(sizes)), **PLAIN)
    seen = {}
    for part, sample in parts(family):
        tasks = sample(generator_for(0, part, 0), 400)
        which = tasks.support.x[:, :1, 0]
        seen[part] = set(which.flatten().int().tolist())
        size = torch.tensor(sizes)[which[:, 0].int()]
        num_queries = 3 if part == "train" else 4
        mask = torch.arange(2, 2 + num_queries) < size[:, None]
        assert tasks.query.x.shape == (400, num_queries, 2)
        if min(sizes) < 2 + num_queries:
            assert torch.equal(tasks.query.mask, mask.float())
        else:
            assert tasks.query.mask == ()
        for batch, real in ((tasks.support, torch.ones(400, 2, dtype=torch.bool)), (tasks.query, mask)):
            assert torch.equal(batch.x[..., 0], which * real)
            assert torch.equal(batch.y[..., 0], (1000 * which + batch.x[..., 1]) * real)
        rows = torch.cat([tasks.support.x[..., 1], torch.where(mask, tasks.query.x[..., 1], -1)], 1)
        for row in rows.tolist():
            real_rows = [value for value in row if value >= 0]
            assert len(set(real_rows)) == len(real_rows), "support and query are different rows"
    assert set().union(*seen.values()) == set(range(len(sizes)))
    assert sum(map(len, seen.values())) == len(sizes), "no task is in two parts"


@given(few=st.integers(1, 20), more=st.integers(1, 20), seed=st.integers(0, 100))
def test_draws_are_index_stable(tmp_path_factory, few, more, seed):
    path = tmp_path_factory.getbasetemp() / "stable.parquet"
    if not path.exists():
        frame([3, 9] * 8).to_parquet(path)
    sample = regression(str(path), **PLAIN).train
    first, second = (sample(generator_for(seed, "train", 0), n) for n in (few, few + more))
    assert all(torch.equal(a, b[:few]) for a, b in zip(tree.leaves(first), tree.leaves(second), strict=True))


def test_standardised_by_the_training_tasks(csv):
    table = frame([6] * 20).assign(constant=3.0, a=lambda t: t["a"] ** 2)
    path = csv(table)
    family, raw = (
        regression(path, num_shots=2, num_queries=4, num_test_queries=4, standardise=flag) for flag in (True, False)
    )
    x = torch.cat([family.train(generator_for(0, "train", s), 500).query.x for s in range(10)]).flatten(0, 1)
    assert x.mean(0).abs().max() < 0.05
    assert torch.allclose(x.std(0), torch.tensor([1.0, 1.0, 0.0]), atol=0.05)
    for (_, sample), (_, plain) in zip(parts(family), parts(raw), strict=True):
        ours, given_ = (s(generator_for(0, "any", 0), 50).query for s in (sample, plain))
        for key, a, b in (("input", ours.x, given_.x), ("target", ours.y, given_.y)):
            mean, scale = (torch.tensor(family.info[f"{key}_{moment}"]) for moment in ("mean", "scale"))
            assert torch.allclose(a * scale + mean, b, rtol=1e-3, atol=1e-2)
    assert raw.info["target_scale"] == [1.0]


def test_parquet_and_csv_agree_and_saved_row_numbers_are_no_input(csv, tmp_path):
    table = frame([6] * 10)
    table.to_parquet(tmp_path / "numbered.parquet")
    table.to_parquet(tmp_path / "table.parquet", index=False)
    table.to_csv(tmp_path / "numbered.csv")
    paths = [csv(table), *(str(tmp_path / name) for name in ("numbered.parquet", "table.parquet", "numbered.csv"))]
    families = [regression(path, **PLAIN) for path in paths]
    assert [family.info["inputs"] for family in families] == [["a", "b"]] * 4
    assert len({family.info["fingerprint"] for family in families}) == 1


def test_columns_can_be_chosen(csv):
    family = regression(csv(frame([6] * 10)), input_columns=("b",), target_columns=("y", "a"), **PLAIN)
    assert (family.input_shape, family.num_outputs) == ((1,), 2)
    tasks = family.train(generator_for(0, "train", 0), 5)
    assert torch.equal(tasks.query.y[..., 0], 1000 * tasks.query.y[..., 1] + tasks.query.x[..., 0])


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda t: t,
            {"target_columns": ("z",)},
            r"has the columns 'task', 'a', 'b', 'y', and not 'z': choose target_columns .*, such as target_columns='y'",
        ),
        (lambda t: t, {"task_column": "tasks"}, r"Did you mean 'task'"),
        (lambda t: t, {"input_columns": ("c",)}, r"has the columns .*, and not 'c': choose input_columns among them\."),
        (lambda t: t[["task", "y"]], {}, r"has 0 input columns and 1 target column; "),
        (lambda t: t.replace({"y": {3.0: float("nan")}}), {}, r"table\.(csv|parquet), row \d+, column 'y' is empty"),
        (lambda t: t.replace({"b": {3.0: float("inf")}}), {}, r"row 15, column 'b' is 'inf'"),
        (
            lambda t: t.assign(b=[f"red {i}" for i in range(len(t))]),
            {},
            r"column 'b' has 60 different texts in 60 rows.* with input_columns, and categories with category_columns",
        ),
        (lambda t: t.astype({"b": str}).replace({"b": {"3.0": "x"}}), {}, r"row 15, column 'b' is 'x'"),
        (lambda t: t.head(0), {}, r"has no rows"),
        (
            lambda t: t,
            {"num_shots": 6},
            r"tasks have no row left to predict beside num_shots = 6, such as task 't0' with 6",
        ),
        (lambda t: t, {"fractions": (0.9, 0.1, 0.0)}, r"none is left for the test part"),
        (lambda t: t, {"num_queries": 0}, r"num_queries must be .*not 0"),
    ],
)
def test_unusable_tables_are_refused(csv, change, options, message):
    with pytest.raises(ValueError, match=message):
        regression(csv(change(frame([6] * 10))), **(PLAIN | options))


def test_a_row_without_a_task_is_refused(tmp_path):
    frame([6] * 10).replace({"task": {"t3": None}}).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(ValueError, match=r"row \d+, column 'task' is empty"):
        regression(str(tmp_path / "table.parquet"), **PLAIN)


def test_small_tasks_can_be_dropped(csv):
    family = regression(csv(frame([6] * 10 + [2, 1])), **PLAIN, small_tasks="drop")
    assert sum(family.info["tasks"].values()) == 10


@pytest.mark.parametrize("content", [None, "not a parquet file"])
def test_a_missing_or_broken_file_is_unavailable(tmp_path, content):
    if content:
        (tmp_path / "table.parquet").write_text(content)
    with pytest.raises(DataUnavailable, match=r"no file or folder|cannot be read"):
        regression(str(tmp_path / "table.parquet"))
