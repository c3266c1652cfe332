"""Columns of any size against fractions: the right numbers, or a refusal that names the file and the column."""

import datetime
import math
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import pandas
import pytest
import torch

from metafunc.data import regression
from metafunc.data.numbers import Scale, check_resolved, moments, numbers, standardised

TASKS, ROWS = 12, 6


def by_fractions(values):
    """Mean and standard deviation without any rounding but the last."""
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    square = sum((value - mean) ** 2 for value in exact) / len(exact)
    with localcontext(prec=60):
        root = (Decimal(square.numerator) / Decimal(square.denominator)).sqrt()
    return mean, Fraction(root)


def draws(size, offset, count=TASKS * ROWS):
    generator = torch.Generator().manual_seed(3)
    return (offset + size * torch.randn(count, generator=generator).double()).tolist()


COLUMNS = {
    "ordinary": draws(2.0, 5.0),
    "1e300": draws(1e300, 0.0),
    "1.6e308": [1.6e308 if i % 2 else -1.6e308 for i in range(TASKS * ROWS)],
    "1e-310": draws(1e-310, 0.0),
    "1e-200": draws(1e-200, 1e-199),
    "1e9 + 1e-3": draws(1e-3, 1e9),
    "1e12 + 1e-2": draws(1e-2, 1e12),
    "2^60": [float(2**60 + 2**10 * i) for i in range(TASKS * ROWS)],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_moments_and_standardised_values_are_those_of_fractions(name):
    values = COLUMNS[name]
    column = torch.tensor(values, dtype=torch.float64)[:, None]
    found = moments(column)
    mean, spread = by_fractions(values)
    assert math.isclose(found.scale.item(), float(spread), rel_tol=1e-9)
    # The mean is a double, so that it is off by half of its last digit at most, which is little beside the spread.
    assert abs(Fraction(found.mean.item()) - mean) <= Fraction(math.ulp(found.mean.item())) + spread / 10**9
    wanted = [float((Fraction(v) - Fraction(found.mean.item())) / spread) for v in values]
    got = standardised(column, found, [name], Path("t.csv"))[:, 0].tolist()
    assert got == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_an_ordinary_column_s_moments_are_torch_s_to_the_last_bit():
    values = torch.tensor([COLUMNS["ordinary"], draws(1e-4, -3.0), draws(7e5, 1e6)], dtype=torch.float64).T
    found = moments(values)
    assert torch.equal(found.mean, values.mean(0))
    assert torch.equal(found.scale, values.std(0, correction=0))
    plain = ((values - values.mean(0)) / values.std(0, correction=0)).float()
    assert torch.equal(standardised(values, found, ["a", "b", "c"], Path("t")), plain)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e300, -1e-310, 1e9 + 1e-6])
def test_a_constant_column_is_only_centred(value):
    column = torch.full((1001, 1), value, dtype=torch.float64)
    found = moments(column)
    assert (found.mean.item(), found.scale.item()) == (value, 1.0)
    assert (standardised(column, found, ["x"], Path("t.csv")) == 0).all()


def write(path: Path, frame: pandas.DataFrame) -> str:
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return str(path)


def table(**columns):
    tasks = [f"t{i // ROWS}" for i in range(TASKS * ROWS)]
    x = draws(1.0, 0.0)
    return pandas.DataFrame({"task": tasks, "x": x, "y": [2 * v for v in x], **columns})


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("side", ["x", "y"])
def test_a_family_s_numbers_are_of_one_size_whatever_the_table_s_are(tmp_path, suffix, name, side):
    family = regression(write(tmp_path / f"t{suffix}", table(**{side: COLUMNS[name]})), num_shots=3)
    batch = family.train(torch.Generator().manual_seed(0), 200).query
    values = getattr(batch, side)[batch.mask.bool()]
    assert 0.5 < values.std() < 2
    assert values.isfinite().all()
    assert all(math.isfinite(v) and v > 0 for v in (*family.info["input_scale"], *family.info["target_scale"]))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("side", ["x", "y"])
def test_a_constant_column_is_zero_and_the_other_as_ever(tmp_path, suffix, side):
    family = regression(write(tmp_path / f"t{suffix}", table(**{side: [0.1] * TASKS * ROWS})), num_shots=3)
    batch = family.train(torch.Generator().manual_seed(0), 50).query
    assert (getattr(batch, side) == 0).all()
    assert getattr(batch, "y" if side == "x" else "x").std() > 0.3


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_truths_are_ones_and_zeros(tmp_path, suffix):
    on = [i % 3 == 0 for i in range(TASKS * ROWS)]
    family = regression(write(tmp_path / f"t{suffix}", table(x=on)), num_shots=3, standardise=False)
    assert set(family.train(torch.Generator().manual_seed(0), 50).support.x.flatten().tolist()) == {0.0, 1.0}


