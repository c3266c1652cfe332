"""The result of a check: how far two sides of an identity are apart, how far they may be, and why."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from metafunc import tree
from metafunc.types import Tree

T = TypeVar("T")
RAISED = (
    RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, NameError
)  # fmt: skip
"""What a loss, a module or an operation raises that does not take what it is given, or cannot be differentiated."""


class IdentityError(AssertionError):
    """An identity does not hold. The message is the report, which also stands in `report`."""

    def __init__(self, report: "Report") -> None:
        super().__init__(str(report))
        self.report = report


@dataclass(frozen=True)
class Comparison:
    """Two sides of an equation, measured.

    Args:
        error: the largest difference of two numbers.
        tolerance: the largest one that rounding (or a truncated series) explains.
        leaf: the dotted path of the leaf with the largest difference; empty for a bare tensor.
        claim: what is wrong if the error exceeds the tolerance, a full sentence.
    """

    error: float
    tolerance: float
    leaf: str
    claim: str

    @property
    def holds(self) -> bool:
        """Whether the error is within a finite tolerance; what is not a number never is."""
        return self.error <= self.tolerance < math.inf

    @property
    def excess(self) -> float:
        """The error in units of the tolerance: above 1 fails."""
        if self.holds:
            return self.error / self.tolerance if self.tolerance else 0.0
        measured = math.isfinite(self.error) and 0 < self.tolerance < math.inf
        return self.error / self.tolerance if measured else math.inf


@dataclass(frozen=True)
class Report:
    """The verdict on one identity and one example.

    Args:
        identity: its name in `metafunc.testing.IDENTITIES`.
        error: the largest difference found, in the units of what is compared.
        tolerance: the largest that is explained.
        why: the sentence that states where the tolerance comes from.
        leaf: the dotted path of the worst leaf.
        claim: what is wrong if it fails.
        example: the problem it was measured on; with a hypothesis strategy the smallest that fails.
        measured: false where there is no verdict, for the reason in `why`. That is no failure; but where a verdict is
            needed, because all that was compared is zero, it does not hold either, and the error is not a number.

    Examples:
        >>> report = Report("symmetry", error=1e-3, tolerance=1e-12, why="Rounding.", leaf="w", claim="H is not H'.")
        >>> report.holds
        False
    """

    identity: str
    error: float
    tolerance: float
    why: str
    leaf: str = ""
    claim: str = ""
    example: str = ""
    measured: bool = True

    @property
    def holds(self) -> bool:
        """The verdict: the error is within a finite tolerance."""
        return self.error <= self.tolerance < math.inf

    def check(self) -> "Report":
        """The report itself if the identity holds.

        Raises:
            IdentityError: if it does not.
        """
        if not self.holds:
            raise IdentityError(self)
        return self

    def __str__(self) -> str:
        if not self.measured:
            return f"{self.identity}: not measured. {self.why}"
        sign = "<=" if self.holds else ">"
        lines = [f"{self.identity}: error {self.error:.2g} {sign} tolerance {self.tolerance:.2g}"]
        if not self.holds:
            lines.append(self.claim)
        if self.leaf:
            lines.append(f"worst leaf: {self.leaf}")
        lines += [f"example: {self.example}"] if self.example else []
        return "\n".join([*lines, f"tolerance: {self.why}"])


def not_measured(why: str, *, needed: bool = False) -> Report:
    """The report of a check that has no verdict.

    Args:
        why: the reason.
        needed: whether nothing can be trusted without a verdict. Then the report does not hold either.
    """
    return Report("", math.nan if needed else 0.0, 0.0, why, measured=False)


def described(error: Exception) -> str:
    """An error in one line."""
    first = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def assert_holds(report: Report) -> None:
    """Raise an `IdentityError` unless the identity of a report holds."""
    report.check()


def summarise(identity: str, comparisons: Iterable[Comparison], why: str, example: str = "") -> Report:
    """The report of several comparisons: that of the worst one, relative to its tolerance."""
    worst = max(comparisons, key=lambda comparison: comparison.excess)
    return Report(identity, worst.error, worst.tolerance, why, worst.leaf, worst.claim, example)


def compare(first: Tree, second: Tree, tolerance: float, claim: str) -> Comparison:
    """Two trees, leaf by leaf and name by name; a leaf that only one has, or of another shape, is an infinite error."""
    return _compared(first, second, tolerance, claim, _gap)


def identical(first: Tree, second: Tree, claim: str) -> Comparison:
    """Bitwise the same: the tolerance is zero, and a NaN equals a NaN in the same place."""
    return _compared(first, second, 0.0, claim, _gap_beside_nans)


def _compared(
    first: Tree, second: Tree, tolerance: float, claim: str, gap: Callable[[Tensor, Tensor], float]
) -> Comparison:
    one = dict(zip(tree.paths(first), tree.leaves(first), strict=True))
    other = dict(zip(tree.paths(second), tree.leaves(second), strict=True))
    shapes = [{name: tuple(leaf.shape) for name, leaf in each.items()} for each in (one, other)]
    if shapes[0] != shapes[1]:
        differing = f"{_without(shapes[0], shapes[1])} against {_without(shapes[1], shapes[0])}"
        return Comparison(math.inf, tolerance, "", f"{claim} The leaves differ: {differing}.")
    gaps = {name: gap(leaf, other[name]) for name, leaf in one.items()}
    worst = max(gaps, key=lambda name: math.inf if math.isnan(gaps[name]) else gaps[name], default="")
    return Comparison(gaps.get(worst, 0.0), tolerance, worst, claim)


def _without(shapes: dict[str, tuple[int, ...]], others: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in shapes.items() if others.get(name) != shape}


def _gap(x: Tensor, y: Tensor) -> float:
    if not x.numel():
        return 0.0
    if x.dtype == torch.bool or not (x.is_floating_point() and y.is_floating_point()):
        return float((x != y).any())
    same = x == y  # Equal infinities differ by NaN.
    return float(torch.where(same, 0.0, (x - y).abs()).max())


def _gap_beside_nans(x: Tensor, y: Tensor) -> float:
    both = x.isnan() & y.isnan()
    return _gap(x.masked_fill(both, 0), y.masked_fill(both, 0))
