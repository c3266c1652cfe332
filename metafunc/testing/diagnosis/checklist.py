"""What there is to check about something, one step after the other, with the cause of a failure and a fix."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator

from metafunc import tree
from metafunc.execution.gradient import value_and_grad
from metafunc.testing.diagnosis.bisect import Cause, custom_functions
from metafunc.testing.diagnosis.loss_checks import CHECKS
from metafunc.testing.diagnosis.loss_problem import LossProblem, generic, refuse_loss, refuse_unfinished
from metafunc.testing.identities.table import IDENTITIES, Identity
from metafunc.testing.numerics.report import RAISED, Report, described, not_measured
from metafunc.testing.numerics.rounding import by_autograd, magnitude
from metafunc.testing.problems.cases import LearnerCase, LossCase
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
FIXES = {
    "pure_loss": "pass random numbers and state in as part of the input",
    "gradient": "its backward is wrong, or its forward is not continuous: torch.autograd.gradcheck tries it alone",
    "second_derivative": _AGAIN,
    "hessian_symmetry": _AGAIN,
    "hvp_modes": _AGAIN,
    "finite_differences": _AGAIN,
    "autograd_loop": _BATCHED,
    "batching": _BATCHED,
    "meta_derivative": "differentiate through adaptation, or give --first-order if it stops gradients on purpose",
}
"""What to do about the causes, by identity."""

PURE = "pure_loss"
_IMPURE = not_measured("The loss gives another number when it is called again, so no other check has a verdict.")
SILENT = not_measured(
    "All gradients are exactly zero, so that nothing can be compared: no parameter has an effect on the loss, or none "
    "with a derivative (.data, .detach(), .item() and no_grad lose it).",
    needed=True,
)
"""What there is to say where every gradient is zero."""
_BY_MESSAGE = (
    (("Batching rule", "batching rule", "vmap"), _BATCHED),
    (("derivative for", "not implemented", "double backward", "twice differentiable"), _TWICE),
)
"""What to do about what raises an error, by words in its message."""

Locate = Callable[[Callable[[LossProblem], Report], bool], list[Cause]]
"""From a check, and whether it raised an error, to its causes."""


class Step(NamedTuple):
    """One check that waits to be run.

    Args:
        name: the identity's.
        summary: the identity in one line.
        run: takes a moment; never raises because of what is checked.
    """

    name: str
    summary: str
    run: Callable[[], Report]


@dataclass(frozen=True)
class Checklist:
    """Checks that wait to be run.

    Args:
        notes: what a reader of the verdict should know, full sentences.
        steps: the checks.
    """

    notes: tuple[str, ...]
    steps: tuple[Step, ...]

    def run(self) -> list[Report]:
        """The reports of all checks."""
        return [step.run() for step in self.steps]


def checks_of(problem: LossProblem, locate: Locate) -> tuple[Step, ...]:
    """What can be asked of any loss."""
    return tuple(
        Step(name, summary_of(check), partial(_explained, name, check, problem, locate))
        for name, check in CHECKS.items()
    )


def examine_loss(loss: Loss[Tree], params: Tree, batch: Data) -> Checklist:
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
    problem = LossProblem(loss, loss, generic(params, generator), tasks)
    _refuse_value(loss, problem.params, problem.support, " in double precision")
    notes = ["Two tasks are made of the batch by moving its numbers by a tenth."]

    def locate(check: Callable[[LossProblem], Report], raised: bool) -> list[Cause]:
        leaves = tree.map(lambda leaf: leaf.clone().requires_grad_(), problem.params)
        with torch.enable_grad():
            functions = custom_functions(loss(leaves, problem.support))
        return [Cause("", getattr(loss, "__name__", type(loss).__name__), functions)] if functions else []

    steps = checks_of(problem, locate)
    if tree.size(problem.params) <= DENSE and problem.repeats:
        case = LossCase(loss, problem.params, tasks, inner_lr=0.1)
        steps += tuple(step_of(IDENTITIES[name], case) for name in ALGEBRA)
    return Checklist(tuple(notes), steps)


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
            report = answer(identity, case)
        except RAISED as error:
            report = failure(identity.name, error)
        fix = FIXES.get(identity.name)
        return (
            report
            if report.holds or not report.measured or fix is None
            else replace(report, claim=f"{report.claim} Fix: {fix}.")
        )

    return Step(identity.name, identity.summary, run)


def answer(identity: Identity, case: object) -> Report:
    """The report of an identity; of derivatives that are all zero it has no verdict."""
    report: Report = identity.check(case)
    if not report.holds or not _silent(identity, case):
        return report
    return replace(SILENT, identity=identity.name)


def _silent(identity: Identity, case: object) -> bool:
    if isinstance(case, LearnerCase) and identity.exact:
        return not magnitude(value_and_grad(case.learner.task_loss)(case.meta, case.prepared)[1])
    return isinstance(case, LossCase) and not magnitude(
        by_autograd(case.loss, case.params, tree.at(case.tasks, 0).query)
    )


def failure(name: str, error: Exception) -> Report:
    """The report of a check that could not be made."""
    return Report(name, float("inf"), 0.0, "It has to be computable.", "", f"It raises {described(error)}")


def summary_of(check: Callable[..., Report]) -> str:
    """The first line of a check's documentation."""
    return (check.__doc__ or "").splitlines()[0]


def _explained(name: str, check: Callable[[LossProblem], Report], problem: LossProblem, locate: Locate) -> Report:
    fix, raised = FIXES[name], False
    try:
        if name == PURE:
            report = check(problem)
        else:
            report = _IMPURE if not problem.repeats else SILENT if problem.silent else check(problem)
        report = replace(report, identity=name)
    except RAISED as error:
        report, raised = failure(name, error), True
        fix = next((fix for words, fix in _BY_MESSAGE if any(word in str(error) for word in words)), fix)
    if report.holds or not report.measured:
        return report
    causes = " and ".join(map(str, _unique(locate(check, raised))))
    advice = f"Cause: {causes}. Fix: {fix}." if causes else f"Fix: {fix}."
    return replace(report, claim=f"{report.claim} {advice}")


def _unique(found: Iterable[Cause]) -> list[Cause]:
    return list(dict.fromkeys(found))
