"""The one sentence of a comparison says what its table does, and no more."""

from typing import Any

import pytest

from metafunc.results.finding import finding
from metafunc.results.tables import arrow, head


def row(name: str, mean: float | None, metric: str = "mse") -> Any:
    return {"algorithm": name, metric: {"mean": mean, "ci95": None if mean is None else 0.1}}


def lead(best: str, rival: str, diff: float, ci95: float, *, decided: bool) -> Any:
    return {"algorithm": best, "rival": rival, "diff": diff, "ci95": ci95, "decided": decided}


@pytest.mark.parametrize(
    ("rows", "leading", "sentence"),
    [
        ([row("maml", 0.5)], {}, "maml has MSE 0.50 ± 0.10."),
        (
            [row("maml", 0.5), row("anil", 0.3), row("cnp", 0.2)],
            lead("cnp", "anil", -0.1, 0.05, decided=True),
            "cnp has the lowest MSE, 0.100 ± 0.050 below anil.",
        ),
        (
            [row("maml", 0.5), row("anil", 0.49)],
            lead("anil", "maml", -0.01, 0.05, decided=False),
            "MSE does not decide between anil and maml, 0.010 ± 0.050 apart.",
        ),
        (
            [row("maml", 0.5), row("anil", 0.49), row("cnp", 0.52)],
            lead("anil", "maml", -0.01, 0.05, decided=False) | {"undecided": ["maml", "cnp"]},
            "MSE does not decide between anil and maml, 0.010 ± 0.050 apart, nor against cnp.",
        ),
        (
            [row("maml", 0.5), row("anil", 0.3), row("cnp", 0.7)],
            lead("anil", "maml", -0.2, 0.05, decided=False) | {"undecided": ["cnp"]},
            "anil has the lowest MSE, 0.200 ± 0.050 below maml (against cnp it is not decided).",
        ),
        (
            [row("maml", None), row("anil", 0.9), row("cnp", 0.8)],
            lead("cnp", "anil", -0.1, 0.05, decided=False),
            "maml diverges; of the others cnp has the lowest MSE.",
        ),
        ([row("maml", None), row("anil", None)], {}, "MSE is finite for none."),
        (
            [row("maml", 0.5, "accuracy"), row("cnp", 0.7, "accuracy")],
            lead("cnp", "maml", 0.2, 0.03, decided=True),
            "cnp has the highest accuracy, 20.0 ± 3.0 % above maml.",
        ),
    ],
)
def test_the_sentence_is_what_the_intervals_allow(rows: list[Any], leading: Any, sentence: str) -> None:
    metric = next(name for name in rows[0] if name != "algorithm")
    assert finding({"rows": rows, "leading": {metric: leading}}) == sentence


def test_the_likelihood_has_a_clause_of_its_own() -> None:
    rows = [row("maml", 0.5) | row("maml", 2.0, "nll"), row("cnp", 0.2) | row("cnp", 2.5, "nll")]
    leading = {
        "mse": lead("cnp", "maml", -0.3, 0.05, decided=True),
        "nll": lead("maml", "cnp", -0.5, 0.2, decided=True),
    }
    assert finding({"rows": rows, "leading": leading}) == (
        "cnp has the lowest MSE, 0.300 ± 0.050 below maml; maml has the lowest NLL, 0.50 ± 0.20 below cnp."
    )


def test_names_are_written_as_they_should_be() -> None:
    assert finding({"rows": [row("a|b", 0.5)], "leading": {"mse": {}}}, lambda name: name.replace("|", "/")).startswith(
        "a/b has"
    )


def test_a_head_has_an_arrow_to_where_it_is_good() -> None:
    assert (head("mse"), head("accuracy")) == ("MSE ↓", "accuracy ↑")
    assert arrow("return") == "↑"
