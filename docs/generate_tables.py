"""Writes the tables of docs/choosing.md from the rows of algorithms and task families: `nox -s config`.

What is between a pair of HTML comments, `<!-- algorithms -->` and `<!-- end of algorithms -->`, is written here; the
advice around it is written by hand. What an algorithm costs is counted by hand in `COSTS`.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from metafunc_cli.presets.all import PRESETS
from metafunc_cli.settings.generated import ALGORITHMS as NAMED
from metafunc_cli.settings.generated import FAMILIES

from metafunc.algorithms import ALGORITHMS, Algorithm

PAGE = Path(__file__).with_name("choosing.md")
COSTS = {
    "maml meta_sgd": ("K + 1 gradients and K Hessian-vector products", "yes", "K"),
    "maml_plus_plus": ("2K gradients and K Hessian-vector products", "yes", "K"),
    "fomaml": ("K + 1 gradients", "no", "K"),
    "reptile": ("K gradients", "no", "K"),
    "anil": ("as `maml`, through the head; one pass through the body for each", "in the head only", "K"),
    "imaml": ("K + 2 gradients, one Hessian-vector product for each step of conjugate gradients", "no", "K"),
    "emaml": ("as `maml`, for each particle", "yes", "K for each particle"),
    "bmaml": (
        "K gradients and K Hessian-vector products for each particle, and one gradient for each of the leader's steps",
        "yes",
        "K for each particle",
    ),
    "protonet pcoc cnp mr_cnp_w mr_cnp_a": ("1", "there is no K", "a forward pass"),
    "tnp": (
        "1; attention of all rows to the support rows in every layer",
        "there is no K",
        "a pass of the support rows, whose keys and values are kept",
    ),
    "convcnp": ("1, of convolutions on the whole grid", "there is no K", "nothing: the grid is laid for the query"),
    "np": ("1, the decoder times the draws", "there is no K", "a forward pass"),
    "anp": (
        "1, the decoder times the draws, and attention of all rows to the support rows",
        "there is no K",
        "a forward pass, whose keys and values are kept",
    ),
    "alpaca": (
        "1, and a linear system of as many unknowns as features",
        "there is no K",
        "a forward pass and it",
    ),
    "mixed": (
        "a linear system of as many unknowns as features",
        "there is no K",
        "the same",
    ),
    "dkt": (
        "1, and a linear system of as many unknowns as rows of support and query, for each class",
        "there is no K",
        "a forward pass, and one of as many as support rows",
    ),
    "empirical_gp": (
        "a linear system of as many unknowns as rows of support and query, and one of as many as inducing inputs",
        "there is no K",
        "one of as many as support rows",
    ),
    "pacoh_gp": (
        "1 for each prior, and a linear system of as many unknowns as rows of support and query",
        "there is no K",
        "a forward pass for each prior, and one of as many as support rows",
    ),
    "metaqda": (
        "1, and a linear system of as many unknowns as features for each class",
        "there is no K",
        "a forward pass and them",
    ),
    "versa": ("1, the last layer times the draws", "there is no K", "a forward pass"),
    "maml_noise mr_maml_w": ("as `maml`", "yes", "K for each particle"),
    "platipus": (
        "as `maml`, and two gradients with their Hessian-vector products",
        "yes",
        "K + 1 for the first particle, K for each other",
    ),
    "abml vampire": ("as `maml`, times the draws", "yes", "K times the draws"),
    "pacoh": ("1 for each draw of each prior", "there is no K in training", "K for each particle of each prior"),
    "llama": ("as `maml`, one gradient for each support output, and a determinant of that size", "yes", "K"),
    "mr_maml_a": ("as `maml`, through the head; one pass through the encoder for each", "in the head only", "K"),
    "pretrain": ("1", "there is no K", "K"),
    "deep_ensemble": ("1 for each particle", "there is no K", "K for each particle"),
    "scratch": ("0", "there is no K", "K"),
    "ridge gp_support": (
        "0",
        "there is no K",
        "a linear system of as many unknowns as support rows, for each of 20 points of a grid and each target",
    ),
    "maml_rl promp": ("as `maml`, K gradients to collect by, and K + 1 sets", "yes", "K, and K sets"),
    "fomaml_rl": ("as `fomaml`, K gradients to collect by, and K + 1 sets", "no", "K, and K sets"),
    "emaml_rl": ("as `maml_rl`, for each particle", "yes", "K and K sets, for each particle"),
    "bmaml_rl": ("as `bmaml`, and one set for each particle and step", "yes", "K and K sets, for each particle"),
    "pretrain_rl": ("1, and one set", "there is no K", "K, and K sets"),
    "random_policy": ("0", "there is no K", "K, and K sets"),
    "oracle_policy": ("1, and one set", "there is no K", "nothing"),
}
"""Algorithms that cost the same, by name: training on one task, whether memory grows with K, and adapting."""


def main() -> None:
    """Write the page's tables again."""
    PAGE.write_text(replaced(PAGE.read_text(), tables()))


def tables() -> dict[str, str]:
    """The tables by the name of their markers."""
    return {
        "algorithms": table(
            ("algorithm", "what it is", "tasks", "adapts by", "meta-gradient", "presets for"),
            (
                (f"`{name}`", row.summary, " · ".join(row.kinds), adapts(row), gradient(row), presets(name))
                for name, row in ALGORITHMS.items()
            ),
        ),
        "families": table(
            ("tasks", "what they are", "kind", "usual network"),
            ((f"`{name}`", row.summary, " · ".join(row.kinds), f"`{row.model}`") for name, row in FAMILIES.items()),
        ),
        "costs": table(
            ("algorithm", "one task, meta-training", "memory grows with K", "adapting to a new task"), costs(NAMED)
        ),
    }


def adapts(row: Algorithm) -> str:
    """How a learner adapts."""
    return "steps" if row.inner_steps else "conditioning"


def gradient(row: Algorithm) -> str:
    """What its meta-gradient is."""
    if not row.trains:
        return "none"
    if "control" in row.kinds:
        return "its estimator's"
    return "exact" if row.exact else "the paper's"


def presets(algorithm: str) -> str:
    """The task families that an algorithm has a paper's settings for, in order and once each."""
    found = dict.fromkeys(preset.tasks for preset in PRESETS if preset.algorithm == algorithm)
    return ", ".join(f"`{name}`" for name in found)


def costs(learners: Iterable[str]) -> list[tuple[str, ...]]:
    """What each learner costs, those that cost the same on one line; a learner that `COSTS` lacks is not counted."""
    counted = {name for names in COSTS for name in names.split()}
    every = COSTS | {name: ("not counted",) * 3 for name in learners if name not in counted}
    return [(", ".join(f"`{name}`" for name in names.split()), *cells) for names, cells in every.items()]


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    header = tuple(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def replaced(page: str, found: Mapping[str, str]) -> str:
    """A page with what is between each pair of markers replaced.

    Raises:
        ValueError: a pair of markers is missing, or is there twice.
    """
    for name, text in found.items():
        between = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)", flags=re.DOTALL)
        page, count = between.subn(lambda match, text=text: match[1] + text + match[2], page)
        if count != 1:
            raise ValueError(f"The page has {count} pairs of markers for the table {name!r}; it needs one.")
    return page


if __name__ == "__main__":
    main()
