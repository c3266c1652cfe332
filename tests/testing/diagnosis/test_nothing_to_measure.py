"""Where every gradient is zero, or a forward keeps few digits, a check says what it could not measure."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from metafunc import algorithms, testing
from metafunc.testing import check_learner, check_module, examine_learner, examine_loss
from metafunc.testing.numerics.report import IdentityError, Report, not_measured
from metafunc.types import Batch

from ..wrong_functions import WrongOnce, WrongTwice

ABOUT_VALUES = {"buffers", "pure_loss"}


class Cut(nn.Module):
    """No derivative reaches its parameters, though they have an effect."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).detach()


class Norm(nn.Module):
    """Root mean square in a type of its own, the result in that of the input: as language models normalise."""

    def __init__(self, width: int, kind: torch.dtype) -> None:
        super().__init__()
        self.weight, self.kind = nn.Parameter(torch.ones(width)), kind

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(self.kind)
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


class Statistic(Norm):
    """The same of which the statistic alone is in a type of its own: few numbers are rounded, one for each row."""

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.to(self.kind).pow(2).mean(-1, keepdim=True) + 1e-6).to(x.dtype)


class Around(nn.Module):
    """A function of numbers that are rounded first."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x.float().double())


def within(part: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), part, nn.Tanh(), nn.Linear(8, 2))


def named(reports: list[Report]) -> dict[str, Report]:
    return {report.identity: report for report in reports}


def test_a_module_without_gradients_has_no_verdict():
    for report in check_module(Cut()):
        if report.identity not in ABOUT_VALUES:
            assert not report.measured
            assert not report.holds
            assert "All gradients are exactly zero" in str(report)


def test_a_loss_without_gradients_has_no_verdict():
    batch = Batch(torch.randn(5, 3), torch.randn(5))

    def loss(params: dict[str, Tensor], batch: Batch) -> Tensor:
        return (batch.x @ params["w"].detach() - batch.y).square().mean()

    found = named(examine_loss(loss, {"w": torch.randn(3)}, batch).run())
    assert found.pop("pure_loss").holds
    assert len(found) > 8
    assert not any(report.holds or report.measured for report in found.values())


def test_a_learner_without_gradients_has_no_verdict_on_its_derivatives():
    maml = algorithms.build("maml", testing.network, (2,), "regression", 3, num_steps=2)
    fixed = maml.init(torch.Generator().manual_seed(1))
    learner = dataclasses.replace(maml, task_loss=lambda meta, task: maml.task_loss(fixed, task))
    tasks = testing.random_tasks("regression")
    found = named(examine_learner(learner, tasks=tasks).run())
    unknown = {name for name, report in found.items() if not report.measured}
    assert unknown == {"meta_derivative", "meta_hessian"}
    assert not any(found[name].holds for name in unknown)
    with pytest.raises(IdentityError, match="not measured"):
        check_learner(learner, tasks, num_steps=2)
    check_learner(learner, tasks, num_steps=2, exact=False)


def test_what_needs_no_verdict_is_no_failure():
    assert not_measured("No matter.").check().holds
    needed = not_measured("All is zero.", needed=True)
    assert math.isnan(needed.error)
    with pytest.raises(IdentityError, match=r"not measured\. All is zero"):
        needed.check()


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_right_derivatives_never_fail_for_the_digits_that_a_forward_keeps(kind):
    reports = check_module(within(Norm(8, kind)), input_shape=(4,))
    assert not [str(report) for report in reports if not report.holds]
    if kind == torch.float32:
        assert all(report.measured for report in reports)
    assert any("rounds to " + str(kind).removeprefix("torch.") in report.why for report in reports)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_statistic_in_a_coarse_type_is_noticed(kind, seed):
    reports = check_module(within(Statistic(8, kind), seed), input_shape=(4,))
    assert not [str(report) for report in reports if not report.holds]
    assert any("rounds to " + str(kind).removeprefix("torch.") in report.why for report in reports)


def test_in_double_precision_nothing_is_forgiven():
    module = within(Norm(8, torch.float64))
    assert all(report.holds for report in check_module(module, input_shape=(4,)))
    problem_tolerances = [report.tolerance for report in check_module(module, input_shape=(4,))]
    assert max(problem_tolerances) < 1e-5


def test_a_constant_in_a_coarse_type_costs_no_digits():
    class Masked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.tensor([1.0, 0.5] * 4, dtype=torch.bfloat16)

    reports = check_module(within(Masked()), input_shape=(4,))
    assert all(report.holds and "rounds" not in report.why for report in reports)


@pytest.mark.parametrize("function", [WrongOnce, WrongTwice])
def test_a_wrong_derivative_fails_through_the_rounding(function):
    found = named(check_module(within(Around(function.apply)), input_shape=(4,)))
    failed = {name for name, report in found.items() if report.measured and not report.holds}
    assert failed & {"gradient", "second_derivative", "finite_differences"}
    assert "(Around)" in found[next(iter(failed))].claim


def test_a_report_keeps_its_reason():
    report = dataclasses.replace(not_measured("Why.", needed=True), identity="gradient")
    assert str(report) == "gradient: not measured. Why."
