"""Meta-learning algorithms: one paper per file, and the table that the tests, the command line and the docs read.

Every builder of the table can be had from here by its name; the lines below let type checkers see their signatures.
"""

from collections.abc import Callable
from typing import Any

from metafunc.algorithms.baselines.exact import exact as exact
from metafunc.algorithms.baselines.gp_support import gp_support as gp_support
from metafunc.algorithms.baselines.oracle_policy import oracle_policy as oracle_policy
from metafunc.algorithms.baselines.pretrain import pretrain as pretrain
from metafunc.algorithms.baselines.pretrain_rl import pretrain_rl as pretrain_rl
from metafunc.algorithms.baselines.random_policy import random_policy as random_policy
from metafunc.algorithms.baselines.ridge import ridge as ridge
from metafunc.algorithms.baselines.scratch import scratch as scratch
from metafunc.algorithms.bayesian.abml import abml as abml
from metafunc.algorithms.bayesian.bmaml import bmaml as bmaml
from metafunc.algorithms.bayesian.deep_ensemble import deep_ensemble as deep_ensemble
from metafunc.algorithms.bayesian.emaml import emaml as emaml
from metafunc.algorithms.bayesian.llama import llama as llama
from metafunc.algorithms.bayesian.maml_noise import maml_noise as maml_noise
from metafunc.algorithms.bayesian.mr_maml_a import mr_maml_a as mr_maml_a
from metafunc.algorithms.bayesian.mr_maml_w import mr_maml_w as mr_maml_w
from metafunc.algorithms.bayesian.pacoh import pacoh as pacoh
from metafunc.algorithms.bayesian.platipus import platipus as platipus
from metafunc.algorithms.bayesian.vampire import vampire as vampire
from metafunc.algorithms.by_name import build as build
from metafunc.algorithms.conditioning.alpaca import alpaca as alpaca
from metafunc.algorithms.conditioning.anp import anp as anp
from metafunc.algorithms.conditioning.cnp import cnp as cnp
from metafunc.algorithms.conditioning.convcnp import convcnp as convcnp
from metafunc.algorithms.conditioning.dkt import dkt as dkt
from metafunc.algorithms.conditioning.empirical_gp import empirical_gp as empirical_gp
from metafunc.algorithms.conditioning.metaqda import metaqda as metaqda
from metafunc.algorithms.conditioning.mixed import mixed as mixed
from metafunc.algorithms.conditioning.mr_cnp import mr_cnp_a as mr_cnp_a
from metafunc.algorithms.conditioning.mr_cnp import mr_cnp_w as mr_cnp_w
from metafunc.algorithms.conditioning.np import np as np
from metafunc.algorithms.conditioning.pacoh_gp import pacoh_gp as pacoh_gp
from metafunc.algorithms.conditioning.pcoc import pcoc as pcoc
from metafunc.algorithms.conditioning.protonet import protonet as protonet
from metafunc.algorithms.conditioning.tnp import tnp as tnp
from metafunc.algorithms.conditioning.versa import versa as versa
from metafunc.algorithms.gradient_based.anil import anil as anil
from metafunc.algorithms.gradient_based.fomaml import fomaml as fomaml
from metafunc.algorithms.gradient_based.imaml import imaml as imaml
from metafunc.algorithms.gradient_based.maml import maml as maml
from metafunc.algorithms.gradient_based.maml_plus_plus import maml_plus_plus as maml_plus_plus
from metafunc.algorithms.gradient_based.meta_sgd import meta_sgd as meta_sgd
from metafunc.algorithms.gradient_based.reptile import reptile as reptile
from metafunc.algorithms.policies.bmaml_rl import bmaml_rl as bmaml_rl
from metafunc.algorithms.policies.emaml_rl import emaml_rl as emaml_rl
from metafunc.algorithms.policies.fomaml_rl import fomaml_rl as fomaml_rl
from metafunc.algorithms.policies.maml_rl import maml_rl as maml_rl
from metafunc.algorithms.policies.promp import promp as promp
from metafunc.algorithms.table import ALGORITHMS as ALGORITHMS
from metafunc.algorithms.table import CONTROL as CONTROL
from metafunc.algorithms.table import SUPERVISED as SUPERVISED
from metafunc.algorithms.table import Algorithm as Algorithm


def __getattr__(name: str) -> Callable[..., Any]:
    """The builder of a row of the table that has no line above."""
    if name in ALGORITHMS:
        return ALGORITHMS[name].builder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
