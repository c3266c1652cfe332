"""The table of identities: what the tests, `metafunc check` and the docs iterate over."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from metafunc.testing.identities import (
    chaser,
    coherence,
    curvature,
    ensembles,
    implicit,
    learners,
    meta_gradient,
    optimum,
    policy_gradient,
    purity,
    quadratic,
    stein,
    updates,
    variational,
    ways,
)
from metafunc.testing.numerics.report import Report
from metafunc.testing.problems import linear_gaussian
from metafunc.testing.problems.cases import (
    Case,
    ConvexCase,
    EnsembleCase,
    GaussianCase,
    LearnerCase,
    LossCase,
    ModelCase,
    NetworkCase,
    OptimumCase,
    QuadraticCase,
    TabularCase,
)


@runtime_checkable
class Adapting(Protocol):
    """What decides which identities apply to a learner: a row of `ALGORITHMS`, or a `LearnerCase`."""

    @property
    def exact(self) -> bool: ...
    @property
    def inner_steps(self) -> bool: ...
    @property
    def coherent(self) -> object: ...


@dataclass(frozen=True)
class Identity:
    """One identity, and what it can be checked on.

    Args:
        name: its key in `IDENTITIES`.
        check: (case) to a report; keyword arguments put another implementation in the place of metafunc's.
        needs: the kind of case that it takes.
        exact: it holds only of learners whose meta-gradient is the derivative of their task loss.
        coherent: it holds only of learners that condition one exchangeable model.
        compiles: it calls `torch.compile`, which takes seconds.
    """

    name: str
    check: Callable[..., Report]
    needs: type[Any]
    exact: bool = False
    coherent: bool = False
    compiles: bool = False

    def __call__(self, case: Case) -> Report:
        if not isinstance(case, self.needs):
            raise TypeError(f"{self.name} is asked of a {self.needs.__name__}, and this is a {type(case).__name__}.")
        return self.check(case)

    def __str__(self) -> str:
        return self.name

    @property
    def summary(self) -> str:
        """One line: the first of the check's documentation."""
        return (inspect.getdoc(self.check) or "").splitlines()[0]

    def applies(self, subject: "Adapting | Case | type[Any]") -> bool:
        """Whether it can be asked of a case, of a kind of case, or of a row of `ALGORITHMS`."""
        if isinstance(subject, type):
            return subject is self.needs
        if isinstance(subject, Adapting):
            claimed = (subject.exact or not self.exact) and (bool(subject.coherent) or not self.coherent)
            return self.needs is LearnerCase and claimed
        return isinstance(subject, self.needs)