def with_cell(place, cell, kind=object):
    cells = draws(1.0, 0.0)
    return pandas.Series([cell if i == place else v for i, v in enumerate(cells)], dtype=kind)


FAULTY = {
    "nan": (with_cell(4, math.nan, float), "row 5, column 'y' is empty"),
    "inf": (with_cell(4, math.inf, float), "row 5, column 'x' is 'inf'"),
    "text": (pandas.Series([*map(str, draws(1.0, 0.0)[:-1]), "tall"]), "row 72, column 'x' is 'tall'"),
    "date": (pandas.Series([datetime.datetime(2020, 1, 1)] * TASKS * ROWS), "row 1, column 'y' is '2020-01-01"),
    "id": (
        pandas.Series([2**53 + i for i in range(TASKS * ROWS)]),
        "row 2, column 'x' is 9007199254740993, and",
    ),
    "long id": (
        pandas.Series([str(2**64 + i) for i in range(TASKS * ROWS)]),
        "row 2, column 'x' is 18446744073709551617, and",
    ),
    "unsigned": (
        pandas.Series([2**63 + i for i in range(TASKS * ROWS)], dtype="uint64"),
        "row 2, column 'x' is 9223372036854775809, and",
    ),
    "raw": (pandas.Series(draws(1.0, 1e9)), "column 'x' varies from 99999.*which single precision does not resolve"),
    "tiny": (pandas.Series(draws(1e-310, 0.0)), "column 'x' varies from .*which single precision does not resolve"),
    "large": (pandas.Series(draws(1e300, 0.0)), "row 1, column 'x' is .*e.29[89], which single precision"),
}


TARGETS = ("nan", "date")
"""What may stand among the inputs, but not among the targets."""


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("name", FAULTY)
def test_what_is_no_number_or_beyond_one_is_refused_in_a_line_that_names_it(tmp_path, suffix, name):
    column, message = FAULTY[name]
    path = write(tmp_path / f"t{suffix}", table(**{"y" if name in TARGETS else "x": column}))
    with pytest.raises(ValueError, match=message) as caught:
        regression(path, num_shots=3, standardise=name not in ("raw", "tiny", "large"))
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_outlier_that_only_new_tasks_have_is_named(tmp_path):
    frame = table()
    parts = regression(write(tmp_path / "t.csv", frame), num_shots=3)
    refused = []
    for row in range(0, TASKS * ROWS, ROWS):
        frame = table()
        frame.loc[row, "x"] = 1e300
        try:
            family = regression(write(tmp_path / "t.csv", frame), num_shots=3)
        except ValueError as error:
            refused.append(f"row {row + 1}, column 'x' is 1e+300, which single precision does not hold" in str(error))
        else:
            refused.append(False)
            assert family.info["input_scale"][0] > 1e298
    assert sum(refused) == parts.info["tasks"]["validation"] + parts.info["tasks"]["test"]


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.inf, math.nan])
def test_scales_that_are_no_positive_numbers_are_refused(wrong):
    by = Scale(torch.zeros(1).double(), torch.tensor([wrong]).double())
    with pytest.raises(ValueError, match=r"t.csv, column 'y' would be centred by 0.0 and divided by (0|-1|inf|nan)"):
        standardised(torch.ones(2, 1).double(), by, ["y"], Path("t.csv"))


def test_tasks_of_a_single_row_are_refused_by_name_or_dropped(tmp_path):
    frame = pandas.concat([table(), pandas.DataFrame({"task": ["alone"], "x": [1.0], "y": [2.0]})])
    path = write(tmp_path / "t.csv", frame)
    with pytest.raises(ValueError, match=r"no row left to predict beside num_shots = 3, such as task 'alone' with 1"):
        regression(path, num_shots=3)
    assert sum(regression(path, num_shots=3, small_tasks="drop").info["tasks"].values()) == TASKS


def test_whole_numbers_that_doubles_have_are_numbers():
    frame = pandas.DataFrame({"x": [2**53, 2**60, -(2**62)], "t": ["1e300", " 5 ", "9007199254740992"]})
    assert numbers(frame, ["x", "t"], Path("t")).tolist() == [
        [2.0**53, 1e300],
        [2.0**60, 5.0],
        [-(2.0**62), 2.0**53],
    ]
    with pytest.raises(ValueError, match="row 1, column 't' is 9007199254740993"):
        numbers(pandas.DataFrame({"t": ["9007199254740993"]}), ["t"], Path("t"))


def test_raw_columns_that_single_precision_resolves_are_taken():
    years = torch.arange(1950, 2020).double()[:, None]
    check_resolved(torch.cat([years, 1e-30 * years, 1e30 * years, 0 * years + 7], 1), ["a", "b", "c", "d"], Path("t"))
