"""Every estimator's exact expectation against derivatives of a return in which no score function appears."""

from functools import partial

import pytest
import torch
from torch import Tensor

from metafunc import algorithms, nn, rl, tree
from metafunc.testing.problems import tabular
from metafunc.testing.problems.expectations import Oracle
from metafunc.transforms import inner, optim

EXACT = rl.AdvantageEstimator(discount=0.9, baseline="none", weighted=True, normalise=False, reduce="sum")
LR = 0.7


def elsewhere(*_):
    raise AssertionError("nothing is sampled where everything is enumerated")


SIMULATOR = rl.Simulator(elsewhere, elsewhere, observation_size=2, task_size=0, num_outputs=2, discrete=True)


def problem(seed, *, network=False, states=2, horizon=2, **settings):
    """An oracle, and parameters away from the uniform policy."""
    generator = torch.Generator().manual_seed(seed)
    process = tabular.random(generator, num_states=states, horizon=horizon)
    model = nn.mlp((states,), 2, hidden=(3,), activation="tanh") if network else rl.table(states, 2)
    params = model.init(generator)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    params = tree.map(lambda leaf: leaf.double() + draw(leaf.shape), params)
    return Oracle(process, rl.categorical(model), **settings), params


def flat(values):
    return tree.ravel(values)[0]


def error(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).norm() / truth.norm())


def on_vector(function, params):
    """A function of the parameters as a function of one vector."""
    vector, unravel = tree.ravel(params)
    return (lambda v: function(unravel(v))), vector


def expected(oracle, params, estimator, baselines=None):
    """The estimator's expectation as a function of a vector: its derivatives are expected derivatives."""

    def objective(at):
        def value(trajectories):
            estimate = EXACT(trajectories)
            if baselines is not None:
                states = trajectories.observations.argmax(-1)
                weighted = baselines[states] * rl.trajectories.powers(0.9, trajectories.rewards)
                estimate = estimate._replace(baselines=weighted, advantages=estimate.advantages - weighted)
            return estimator(rl.log_probs(oracle.policy, at, trajectories), trajectories.log_probs, estimate)

        return oracle.expectation(value, tree.detach(params))

    return on_vector(objective, params)


def curvature_parts(oracle, params):
    """H1, H2 and H12 of the Hessian's decomposition, with Q from backward induction and its derivative by autograd."""
    every = tabular.trajectories(oracle.process)
    _, unravel = tree.ravel(params)
    weights = every.environment

    def logits(v):
        return oracle.policy.distribution(unravel(v), torch.eye(oracle.process.num_states).double()).logits

    def log_probs(v):
        return torch.log_softmax(logits(v), -1)[every.states, every.actions]

    def action_values(v):
        times = torch.arange(oracle.process.horizon)
        return tabular.action_values(logits(v), oracle.process)[times, every.states, every.actions]

    v = flat(params)
    p = weights * log_probs(v).sum(-1).exp()
    scores = torch.func.jacrev(log_probs)(v)
    curvatures = torch.func.hessian(log_probs)(v)
    to_go = every.rewards.flip(-1).cumsum(-1).flip(-1)
    h1 = torch.einsum("n,nti,ntj,nt->ij", p, scores, scores, to_go)
    h2 = torch.einsum("n,ntij,nt->ij", p, curvatures, to_go)
    h12 = torch.einsum("n,nti,ntj->ij", p, scores, torch.func.jacrev(action_values)(v))
    return h1, h2, h12


NAMES = [name for name in rl.ESTIMATORS if name != "total_return"]


