"""The one sentence of a comparison says what its table does, and no more."""

from typing import Any

import pytest

from metafunc.results.finding import finding
from metafunc.results.tables import arrow, head


def row(
    name: str, mean: float | None, diff: tuple[float, float] | None = None, *, best: bool = False, **more: Any
) -> Any:
    metric = more.get("metric", "mse")
    paired = {} if diff is None else {metric: {"diff": diff[0], "ci95": diff[1]}}
    half = None if mean is None else 0.1
    return {"algorithm": name, metric: {"mean": mean, "ci95": half}, "paired": paired, "best": [metric] * best}


def said(*rows: Any) -> str:
    return finding({"rows": [*rows]})


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ((row("maml", 0.5),), "maml has MSE 0.50 ± 0.10."),
        (
            (row("maml", 0.5), row("anil", 0.6, (0.1, 0.02)), row("cnp", 0.2, (-0.3, 0.05), best=True)),
            "cnp has the lowest MSE, 0.300 ± 0.050 below maml.",
        ),
        (
            (row("maml", 0.1, best=True), row("anil", 0.6, (0.5, 0.02)), row("cnp", 0.2, (0.1, 0.05))),
            "maml has the lowest MSE, 0.100 ± 0.050 below cnp.",
        ),
        (
            (row("maml", 0.5), row("anil", 0.49, (-0.01, 0.05))),
            "MSE does not decide between anil and maml, 0.010 ± 0.050 apart.",
        ),
        (
            (row("maml", 0.5), row("anil", 0.9, (0.4, 0.05)), row("cnp", 0.95, (0.45, 0.5))),
            "MSE does not decide between maml and cnp, 0.45 ± 0.50 apart.",
        ),
        (
            (row("maml", None), row("anil", 0.9), row("cnp", 0.8)),
            "maml diverges; of the others cnp has the lowest MSE.",
        ),
        ((row("maml", None), row("anil", None)), "MSE is finite for none."),
        (
            (row("maml", 0.5, metric="accuracy"), row("cnp", 0.7, (0.2, 0.03), best=True, metric="accuracy")),
            "cnp has the highest accuracy, 20.0 ± 3.0 % above maml.",
        ),
    ],
)
def test_the_sentence_is_what_the_intervals_allow(rows: tuple[Any, ...], sentence: str) -> None:
    assert said(*rows) == sentence


def test_the_likelihood_has_a_clause_of_its_own() -> None:
    first = {**row("maml", 0.5), "nll": {"mean": 2.0, "ci95": 0.1}}
    second = row("cnp", 0.2, (-0.3, 0.05), best=True) | {"nll": {"mean": 2.5, "ci95": 0.1}}
    second["paired"]["nll"] = {"diff": 0.5, "ci95": 0.2}
    assert said({**first, "best": ["nll"]}, second) == (
        "cnp has the lowest MSE, 0.300 ± 0.050 below maml; maml has the lowest NLL, 0.50 ± 0.20 below cnp."
    )


def test_names_are_written_as_they_should_be() -> None:
    assert finding({"rows": [row("a|b", 0.5)]}, lambda name: name.replace("|", "/")).startswith("a/b has")


def test_a_head_has_an_arrow_to_where_it_is_good() -> None:
    assert (head("mse"), head("accuracy")) == ("MSE ↓", "accuracy ↑")
    assert arrow("return") == "↑"
