"""metafunc: Bayesian meta-learning as pure functions on `torch.func`, with gradients that are checked.

Names are loaded when they are asked for, so that the vocabulary alone (`metafunc.types`) costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers the names that are looked up below
    from metafunc import algorithms as algorithms
    from metafunc import data as data
    from metafunc import nn as nn
    from metafunc import rl as rl
    from metafunc import testing as testing
    from metafunc import tree as tree
    from metafunc import types as types
    from metafunc.bayes import ensemble as ensemble
    from metafunc.bayes.ensemble import lift as lift
    from metafunc.bayes.linearised import laplace as laplace
    from metafunc.bayes.stein import svgd as svgd
    from metafunc.bayes.task_units import in_task_units as in_task_units
    from metafunc.bayes.tempered import tempered as tempered
    from metafunc.evaluation import metrics as metrics
    from metafunc.evaluation.conformal import conformal as conformal
    from metafunc.evaluation.meta_test import evaluate as evaluate
    from metafunc.evaluation.prediction import predict as predict
    from metafunc.execution import tracing as tracing
    from metafunc.execution.gradient import value_and_grad as value_and_grad
    from metafunc.execution.plan import Execution as Execution
    from metafunc.nn import likelihood as likelihood
    from metafunc.results import figures as figures
    from metafunc.training import warm_start as warm_start
    from metafunc.training.fit import fit as fit
    from metafunc.training.fit_many import fit_many as fit_many
    from metafunc.training.load import load as load
    from metafunc.training.settings import Outer as Outer
    from metafunc.training.settings import Recording as Recording
    from metafunc.training.settings import Validation as Validation
    from metafunc.transforms import curvature as curvature
    from metafunc.transforms import implicit as implicit
    from metafunc.transforms import inner as inner
    from metafunc.transforms import low_rank as low_rank
    from metafunc.transforms import objectives as objectives
    from metafunc.transforms import optim as optim
    from metafunc.transforms.inner import first_order as first_order
    from metafunc.transforms.inner import gradient_descent as gradient_descent
    from metafunc.transforms.objectives import expected_query_loss as expected_query_loss
    from metafunc.transforms.objectives import query_loss as query_loss
    from metafunc.types import Batch as Batch
    from metafunc.types import Categorical as Categorical
    from metafunc.types import MetaLearner as MetaLearner
    from metafunc.types import Model as Model
    from metafunc.types import Normal as Normal
    from metafunc.types import Task as Task
    from metafunc.types import TaskFamily as TaskFamily
    from metafunc.types import expected as expected

_MODULES = {
    "algorithms": "metafunc.algorithms",
    "curvature": "metafunc.transforms.curvature",
    "data": "metafunc.data",
    "ensemble": "metafunc.bayes.ensemble",
    "figures": "metafunc.results.figures",
    "implicit": "metafunc.transforms.implicit",
    "inner": "metafunc.transforms.inner",
    "likelihood": "metafunc.nn.likelihood",
    "low_rank": "metafunc.transforms.low_rank",
    "metrics": "metafunc.evaluation.metrics",
    "nn": "metafunc.nn",
    "objectives": "metafunc.transforms.objectives",
    "optim": "metafunc.transforms.optim",
    "rl": "metafunc.rl",
    "testing": "metafunc.testing",
    "tracing": "metafunc.execution.tracing",
    "tree": "metafunc.tree",
    "types": "metafunc.types",
    "warm_start": "metafunc.training.warm_start",
}
_NAMES = {
    "lift": "metafunc.bayes.ensemble",
    "laplace": "metafunc.bayes.linearised",
    "svgd": "metafunc.bayes.stein",
    "in_task_units": "metafunc.bayes.task_units",
    "tempered": "metafunc.bayes.tempered",
    "conformal": "metafunc.evaluation.conformal",
    "evaluate": "metafunc.evaluation.meta_test",
    "predict": "metafunc.evaluation.prediction",
    "value_and_grad": "metafunc.execution.gradient",
    "fit": "metafunc.training.fit",
    "fit_many": "metafunc.training.fit_many",
    "load": "metafunc.training.load",
    "Execution": "metafunc.execution.plan",
    "Outer": "metafunc.training.settings",
    "Recording": "metafunc.training.settings",
    "Validation": "metafunc.training.settings",
    "first_order": "metafunc.transforms.inner",
    "gradient_descent": "metafunc.transforms.inner",
    "expected_query_loss": "metafunc.transforms.objectives",
    "query_loss": "metafunc.transforms.objectives",
    "Batch": "metafunc.types",
    "Categorical": "metafunc.types",
    "MetaLearner": "metafunc.types",
    "Model": "metafunc.types",
    "Normal": "metafunc.types",
    "Task": "metafunc.types",
    "TaskFamily": "metafunc.types",
    "expected": "metafunc.types",
}


def __getattr__(name: str) -> Any:
    """Load a module or a name of the face when it is first asked for."""
    if name == "__version__":
        from importlib.metadata import version

        found: Any = version("metafunc")
    elif name in _MODULES:
        found = import_module(_MODULES[name])
    elif name in _NAMES:
        found = getattr(import_module(_NAMES[name]), name)
    else:
        from metafunc.checks import did_you_mean

        raise AttributeError(f"module 'metafunc' has no attribute {name!r}.{did_you_mean(name, __dir__())}".rstrip("."))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*_MODULES, *_NAMES, "__version__"})
