"""What there is to check about something, one step after the other, and what a failure means."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator

from metafunc import tree
from metafunc.testing.diagnosis.bisect import Culprit, custom_functions
from metafunc.testing.diagnosis.loss_checks import CHECKS
from metafunc.testing.diagnosis.loss_problem import Probe, generic, refuse_loss, refuse_unfinished
from metafunc.testing.identities.table import IDENTITIES, Identity
from metafunc.testing.numerics.report import RAISED, Report, described, not_measured
from metafunc.testing.problems.cases import LossCase
from metafunc.types import Data, Loss, Task, Tree

DENSE = 500
"""Parameters up to which the identities that form a Hessian are asked of a loss as well."""
ALGEBRA = ("one_step", "k_steps", "many_tasks", "first_order", "linear_inner_loss", "meta_sgd", "reptile", "meta_test")
"""Those identities."""
_AGAIN = (
    "its backward gives the gradient, but does not differentiate rightly again. Write the backward in differentiable "
    "torch operations on saved tensors (no .data, .detach(), .item() or numpy), or leave the gradient to torch; "
    "torch.autograd.gradgradcheck tries it alone"
)
_TWICE = "torch has no second derivative of an operation: compose it of elementary torch operations"
_BATCHED = (
    "an operation has no right batching rule: compose it of elementary torch operations, or give its autograd.Function "
    "a vmap that is right (generate_vmap_rule = True, and setup_context)"
)
MENDS = {
    "pure_loss": "pass random numbers and state in as part of the input",
    "gradient": "its backward is wrong, or its forward is not continuous: torch.autograd.gradcheck tries it alone",
    "second_derivative": _AGAIN,
    "hessian_symmetry": _AGAIN,
    "hvp_modes": _AGAIN,
    "finite_differences": _AGAIN,
    "autograd_loop": _BATCHED,
    "batching": _BATCHED,
    "meta_derivative": "differentiate through adaptation, or say --first-order if it stops gradients on purpose",
}
"""What to do about the parts found guilty, by identity."""

PURE = "pure_loss"
_IMPURE = not_measured("The loss gives another number when it is called again, so nothing else can be said of it.")
_BY_MESSAGE = (
    (("Batching rule", "batching rule", "vmap"), _BATCHED),
    (("derivative for", "not implemented", "double backward", "twice differentiable"), _TWICE),
)
"""What to do about what raises an error, by words in its message."""

Locate = Callable[[Callable[[Probe], Report], bool], list[Culprit]]
"""From a check, and whether it raised an error, to the parts to blame."""


class Step(NamedTuple):
    """One check that waits to be run.

    Args:
        name: the identity's.
        summary: the identity in a line.
        run: takes a moment; never raises because of what is checked.
    """

    name: str
    summary: str
    run: Callable[[], Report]


@dataclass(frozen=True)
class Examination:
    """Checks that wait to be run.

    Args:
        notes: what whoever reads the verdict should know, full sentences.
        steps: the checks.
    """

    notes: tuple[str, ...]
    steps: tuple[Step, ...]

    def run(self) -> list[Report]:
        """All reports."""
        return [step.run() for step in self.steps]


def examine_probe(probe: Probe, locate: Locate) -> tuple[Step, ...]:
    """What can be asked of any loss."""
    return tuple(
        Step(name, summary_of(check), partial(_explained, name, check, probe, locate)) for name, check in CHECKS.items()
    )


def examine_loss(loss: Loss[Tree], params: Tree, batch: Data) -> Examination:
    """Check the meta-gradient through any loss.

    Args:
        loss: (params, batch) to a scalar, pure.
        params: a tree of tensors; the checks are made near them, in double precision.
        batch: what the loss takes; more batches are made of it by moving its floating-point numbers a little.

    Raises:
        ValueError: if the parameters are not finite floating-point tensors, or the loss of them, as they are and in
            double precision, is no finite scalar.
    """
    refuse_unfinished(params, "The parameters")
    _refuse_value(loss, params, batch, "")
    generator = Generator().manual_seed(0)

    def other() -> Data:
        return tree.map(lambda leaf: generic(leaf, generator) if leaf.is_floating_point() else leaf, batch)

    tasks = Task(tree.stack([other(), other()]), tree.stack([other(), other()]))
    probe = Probe(loss, loss, generic(params, generator), tasks)
    _refuse_value(loss, probe.params, probe.support, " in double precision")
    notes = ["Two tasks are made of the batch by moving its numbers by a tenth."]

    def locate(check: Callable[[Probe], Report], raised: bool) -> list[Culprit]:
        leaves = tree.map(lambda leaf: leaf.clone().requires_grad_(), probe.params)
        with torch.enable_grad():
            functions = custom_functions(loss(leaves, probe.support))
        return [Culprit("", getattr(loss, "__name__", type(loss).__name__), functions)] if functions else []

    steps = examine_probe(probe, locate)
    if tree.size(probe.params) <= DENSE and probe.repeats:
        case = LossCase(loss, probe.params, tasks, inner_lr=0.1)
        steps += tuple(step_of(IDENTITIES[name], case) for name in ALGEBRA)
    return Examination(tuple(notes), steps)


def _refuse_value(loss: Loss[Tree], params: Tree, batch: Data, how: str) -> None:
    """Call it once, so that what is wrong with it is not taken for what is wrong with its gradient."""
    try:
        value = loss(params, batch)
    except RAISED as error:
        raise ValueError(
            f"the loss does not take these parameters and this batch{how}. It raised {described(error)}"
        ) from error
    refuse_loss(value)


def step_of(identity: Identity, case: object) -> Step:
    """An identity of the table on a case."""

    def run() -> Report:
        try:
            report: Report = identity.check(case)
        except RAISED as error:
            report = failure(identity.name, error)
        mend = MENDS.get(identity.name)
        return report if report.holds or mend is None else replace(report, claim=f"{report.claim} Mend: {mend}.")

    return Step(identity.name, identity.summary, run)


def failure(name: str, error: Exception) -> Report:
    """The report of a check that could not be made."""
    return Report(name, float("inf"), 0.0, "It has to be computable.", "", f"It raises {described(error)}")


def summary_of(check: Callable[..., Report]) -> str:
    """The first line of a check's documentation."""
    return (check.__doc__ or "").splitlines()[0]


def _explained(name: str, check: Callable[[Probe], Report], probe: Probe, locate: Locate) -> Report:
    mend, raised = MENDS[name], False
    try:
        report = replace(check(probe) if name == PURE or probe.repeats else _IMPURE, identity=name)
    except RAISED as error:
        report, raised = failure(name, error), True
        mend = next((mend for words, mend in _BY_MESSAGE if any(word in str(error) for word in words)), mend)
    if report.holds:
        return report
    guilty = " and ".join(map(str, _unique(locate(check, raised))))
    blame = f"To blame: {guilty}; {mend}." if guilty else f"Mend: {mend}."
    return replace(report, claim=f"{report.claim} {blame}")


def _unique(found: Iterable[Culprit]) -> list[Culprit]:
    return list(dict.fromkeys(found))
