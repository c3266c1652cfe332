"""The table: what it holds of each row, and what `build` refuses."""

import inspect
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch

from metafunc import algorithms, nn
from metafunc.algorithms import ALGORITHMS, CONTROL, SUPERVISED, Algorithm
from metafunc.algorithms.networks import fixed_features, inducing_inputs, no_network
from metafunc.nn import likelihood
from metafunc.rl.rollout_settings import PER_PARTICLE
from metafunc.testing import network
from metafunc.testing.problems.small import build_small


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_row_is_its_builder_s_name_signature_and_documentation(name):
    row = ALGORITHMS[name]
    assert getattr(algorithms, name) is row.builder
    assert row.builder.__name__ == name
    assert row.summary.endswith(".")
    documentation = inspect.getdoc(row.builder)
    for section in ("Args:", "Returns:", "Examples:", "References:"):
        assert section in documentation
    described = "".join(inspect.getdoc(source) for source in row.sources)
    for hyperparameter, argument in row.hyperparameters.items():
        optional = argument.default is None and any(sign in str(argument.annotation) for sign in ("None", "Optional"))
        assert optional or isinstance(argument.default, int | float | str | bool), hyperparameter
        assert f"\n    {hyperparameter}: " in described
    assert ("num_steps" in row.hyperparameters) == row.inner_steps == ("inner_lr" in row.hyperparameters)


@pytest.mark.parametrize("name", SUPERVISED)
def test_every_row_builds_from_its_defaults(name):
    row = ALGORITHMS[name]
    for kind in row.kinds:
        learner = build_small(name, nn.mlp, kind, 3)
        learner.init(torch.Generator().manual_seed(0))


# A row without a network has none to normalise: nothing of the factory's reaches `exact`, and `empirical_gp` and
# `mixed` ask it for a precision alone, since they see inputs as they are. They record "none", whatever the factory has.
@pytest.mark.parametrize("normalisation", ["none", "transductive", "support"])
@pytest.mark.parametrize(
    "name",
    [name for name, row in SUPERVISED.items() if row.networks not in (no_network, inducing_inputs, fixed_features)],
)
def test_every_row_records_its_network_s_normalisation(name, normalisation):
    def factory(input_shape, num_outputs):
        return nn.mlp(input_shape, num_outputs, hidden=(4,), normalisation=normalisation)

    learner = algorithms.build(name, factory, (2,), ALGORITHMS[name].kinds[0], 3)
    assert learner.normalisation == normalisation


@pytest.mark.parametrize("name", ["empirical_gp", "mixed"])
def test_a_row_that_sees_inputs_as_they_are_has_no_normalisation(name):
    learner = algorithms.build(name, partial(nn.mlp, normalisation="support"), (1,), "regression", 1)
    assert learner.normalisation == "none"


def test_every_public_builder_is_in_the_table():
    public = {name for name, value in vars(algorithms).items() if inspect.isfunction(value)}
    assert public - {"build", "__getattr__"} <= {*ALGORITHMS}


def test_a_row_without_a_line_of_its_own_is_handed_on(monkeypatch):
    def added(model, likelihood):
        raise NotImplementedError

    monkeypatch.setattr(algorithms, "ALGORITHMS", {**ALGORITHMS, "added": Algorithm(added)})
    assert algorithms.added is added
    with pytest.raises(AttributeError, match=r"'metafunc\.algorithms' has no attribute 'misspelt'"):
        algorithms.misspelt  # noqa: B018 - looking it up is what is refused


def test_control_and_supervised_are_the_table():
    assert {**SUPERVISED, **CONTROL} == ALGORITHMS
    assert all(row.kinds == ("control",) for row in CONTROL.values())


