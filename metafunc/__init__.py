"""metafunc: Bayesian meta-learning as pure functions on `torch.func`, with gradients that are checked."""

from metafunc import algorithms as algorithms
from metafunc import curvature as curvature
from metafunc import data as data
from metafunc import ensemble as ensemble
from metafunc import factored as factored
from metafunc import figures as figures
from metafunc import graph as graph
from metafunc import implicit as implicit
from metafunc import inner as inner
from metafunc import likelihood as likelihood
from metafunc import meta as meta
from metafunc import metrics as metrics
from metafunc import nn as nn
from metafunc import optim as optim
from metafunc import posterior as posterior
from metafunc import rl as rl
from metafunc import start as start
from metafunc import tree as tree
from metafunc import types as types
from metafunc.ensemble import lift as lift
from metafunc.ensemble import svgd as svgd
from metafunc.evaluation import evaluate as evaluate
from metafunc.experiment import load as load
from metafunc.inner import first_order as first_order
from metafunc.inner import gradient_descent as gradient_descent
from metafunc.meta import expected as expected
from metafunc.meta import expected_query_loss as expected_query_loss
from metafunc.meta import query_loss as query_loss
from metafunc.meta import value_and_grad as value_and_grad
from metafunc.prediction import predict as predict
from metafunc.train import fit as fit
from metafunc.types import Batch as Batch
from metafunc.types import Categorical as Categorical
from metafunc.types import MetaLearner as MetaLearner
from metafunc.types import Model as Model
from metafunc.types import Normal as Normal
from metafunc.types import Task as Task
from metafunc.types import TaskFamily as TaskFamily

__version__ = "0.1.0"