_ROWS = (
    Identity("one_step", meta_gradient.one_step, LossCase),
    Identity("k_steps", meta_gradient.k_steps, LossCase),
    Identity("many_tasks", meta_gradient.many_tasks, LossCase),
    Identity("autograd_loop", meta_gradient.autograd_loop, LossCase),
    Identity("finite_differences", meta_gradient.finite_differences, LossCase),
    Identity("batching", meta_gradient.batching, LossCase),
    Identity("first_order", meta_gradient.first_order_gradient, LossCase),
    Identity("linear_inner_loss", meta_gradient.linear_inner_loss, LossCase),
    Identity("meta_sgd", updates.meta_sgd, LossCase),
    Identity("reptile", updates.reptile, LossCase),
    Identity("meta_test", updates.meta_test, LossCase),
    Identity("pure_loss", purity.pure_loss, LossCase),
    Identity("task_symmetry", purity.task_symmetry, LossCase),
    Identity("eager_is_compiled", purity.eager_is_compiled, LossCase, compiles=True),
    Identity("derivatives", curvature.derivatives, LossCase),
    Identity("hessian_symmetry", curvature.hessian_symmetry, LossCase),
    Identity("hvp_modes", curvature.hvp_modes, LossCase),
    Identity("ggn_linear", curvature.ggn_linear, ModelCase),
    Identity("ggn_positive", curvature.ggn_positive, ModelCase),
    Identity("adapted_point", quadratic.adapted_point, QuadraticCase),
    Identity("meta_optimum", quadratic.meta_optimum, QuadraticCase),
    Identity("ridge", implicit.ridge, QuadraticCase),
    Identity("bayesian_regression", linear_gaussian.bayesian_regression, QuadraticCase),
    Identity("unrolled_limit", implicit.unrolled_limit, QuadraticCase),
    Identity("implicit_convex", implicit.implicit_convex, ConvexCase),
    Identity("kernel_gradient", ensembles.kernel_gradient, EnsembleCase),
    Identity("one_particle", ensembles.one_particle, EnsembleCase),
    Identity("particle_symmetry", ensembles.particle_symmetry, EnsembleCase),
    Identity("stein_direction", stein.stein_direction, EnsembleCase),
    Identity("stein_loss", stein.stein_loss, EnsembleCase),
    Identity("two_particles", stein.two_particles, EnsembleCase),
    Identity("mixture_nll", stein.mixture_nll, EnsembleCase),
    Identity("leader_at_rest", chaser.leader_at_rest, LossCase),
    Identity("stopped_leader", chaser.stopped_leader, LossCase),
    Identity("gaussian_kl", ensembles.gaussian_kl, GaussianCase),
    Identity("platipus_limit", variational.platipus_limit, NetworkCase),
    Identity("mr_maml_limit", variational.mr_maml_limit, NetworkCase),
    Identity("laplace_volume", variational.laplace_volume, ModelCase),
    Identity("policy_gradient", policy_gradient.policy_gradient, TabularCase),
    Identity("none_is_better", optimum.none_is_better, OptimumCase),
    Identity("pure", learners.pure, LearnerCase),
    Identity("independent_tasks", learners.independent_tasks, LearnerCase),
    Identity("every_way", ways.every_way, LearnerCase),
    Identity("ignored_padding", learners.ignored_padding, LearnerCase),
    Identity("permuted_support", coherence.permuted_support, LearnerCase),
    Identity("chain_rule", coherence.chain_rule, LearnerCase, coherent=True),
    Identity("martingale", coherence.martingale, LearnerCase, coherent=True),
    Identity("path_ends_in_adapt", learners.path_ends_in_adapt, LearnerCase),
    Identity("own_support", learners.own_support, LearnerCase),
    Identity("meta_derivative", learners.meta_derivative, LearnerCase, exact=True),
    Identity("meta_hessian", learners.meta_hessian, LearnerCase, exact=True),
    Identity("compiled_step", learners.compiled_step, LearnerCase, compiles=True),
)

IDENTITIES: Mapping[str, Identity] = MappingProxyType({row.name: row for row in _ROWS})


def applicable(subject: Adapting | Case | type[Any], *, compiled: bool = False) -> tuple[Identity, ...]:
    """The identities that can be asked of something, in the order of the table.

    Args:
        subject: a case, a kind of case such as `LossCase`, or a row of `metafunc.algorithms.ALGORITHMS`.
        compiled: whether to include those that call `torch.compile`.

    Raises:
        TypeError: if there is none, for that is no success.

    Examples:
        >>> from metafunc import testing
        >>> from metafunc.algorithms import ALGORITHMS
        >>> [identity.name for identity in testing.applicable(ALGORITHMS["fomaml"])]  # doctest: +NORMALIZE_WHITESPACE
        ['pure', 'independent_tasks', 'every_way', 'ignored_padding', 'permuted_support',
         'path_ends_in_adapt', 'own_support']
    """
    if not any(identity.applies(subject) for identity in IDENTITIES.values()):
        kinds = ", ".join(dict.fromkeys(identity.needs.__name__ for identity in IDENTITIES.values()))
        raise TypeError(f"No identity can be asked of {subject!r}: give one of {kinds}, or a row of ALGORITHMS.")
    return tuple(
        identity
        for identity in IDENTITIES.values()
        if identity.applies(subject) and (compiled or not identity.compiles)
    )


def check(case: Case, *, compiled: bool = False) -> list[Report]:
    """The reports of all identities that apply to a case; whether they hold is for the caller to look at."""
    return [identity(case) for identity in applicable(case, compiled=compiled)]