def test_networks_are_made_to_measure():
    asked = []

    def factory(input_shape, num_outputs):
        asked.append((input_shape, num_outputs))
        return network(input_shape, num_outputs)

    for name, kind in (("maml", "regression"), ("protonet", "classification"), ("cnp", "regression")):
        algorithms.build(name, factory, (2, 2), kind, 3)
    algorithms.build("cnp", factory, (2, 2), "classification", 3)
    maml, protonet = [((2, 2), 3)], [((2, 2), None)]
    assert asked == [*maml, *protonet, ((7,), 128), ((132,), 6), ((7,), 128), ((132,), 3)]


def test_hyperparameters_that_are_sizes_reach_the_networks():
    asked = []

    def factory(input_shape, num_outputs):
        asked.append((input_shape, num_outputs))
        return network(input_shape, num_outputs)

    algorithms.build("alpaca", factory, (2,), "regression", 3, num_features=7)
    algorithms.build("versa", factory, (2,), "classification", 3, num_features=7)
    algorithms.build("alpaca", factory, (2,), "regression", 3)
    assert asked == [((2,), 7), ((2,), 7), ((7,), 16), ((2,), 40)]


@pytest.mark.parametrize("name", ["mr_maml_a", "mr_cnp_w", "mr_cnp_a", "cnp", "versa"])
def test_networks_over_vectors_cannot_be_convolutions(name):
    with pytest.raises(ValueError, match=rf"{name} needs a network over vectors of \d+ numbers beside .*mlp"):
        algorithms.build(name, nn.conv4, (1, 28, 28), "classification", 3)


@pytest.mark.parametrize(
    ("name", "kind", "settings", "message"),
    [
        ("mmal", "regression", {}, "There is no algorithm 'mmal'. Did you mean 'maml'\\? There are: maml, fomaml"),
        ("protonet", "regression", {}, "protonet is for classification, not for regression; .*: maml, .*, cnp"),
        ("maml", "control", {}, "not for control; algorithms for control: maml_rl, .*, oracle_policy"),
        ("maml", "regression", {"alpha": 1}, "maml has no hyperparameter alpha; it has inner_lr, num_steps"),
        ("protonet", "classification", {"num_steps": 1}, "protonet has no hyperparameter num_steps; it has none"),
        ("maml", "regression", {"num_steps": -1}, "num_steps must be at least 0, not -1"),
    ],
)
def test_what_does_not_fit_is_refused(name, kind, settings, message):
    with pytest.raises(ValueError, match=message):
        algorithms.build(name, network, (2,), kind, 3, **settings)


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
@pytest.mark.parametrize("name", [name for name, row in SUPERVISED.items() if row.inner_steps])
def test_what_is_no_inner_step_size_is_refused_by_that_name(name, value):
    with pytest.raises(ValueError, match=f"^inner_lr must be a finite number, at least 0, not {value}"):
        algorithms.build(name, network, (2,), SUPERVISED[name].kinds[0], 3, inner_lr=value)


def test_a_group_of_settings_is_set_by_its_fields():
    given = []

    def builder(model, simulator, *, rollouts=PER_PARTICLE, scale=2.0):
        given.append((model, simulator, rollouts, scale))
        return algorithms.maml(network((2,), 3), likelihood.gaussian(3))

    row = Algorithm(builder)
    defaults = {name: argument.default for name, argument in row.hyperparameters.items()}
    assert defaults == {**asdict(PER_PARTICLE), "scale": 2.0}
    assert list(row.hyperparameters)[-1] == "scale", "fields stand where the group does"
    row.assemble(0, 1)
    row.assemble(0, 1, discount=0.5, scale=3.0)
    assert given == [(0, 1, PER_PARTICLE, 2.0), (0, 1, replace(PER_PARTICLE, discount=0.5), 3.0)]
    with pytest.raises(ValueError, match="num_steps must be at least 0"):
        row.assemble(0, 1, num_steps=-1)


def test_a_fixed_hyperparameter_cannot_be_set():
    with pytest.raises(ValueError, match="emaml has no hyperparameter rematerialise"):
        algorithms.build("emaml", network, (2,), "regression", 3, rematerialise=True)
