"""Inputs that are no numbers: what each cell becomes, by the training tasks alone, and the same again from JSON."""

import datetime
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from metafunc import tree
from metafunc.data import from_table, generator_for, regression
from metafunc.data.class_split import by_fractions
from metafunc.data.encoding import Encoding, fit, kind_of

PLACE = Path("t.csv")
SETTINGS = {"task": "task", "targets": "y", "num_shots": 3, "num_queries": 4, "num_test_queries": 5}
TASKS, ROWS = 12, 9


def table():
    """Tasks of nine rows with a date, a category, a truth, and a number that is missing in places."""
    rng = np.random.default_rng(0)
    n = TASKS * ROWS
    return pd.DataFrame(
        {
            "task": [f"t{i // ROWS:02d}" for i in range(n)],
            "day": [str(datetime.date(2024, 1, 1) + datetime.timedelta(days=int(d))) for d in rng.integers(0, 99, n)],
            "shift": rng.choice(["day", "night", "late"], n),
            "on": rng.random(n) < 0.5,
            "x": np.where(rng.random(n) < 0.2, np.nan, rng.normal(5, 2, n)),
            "y": rng.normal(size=n),
        }
    )


def training_of(frame):
    part = by_fractions(frame["task"].tolist(), (0.64, 0.16, 0.2), 0)
    return frame["task"].isin([part.names[t] for t in part.parts["train"]])


def by_hand(frame, training):
    """The features, one column after the other, as pandas has them."""
    known = frame[training]
    days = pd.to_datetime(frame["day"])
    levels = sorted(known["shift"].unique())
    return pd.DataFrame(
        {
            "day": (days - days[training].min()).dt.days.astype(float),
            **{f"shift={level}": (frame["shift"] == level).astype(float) for level in levels},
            "shift=another": (~frame["shift"].isin(levels)).astype(float),
            "on": frame["on"].astype(float),
            "x": frame["x"].fillna(known["x"].mean()),
            "x missing": frame["x"].isna().astype(float),
        }
    )


def test_each_cell_is_what_it_would_be_by_hand():
    frame = table()
    training = training_of(frame)
    found = fit(frame, ["day", "shift", "on", "x"], torch.tensor(training.to_numpy()), PLACE)
    expected = by_hand(frame, training)
    assert found.features == tuple(expected)
    np.testing.assert_allclose(found(frame, PLACE).numpy(), expected.to_numpy(), rtol=1e-12)
    leaking = by_hand(frame, training | True)
    assert not np.allclose(found(frame, PLACE).numpy(), leaking.to_numpy()), "other tasks' rows count for nothing"


def test_quantities_are_standardised_and_zeros_and_ones_are_not():
    frame = table()
    family, raw = (from_table(frame, **SETTINGS, standardise=flag) for flag in (True, False))
    expected = by_hand(frame, training_of(frame))
    training = expected[training_of(frame)]
    for name, mean, scale in zip(expected, family.info["input_mean"], family.info["input_scale"], strict=True):
        quantity = name in ("day", "on", "x")
        assert mean == pytest.approx(training[name].mean() if quantity else 0.0)
        assert scale == pytest.approx(training[name].std(ddof=0) if quantity else 1.0)
    ours, plain = (f.test(generator_for(0, "test", 0), 8).query.x for f in (family, raw))
    mean, scale = (torch.tensor(family.info[f"input_{of}"]) for of in ("mean", "scale"))
    torch.testing.assert_close(ours * scale + mean, plain, rtol=1e-4, atol=1e-4)


def test_the_order_of_rows_and_the_file_s_format_do_not_matter(tmp_path):
    frame = table()
    frame.to_parquet(tmp_path / "t.parquet")
    frame.assign(day=pd.to_datetime(frame["day"])).to_parquet(tmp_path / "typed.parquet")
    frame.to_csv(tmp_path / "t.csv", index=False)
    how = {name: value for name, value in SETTINGS.items() if name not in ("task", "targets")}
    families = [regression(str(tmp_path / n), **how) for n in ("t.parquet", "typed.parquet", "t.csv")]
    families += [from_table(frame, **SETTINGS), from_table(frame.astype({"shift": "category"}), **SETTINGS)]
    assert len({family.info["fingerprint"] for family in families}) == 1
    first, *others = (tree.leaves(family.train(generator_for(0, "train", 0), 9)) for family in families)
    assert all(torch.equal(a, b) for leaves in others for a, b in zip(first, leaves, strict=True))


def test_a_level_or_date_that_training_has_not_seen_is_kept_as_such():
    frame = table()
    found = fit(frame, ["day", "shift"], torch.ones(len(frame), dtype=torch.bool), PLACE)
    new = pd.DataFrame({"day": ["2023-12-31", "2024-01-02T12:00"], "shift": ["dawn", "late"]})
    origin = pd.Timestamp(found.codes[0].origin).tz_localize(None)
    days = [(pd.Timestamp(text) - origin) / pd.Timedelta(days=1) for text in new["day"]]
    assert found(new, PLACE).tolist() == [[days[0], 0, 0, 0, 1], [days[1], 0, 1, 0, 0]]


