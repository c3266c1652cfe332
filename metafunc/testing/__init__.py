"""The public test kit: identities of meta-gradients as checks for your own losses, models and learners.

`applicable(case)` lists what can be asked of a `LossCase`, a `LearnerCase` or another case; every identity returns a
`Report`, and `report.check()` raises an `IdentityError`. Hypothesis strategies that draw cases are in
`metafunc.testing.strategies`, the only module here that needs hypothesis (the extra `metafunc[testing]`).
"""

from metafunc.testing.cases import Case as Case
from metafunc.testing.cases import ConvexCase as ConvexCase
from metafunc.testing.cases import EnsembleCase as EnsembleCase
from metafunc.testing.cases import GaussianCase as GaussianCase
from metafunc.testing.cases import LearnerCase as LearnerCase
from metafunc.testing.cases import LossCase as LossCase
from metafunc.testing.cases import MetaGradient as MetaGradient
from metafunc.testing.cases import ModelCase as ModelCase
from metafunc.testing.cases import NetworkCase as NetworkCase
from metafunc.testing.cases import QuadraticCase as QuadraticCase
from metafunc.testing.cases import TabularCase as TabularCase
from metafunc.testing.conformance import check_learner as check_learner
from metafunc.testing.examination import Examination as Examination
from metafunc.testing.examination import examine_loss as examine_loss
from metafunc.testing.guess import examine_learner as examine_learner
from metafunc.testing.identities import IDENTITIES as IDENTITIES
from metafunc.testing.identities import Identity as Identity
from metafunc.testing.identities import applicable as applicable
from metafunc.testing.identities import check as check
from metafunc.testing.linear_gaussian import Agreement as Agreement
from metafunc.testing.linear_gaussian import Lines as Lines
from metafunc.testing.linear_gaussian import against_truth as against_truth
from metafunc.testing.modules import check_module as check_module
from metafunc.testing.modules import examine_module as examine_module
from metafunc.testing.problems import duplicated as duplicated
from metafunc.testing.problems import network as network
from metafunc.testing.problems import padded as padded
from metafunc.testing.problems import random_tasks as random_tasks
from metafunc.testing.report import IdentityError as IdentityError
from metafunc.testing.report import Report as Report
from metafunc.testing.report import assert_holds as assert_holds
from metafunc.testing.tabular import Tabular as Tabular
