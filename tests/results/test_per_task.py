"""The numbers of every task in a file: read back equal, whatever they are, and refused where they are damaged."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import parquet
from torch import Tensor

from metafunc.evaluation.meta_test import Evaluation
from metafunc.evaluation.scoring import UNLIMITED, Origin
from metafunc.results import comparison, per_task
from metafunc.results.comparison import Entry
from metafunc.training.json_file import FileError


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def found_by(seed: int, *, steps: int = 3, tasks: int = 7, origin: Origin = UNLIMITED) -> Evaluation:
    values = {"mse": rand(steps, tasks, seed=seed), "nll": rand(steps, tasks, seed=seed + 100).double()}
    values["mse"][-1, 2], values["nll"][0, 0] = math.inf, math.nan
    counts = {"calibration_error": rand(steps, tasks, 2, 20, seed=seed).mul(9).floor()}
    pooled = {"noise_scale": (0.5, math.inf, 0.25), "noise_tasks_left_out": (0, 3, 1)}
    return Evaluation("test", 5, "regression", 1, "none", values, {}, counts, pooled, origin=origin)


def entries(origin: Origin = UNLIMITED) -> list[Entry]:
    maml = Entry("maml", (0, 1), (found_by(0, origin=origin), found_by(1, origin=origin)), 1, 3.5, 1761, 7.0)
    return [maml, Entry("cnp", (4,), (found_by(2, steps=2, origin=origin),), 1, None, 99)]


def same(one: Evaluation, other: Evaluation) -> bool:
    for name in ("values", "counts"):
        mine, yours = getattr(one, name), getattr(other, name)
        assert [*mine] == [*yours]
        for metric, numbers in mine.items():
            assert numbers.dtype == yours[metric].dtype
            assert torch.equal(numbers.nan_to_num(nan=-7.0), yours[metric].nan_to_num(nan=-7.0))
    plain: dict[str, Any] = {"values": {}, "counts": {}, "origin": UNLIMITED}
    groups = (one.origin.groups, other.origin.groups)
    assert groups == (None, None) or torch.equal(*groups)  # type: ignore[arg-type]  # tensors where they are not None
    return one.origin.of == other.origin.of and replace(one, **plain) == replace(other, **plain)


@pytest.mark.parametrize(
    "origin", [UNLIMITED, Origin(torch.arange(7)[:, None] % 3), Origin(torch.arange(14).reshape(7, 2), "classes")]
)
def test_what_is_written_is_read_back_equal(origin: Origin, tmp_path: Path) -> None:
    path, given = tmp_path / per_task.NAME, entries(origin)
    per_task.write(path, "sinusoid", given, [["a", None], ["c"]])
    found = per_task.read(path)
    assert (found.tasks, found.marks) == ("sinusoid", (("a", None), ("c",)))
    assert {*found.by_mark()} == {"a", "c"}
    assert same(found.by_mark()["c"], given[1].evaluations[0])
    for entry, again in zip(given, found.entries, strict=True):
        assert (again.algorithm, again.seeds, again.steps, again.parameters) == (
            *(entry.algorithm, entry.seeds, entry.steps),
            entry.parameters,
        )
        assert all(map(same, entry.evaluations, again.evaluations))
    timeless = [replace(entry, seconds=None, cpu_seconds=None) for entry in given]
    assert comparison.compare("sinusoid", found.entries) == comparison.compare("sinusoid", timeless)


def test_any_program_finds_a_number_by_its_columns(tmp_path: Path) -> None:
    given = entries(Origin(torch.arange(14).reshape(7, 2), "classes"))
    per_task.write(tmp_path / "file.parquet", "sinusoid", given)
    frame = parquet.read_table(tmp_path / "file.parquet").to_pandas()
    assert tuple(frame.columns) == per_task.COLUMNS
    asked = "algorithm == 'maml' and seed == 1 and step == 2 and metric == 'mse' and task == 5"
    (row,) = frame.query(asked).to_dict("records")
    assert row["value"] == float(given[0].evaluations[1].values["mse"][2, 5])
    assert row["group"] == "10,11"
    asked = "algorithm == 'cnp' and step == 1 and metric == 'calibration_error[22]' and task == 3"
    (row,) = frame.query(asked).to_dict("records")
    assert row["value"] == float(given[1].evaluations[0].counts["calibration_error"][1, 3, 1, 2])


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    path, given = tmp_path / per_task.NAME, entries()
    per_task.write(path, "sinusoid", given)
    table = parquet.read_table(path)
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(0)).numpy()
    parquet.write_table(table.take(order), path)
    assert all(
        same(mine, yours)
        for entry, again in zip(given, per_task.read(path).entries, strict=True)
        for mine, yours in zip(entry.evaluations, again.evaluations, strict=True)
    )


def test_one_run_has_no_column_of_algorithms_and_the_same_numbers(tmp_path: Path) -> None:
    path, entry = tmp_path / per_task.NAME, entries()[1]
    per_task.write_one(path, "sinusoid", entry)
    assert tuple(parquet.read_schema(path).names) == per_task.COLUMNS[1:]
    (again,) = per_task.read(path).entries
    assert same(again.evaluations[0], entry.evaluations[0])
    assert again.algorithm == "cnp"


def test_the_same_comparison_writes_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    per_task.write(first, "sinusoid", entries())
    per_task.write(second, "sinusoid", [replace(entry, seconds=99.0) for entry in entries()])
    assert first.read_bytes() == second.read_bytes()


def test_what_is_damaged_is_refused_and_what_was_there_stays(tmp_path: Path) -> None:
    path = tmp_path / per_task.NAME
    per_task.write(path, "sinusoid", entries())
    whole = path.read_bytes()
    with pytest.raises(ValueError, match="a name of its own"):
        per_task.write(path, "sinusoid", [entries()[0]] * 2)
    assert path.read_bytes() == whole
    damaged: tuple[Any, ...] = (
        b"",
        whole[:-9],
        whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
        b"no parquet at all",
    )
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(FileError, match="is damaged"):
            per_task.read(path)
    parquet.write_table(parquet.read_table(_again(path, whole)).replace_schema_metadata({}), path)
    with pytest.raises(FileError, match="no file of metafunc's"):
        per_task.read(path)
    with pytest.raises(FileNotFoundError):
        per_task.read(tmp_path / "absent.parquet")


def _again(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