def test_it_goes_to_json_and_back():
    frame = table()
    info = json.loads(json.dumps(from_table(frame, **SETTINGS).info))
    found = Encoding.of_run(info, info["inputs"])
    assert not found.plain
    again = from_table(frame.iloc[::-1], **SETTINGS, units=info, split_seed=5)
    assert again.info["encoding"] == info["encoding"]
    assert again.info["input_mean"] == info["input_mean"]
    assert from_table(frame, **SETTINGS, split_seed=5).info["encoding"] != info["encoding"]


def test_a_table_of_numbers_has_no_encoding():
    assert "encoding" not in from_table(table()[["task", "on", "y"]], **SETTINGS).info


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2.5", ""], "number"),
        ([True, False], "number"),
        (["True", "false"], "number"),
        (["2024-01-01", "2024-01-01T10:00:00Z", None], "date"),
        ([datetime.date(2024, 1, 1), None], "date"),
        (["a", "b", "NA"], "category"),
        (["a", "2"], None),
        ([[1.0], [2.0]], None),
        (["", None], "number"),
    ],
)
def test_the_kind_of_a_column(cells, kind):
    assert kind_of(pd.Series(cells, dtype=object)) == kind


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (
            lambda t: t.assign(x=[f"{v:.3f}".replace(".", ",") for v in range(len(t))]),
            {},
            r"'x' has 108 different texts",
        ),
        (
            lambda t: t.assign(x=["low"] * 107 + ["3"]),
            {},
            r"row 1, column 'x' is 'low'; a finite number .*category_col",
        ),
        (lambda t: t.assign(x=np.nan), {}, r"column 'x' is empty in all training tasks"),
        (lambda t: t, {"category_columns": ("y",)}, r"category_columns must be one of .*, not 'y'"),
        (lambda t: t.assign(y=t["y"].where(t.index != 7)), {}, r"row 8, column 'y' is empty.* target"),
        (lambda t: t, {"log_targets": True}, r"row \d+, column 'y' is -.*, which has no logarithm"),
    ],
)
def test_what_cannot_be_coded_is_refused(change, settings, message):
    with pytest.raises(ValueError, match=message):
        from_table(change(table()), **SETTINGS, **settings)


def test_what_looks_like_numbers_is_a_category_where_the_user_says_so():
    frame = table().assign(zone=[["007", "7", "x"][i % 3] for i in range(TASKS * ROWS)])
    family = from_table(frame, **SETTINGS, inputs=["zone"], category_columns=("zone",))
    assert family.info["encoding"][0]["levels"] == ["007", "7", "x"]


def test_a_cell_that_does_not_fit_its_column_later_is_named():
    frame = table().fillna(1.0)
    found = fit(frame, ["day", "shift", "x"], torch.ones(len(frame), dtype=torch.bool), PLACE)
    for name, cell, message in (
        ("day", "May", r"t.csv, row 3, column 'day' is 'May'; a date is needed"),
        ("day", None, r"row 3, column 'day' is empty; a date is needed"),
        ("shift", None, r"row 3, column 'shift' is empty; a category is needed"),
        ("x", None, r"row 3, column 'x' is empty; a finite number is needed"),
    ):
        wrong = frame.astype({name: object}).head(4)
        wrong.loc[2, name] = cell
        with pytest.raises(ValueError, match=message):
            found(wrong, PLACE)
    with pytest.raises(ValueError, match=r"t\.csv has no column 'day'"):
        found(frame[["shift", "x"]], PLACE)


def test_targets_can_be_logarithms():
    frame = table()[["task", "on", "y"]].assign(y=lambda t: np.exp(t["y"]))
    logs = from_table(frame, **SETTINGS, log_targets=True)
    expected = from_table(frame.assign(y=np.log(frame["y"])), **SETTINGS)
    ours, theirs = (family.train(generator_for(0, "train", 0), 8).query.y for family in (logs, expected))
    torch.testing.assert_close(ours, theirs)
    assert logs.info["log_targets"]
    assert not torch.allclose(ours, from_table(frame, **SETTINGS).train(generator_for(0, "train", 0), 8).query.y)


def test_a_category_is_the_same_however_its_column_was_read():
    whole = pd.DataFrame({"zone": [1, 2, 1, 2]})
    found = fit(whole, ["zone"], torch.ones(4, dtype=torch.bool), PLACE, ("zone",))
    for cells in ([1.0, 2.0, 1.0, 2.0], ["1", " 2", "1 ", "2"]):
        again = pd.DataFrame({"zone": cells})
        assert torch.equal(found(again, PLACE), found(whole, PLACE))
        assert found.unknown(again) == {}
    other = pd.DataFrame({"zone": [1.0, 2.5, 3.0]})
    assert found.unknown(other) == {"zone": ["2.5", "3"]}
