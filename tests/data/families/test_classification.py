"""Classification tables: labels are the training tasks' classes in order, rows stay with their task."""

import numpy as np
import pandas as pd
import pytest
import torch

from metafunc.data import classification, from_table, generator_for
from metafunc.data.class_split import by_fractions
from metafunc.data.task_split import by_fold

SIZES = {"num_shots": 3, "num_queries": 4, "num_test_queries": 5}
NAMES = ("pear", "apple", "fig")
CLASSES = sorted(NAMES)


def frame():
    """Row i of task t: inputs (t, i), and the class of i."""
    cells = [(f"t{t:02d}", float(t), float(i), NAMES[i % 3]) for t in range(12) for i in range(9)]
    return pd.DataFrame(cells, columns=["task", "a", "b", "label"]).sample(frac=1, random_state=0)


@pytest.fixture
def path(tmp_path):
    frame().to_csv(tmp_path / "t.csv", index=False)
    return str(tmp_path / "t.csv")


def test_a_draw_is_rows_of_one_task_with_their_classes(path):
    family = classification(path, standardise=False, **SIZES)
    assert (family.kind, family.num_outputs, family.info["classes"]) == ("classification", 3, CLASSES)
    seen = []
    for part, sample in (("train", family.train), ("validation", family.validation), ("test", family.test)):
        tasks = sample(generator_for(0, part, 0), 100)
        for batch in tasks:
            assert batch.y.dtype == torch.int64
            assert torch.equal(batch.x[..., 0], tasks.support.x[:, :1, 0].expand(batch.y.shape))
            expected = torch.tensor([CLASSES.index(NAMES[int(i) % 3]) for i in batch.x[..., 1].flatten()])
            assert torch.equal(batch.y.flatten(), expected)
            assert not torch.equal(batch.y.flatten(), batch.x[..., 1].flatten().long() % 3), "not by first appearance"
        seen.append({*tasks.support.x[:, 0, 0].int().tolist()})
    assert sum(map(len, seen)) == 12


def test_labels_stay_as_they_are_where_inputs_are_standardised(path):
    first, second = (classification(path, standardise=flag, **SIZES) for flag in (True, False))
    ours, raw = (family.test(generator_for(0, "test", 0), 20).query for family in (first, second))
    assert torch.equal(ours.y, raw.y)
    assert not torch.allclose(ours.x, raw.x)
    assert (first.info["target_mean"], first.info["target_scale"]) == ([0.0], [1.0])


def test_a_frame_gives_the_tasks_of_its_file(path):
    of_file = classification(path, **SIZES)
    of_frame = from_table(frame(), task="task", targets="label", kind="classification", **SIZES)
    assert of_file.info["fingerprint"] == of_frame.info["fingerprint"]
    first, second = (family.train(generator_for(0, "train", 0), 9).support.y for family in (of_file, of_frame))
    assert torch.equal(first, second)


def test_another_table_is_read_in_the_run_s_classes_and_units(path, tmp_path):
    family = classification(path, **SIZES)
    few = frame().query("label != 'apple'").assign(a=lambda t: t["a"] + 1)
    few.to_csv(tmp_path / "few.csv", index=False)
    other = classification(str(tmp_path / "few.csv"), units=family.info, **SIZES)
    assert (other.num_outputs, other.info["classes"]) == (3, CLASSES)
    assert other.info["input_mean"] == family.info["input_mean"]
    assert {*other.train(generator_for(0, "train", 0), 50).support.y.flatten().tolist()} == {1, 2}
    assert classification(str(tmp_path / "few.csv"), **SIZES).num_outputs == 2


def unseen(table):
    """The same with a class that only tasks of the meta-test have."""
    part = by_fractions(table["task"].tolist(), (0.64, 0.16, 0.2), 0)
    later = table["task"].isin([part.names[t] for t in part.parts["test"]])
    return table.assign(label=np.where(later, "plum", table["label"]))


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (unseen, {}, r"row \d+, column 'label' is 'plum', a class of no training task; these have 'apple'"),
        (
            lambda t: t.assign(label=t["label"].where(t["a"] > 0)),
            {},
            r"column 'label' is empty; every row needs its class",
        ),
        (lambda t: t, {"target_column": "kind"}, r"not 'kind': choose target_column among them"),
        (lambda t: t, {"num_shots": 9}, r"12 tasks have no row left to predict"),
    ],
)
def test_unusable_tables_are_refused(tmp_path, change, settings, message):
    change(frame()).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ValueError, match=message):
        classification(str(tmp_path / "t.csv"), **(SIZES | settings))


def test_what_does_not_go_with_classes_is_refused():
    for settings, message in (({"targets": ["label", "b"]}, "2 columns"), ({"log_targets": True}, "no logarithms")):
        with pytest.raises(ValueError, match=message):
            from_table(frame(), **({"task": "task", "targets": "label", "kind": "classification"} | settings))


def test_the_classes_of_a_fold_are_those_of_its_training_tasks():
    frame = pd.DataFrame(
        [(f"t{i // 12}", i / 7, "rare" if i // 12 == 7 and i % 2 else "ab"[i % 2]) for i in range(120)],
        columns=["task", "x", "label"],
    )
    settings = {"task": "task", "targets": "label", "kind": "classification", "num_shots": 3, "num_queries": 3}
    for number in range(5):
        known = 7 in by_fold("t.csv", [f"t{i}" for i in range(10)], (number, 5), 0).parts["train"]
        if known:
            family = from_table(frame, **settings, fold=(number, 5))
            assert family.info["classes"] == ["a", "b", "rare"]
            labels = family.train(torch.Generator().manual_seed(0), 400).query.y
            assert sorted(labels.unique().tolist()) == [0, 1, 2]
        else:
            with pytest.raises(ValueError, match="'rare'"):
                from_table(frame, **settings, fold=(number, 5))
