"""Guesses of which columns of a table are what."""

import pandas
import pytest

from metafunc.data.columns import Columns, MissingColumns, refuse_absent

ARGUMENTS = {"task": "task_column", "inputs": "input_columns", "targets": "target_column"}


@pytest.mark.parametrize(("classes", "best"), [(True, "sort"), (False, "size")])
def test_classes_are_guessed_to_be_a_text(classes: bool, best: str) -> None:
    rows = {"plant": ["a", "a", "b", "b"], "size": [0.1, 0.2, 0.3, 0.4], "sort": ["x", "y", "y", "x"]}
    with pytest.raises(MissingColumns, match=f"such as target_column='{best}'"):
        refuse_absent("it", pandas.DataFrame(rows), Columns("plant", ("label",), called=ARGUMENTS, classes=classes))
