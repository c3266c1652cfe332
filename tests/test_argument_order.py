"""Arguments that have changed places are one clear error of every public function that takes a learner with others."""

import subprocess
import sys

CALLS = """
import torch, metafunc
from metafunc import algorithms, data, likelihood, nn

model, observed, family, x = nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian(), data.sinusoid(), torch.zeros(3, 1)
learner, support = algorithms.maml(model, observed), metafunc.Batch(x, x)
meta, fit = learner.init(torch.Generator().manual_seed(0)), metafunc.fit(learner, family, steps=0)
for name, arguments, keywords in (
    ("fit", (family, learner), {"steps": 1}),
    ("fit_many", (family, learner), {"steps": 1, "seeds": [0]}),
    ("evaluate", (meta, learner, family), {}),
    ("conformal", (learner, family, meta), {}),
    ("predict", (meta, learner, support, x), {}),
    ("predict", (learner, meta, x, support), {}),
    ("predict", (learner, fit, support, x), {}),
    ("evaluate", (learner, fit, family), {}),
    ("laplace", (model, learner, observed), {}),
    ("laplace", (learner, observed, model), {}),
):
    try:
        getattr(metafunc, name)(*arguments, **keywords)
    except TypeError as error:
        print(error)

try:
    metafunc.fit_many(learner, family, seeds=2, steps=1)
except ValueError as error:
    print(error)
"""


def test_arguments_in_another_order_are_one_clear_error() -> None:
    # In a process of its own: here the annotations are checked, which would refuse them first, and at length.
    found = subprocess.run([sys.executable, "-c", CALLS], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == [
        "learner is of the type TaskFamily, which family should have: fit(learner, family, ...).",
        "learner is of the type TaskFamily, which family should have: fit_many(learner, family, ...).",
        "meta is of the type MetaLearner, which learner should have: evaluate(learner, meta, family).",
        "meta is of the type TaskFamily, which family should have: conformal(learner, meta, family, ...).",
        "meta is of the type MetaLearner, which learner should have: predict(learner, meta, support, x).",
        "x is of the type Batch, which support should have: predict(learner, meta, support, x).",
        "meta is a Fit: give the meta-parameters that it holds, fit.best: predict(learner, meta, support, x).",
        "meta is a Fit: give the meta-parameters that it holds, fit.best: evaluate(learner, meta, family).",
        "learner is of the type Model, which model should have: laplace(learner, model, likelihood).",
        "model is of the type Likelihood, which likelihood should have: laplace(learner, model, likelihood).",
        "seeds is 2: give a seed for each training, such as seeds=range(2).",
    ]