@pytest.mark.parametrize("network", [False, True])
def test_enumeration_is_a_distribution_and_gives_the_return_of_backward_induction(network):
    oracle, params = problem(0, network=network, states=3, num_trajectories=2)
    assert oracle.expectation(lambda trajectories: torch.ones(()).double(), params).item() == pytest.approx(
        1, abs=1e-13
    )
    mean = oracle.expectation(lambda trajectories: EXACT(trajectories).rewards.sum(-1).mean(), params)
    assert mean.item() == pytest.approx(oracle.true_return(params).item(), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", rl.ESTIMATORS)
def test_every_gradient_is_exact_whatever_the_baseline(name, seed):
    oracle, params = problem(seed, horizon=3, network=seed == 1)
    baselines = torch.randn(2, generator=torch.Generator().manual_seed(seed)).double()
    objective, vector = expected(oracle, params, rl.ESTIMATORS[name], baselines)
    truth = flat(torch.func.grad(oracle.true_return)(params))
    assert error(torch.func.grad(objective)(vector), truth) < 1e-12


@pytest.mark.parametrize("seed", range(2))
def test_hessians_are_what_the_table_of_estimators_says(seed):
    oracle, params = problem(seed, horizon=3)
    baselines = torch.tensor([0.7, -1.1]).double()
    h1, h2, h12 = curvature_parts(oracle, params)
    objective, vector = on_vector(oracle.true_return, params)
    truth = torch.func.hessian(objective)(vector)
    assert error(h1 + h2 + h12 + h12.T, truth) < 1e-12

    def found(estimator, b=None):
        return torch.func.hessian(expected(oracle, params, estimator, b)[0])(vector)

    for b in (None, baselines):
        assert error(found(rl.dice, b), truth) < 1e-12
        assert error(found(rl.loaded_dice, b), truth) < 1e-12
        assert error(found(rl.lvc, b), h1 + h2) < 1e-12
        assert error(found(rl.ratio, b), h1 + h2) < 1e-12
        assert error(found(partial(rl.loaded_dice, decay=0.0), b), h1 + h2) < 1e-12
    assert error(found(rl.reward_to_go), h2) < 1e-12
    wrong = [rl.total_return, rl.reward_to_go, rl.lvc, partial(rl.loaded_dice, decay=0.5)]
    assert min(error(found(estimator), truth) for estimator in wrong) > 1e-3
    assert error(found(rl.reward_to_go, baselines), h2) > 1e-3


def test_third_derivatives_of_dice_are_exact_and_every_route_to_a_hessian_agrees():
    oracle, params = problem(3)
    truth, vector = on_vector(oracle.true_return, params)
    third = torch.func.jacrev(torch.func.hessian(truth))(vector)
    for estimator in (rl.dice, rl.loaded_dice):
        objective = expected(oracle, params, estimator)[0]
        assert error(torch.func.jacrev(torch.func.hessian(objective))(vector), third) < 1e-12
        first = torch.func.jacrev(torch.func.jacrev(objective))(vector)
        assert error(torch.func.jacfwd(torch.func.jacfwd(objective))(vector), first) < 1e-13
        assert error(torch.func.jacfwd(torch.func.jacrev(objective))(vector), first) < 1e-13
    lvc = expected(oracle, params, rl.lvc)[0]
    assert error(torch.func.jacrev(torch.func.hessian(lvc))(vector), third) > 1e-3


def test_a_magic_box_on_advantages_has_a_wrong_gradient():
    """The mistake of a published DiCE for MAML: the box of all past actions belongs on rewards."""
    oracle, params = problem(0, horizon=3)

    def boxed(log_probs, old, estimate):
        return (rl.box(log_probs.cumsum(-1)) * estimate.advantages).sum(-1).mean()

    objective, vector = expected(oracle, params, boxed)
    assert error(torch.func.grad(objective)(vector), flat(torch.func.grad(oracle.true_return)(params))) > 1e-3


def gradient_step(oracle, estimator=rl.reward_to_go, advantages=EXACT):
    return inner.descend(rl.policy_loss(oracle.policy, estimator, advantages), optim.sgd(LR))


def meta_loss(oracle, step, num_steps, *, score=lambda rows, seen: torch.zeros(()).double(), constant=0.0):
    """A task loss written out here: adapt, then DiCE's outer objective, with a score term to be varied."""

    def task_loss(params, task):
        seen = [tree.at(task.support, i) for i in range(num_steps)]
        rows = [params]
        for trajectories in seen:
            rows.append(step(rows[-1], trajectories))
        outer = rl.log_probs(oracle.policy, rows[-1], task.query)
        return rl.sampled_return(outer, EXACT(task.query), score(rows, seen), constant)

    return task_loss


def summed(oracle, share=1.0, only_first=False):
    def score(rows, seen):
        parts = [
            rl.log_probs(oracle.policy, row, trajectories).sum() for row, trajectories in zip(rows, seen, strict=False)
        ]
        return share * torch.stack(parts[:1] if only_first else parts).sum()

    return score


def gradients(oracle, params, step, num_steps=1, **settings):
    loss = meta_loss(oracle, step, num_steps, **settings)
    found, vector = on_vector(lambda at: oracle.surrogate(loss, at, step, num_steps), params)
    return torch.func.grad(found)(vector), found, vector


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_plain_reinforce_with_credit_for_sampling_is_exact_for_every_number_of_trajectories(count):
    oracle, params = problem(0, num_trajectories=count)
    step = gradient_step(oracle)
    truth, vector = on_vector(lambda at: oracle.sampled(at, step), params)
    gradient = torch.func.grad(truth)(vector)
    assert error(gradients(oracle, params, step, score=summed(oracle), constant=3.0)[0], gradient) < 1e-12
    assert error(gradients(oracle, params, step)[0], gradient) > 1e-3
    assert error(gradients(oracle, params, step, score=summed(oracle, share=LR))[0], gradient) > 1e-3
    if count > 1:
        assert error(gradients(oracle, params, step, score=summed(oracle, share=1 / count))[0], gradient) > 1e-3
    # DiCE's step has the same value, but its derivative already stands for the change of the data.
    assert error(gradients(oracle, params, gradient_step(oracle, rl.dice), score=summed(oracle))[0], gradient) > 1e-3


def test_two_inner_steps_need_the_score_of_both():
    oracle, params = problem(0)
    step = gradient_step(oracle)
    truth, vector = on_vector(lambda at: oracle.sampled(at, step, 2), params)
    gradient = torch.func.grad(truth)(vector)
    found, objective, _ = gradients(oracle, params, step, 2, score=summed(oracle))
    assert error(found, gradient) < 1e-12
    assert error(torch.func.hessian(objective)(vector), torch.func.hessian(truth)(vector)) < 1e-12
    assert error(gradients(oracle, params, step, 2, score=summed(oracle, only_first=True))[0], gradient) > 1e-3
    assert error(gradients(oracle, params, step, 2)[0], gradient) > 1e-3


@pytest.mark.parametrize("estimator", ["reward_to_go", "total_return"])
def test_the_learner_s_own_loss_is_exact_with_its_fitted_baseline_and_normalised_advantages(estimator):
    """Whatever maps a data set to parameters is a U, also one that fits a baseline to the same data."""
    oracle, params = problem(1, num_trajectories=2)
    model, rollouts = rl.table(2, 2), rl.RolloutSettings(inner_lr=LR, discount=0.9)
    learner = algorithms.maml_rl(model, SIMULATOR, rollouts=rollouts, estimator=estimator, credit="sampling")

    def step(at, trajectories):
        return learner.adapt(at, tree.map(lambda leaf: leaf[None], trajectories))

    constant = torch.tensor(0.4).double()
    found, vector = on_vector(lambda at: oracle.surrogate(learner.task_loss, at, step, 1, constant), params)
    truth = on_vector(lambda at: oracle.sampled(at, step), params)[0]
    horizon = oracle.process.horizon
    assert error(-horizon * torch.func.grad(found)(vector), torch.func.grad(truth)(vector)) < 1e-12
    plain = algorithms.maml_rl(model, SIMULATOR, rollouts=rollouts, estimator=estimator)
    biased = on_vector(lambda at: oracle.surrogate(plain.task_loss, at, step), params)[0]
    assert error(-horizon * torch.func.grad(biased)(vector), torch.func.grad(truth)(vector)) > 1e-3


def test_dice_inside_is_consistent_for_the_population_objective_with_a_bias_of_order_one_over_k():
    oracle, params = problem(0)
    truth, vector = on_vector(lambda at: oracle.population(at, LR), params)
    gradient = torch.func.grad(truth)(vector)
    scaled = []
    for count in (1, 2, 4):
        some = oracle._replace(num_trajectories=count)
        scaled.append(count * error(gradients(some, params, gradient_step(some, rl.dice))[0], gradient))
    assert max(scaled) < 1
    # Richardson's extrapolation to 1/K = 0 takes most of what is left away: b(K) = c / K + O(1 / K^2).
    assert abs(scaled[2] - scaled[1]) < abs(scaled[1] - scaled[0])


def test_what_counts_sampling_twice_is_refused():
    for estimator in ("dice", "loaded_dice", "lvc", "ratio"):
        with pytest.raises(ValueError, match="count it twice"):
            algorithms.maml_rl(rl.table(2, 2), SIMULATOR, estimator=estimator, credit="sampling")
