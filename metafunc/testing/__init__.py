"""The public test kit: identities of meta-gradients as checks for your own losses, models and learners.

`applicable(case)` lists what can be asked of a `LossCase`, a `LearnerCase` or another case; every identity returns a
`Report`, and `report.check()` raises an `IdentityError`. Hypothesis strategies that draw cases are in
`metafunc.testing.strategies`, the only module here that needs hypothesis (the extra `metafunc[testing]`).
"""

from typing import TYPE_CHECKING, Any

from metafunc.testing.diagnosis.checklist import Checklist as Checklist
from metafunc.testing.diagnosis.checklist import examine_loss as examine_loss
from metafunc.testing.diagnosis.conformance import check_learner as check_learner
from metafunc.testing.diagnosis.learner import examine_learner as examine_learner
from metafunc.testing.diagnosis.module import check_module as check_module
from metafunc.testing.diagnosis.module import examine_module as examine_module
from metafunc.testing.identities.table import IDENTITIES as IDENTITIES
from metafunc.testing.identities.table import Identity as Identity
from metafunc.testing.identities.table import applicable as applicable
from metafunc.testing.identities.table import check as check
from metafunc.testing.numerics.report import IdentityError as IdentityError
from metafunc.testing.numerics.report import Report as Report
from metafunc.testing.numerics.report import assert_holds as assert_holds
from metafunc.testing.problems.cases import Case as Case
from metafunc.testing.problems.cases import ConvexCase as ConvexCase
from metafunc.testing.problems.cases import EnsembleCase as EnsembleCase
from metafunc.testing.problems.cases import GaussianCase as GaussianCase
from metafunc.testing.problems.cases import LearnerCase as LearnerCase
from metafunc.testing.problems.cases import LossCase as LossCase
from metafunc.testing.problems.cases import MetaGradient as MetaGradient
from metafunc.testing.problems.cases import ModelCase as ModelCase
from metafunc.testing.problems.cases import NetworkCase as NetworkCase
from metafunc.testing.problems.cases import OptimumCase as OptimumCase
from metafunc.testing.problems.cases import QuadraticCase as QuadraticCase
from metafunc.testing.problems.cases import TabularCase as TabularCase
from metafunc.testing.problems.linear_gaussian import Agreement as Agreement
from metafunc.testing.problems.linear_gaussian import Lines as Lines
from metafunc.testing.problems.linear_gaussian import against_truth as against_truth
from metafunc.testing.problems.small import duplicated as duplicated
from metafunc.testing.problems.small import network as network
from metafunc.testing.problems.small import padded as padded
from metafunc.testing.problems.small import random_tasks as random_tasks
from metafunc.testing.problems.tabular import Tabular as Tabular

if TYPE_CHECKING:
    from metafunc.testing.problems import strategies as strategies


def __getattr__(name: str) -> Any:
    """The strategies when they are asked for, since they need hypothesis."""
    if name == "strategies":
        from metafunc.testing.problems import strategies

        return strategies
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
