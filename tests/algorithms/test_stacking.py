"""A stack: its predictive distribution is the weighted mixture of its members', and its weights are the best."""

import math

import pytest
import torch

import metafunc
from metafunc import Batch, algorithms, data, likelihood, metrics, nn, tree
from metafunc.algorithms.stacking import Member, stacked, stacking_weights
from metafunc.bayes.mixtures import log_density
from metafunc.data.sampling import generator_for

GAUSSIAN = likelihood.gaussian()
RIDGE = algorithms.ridge(GAUSSIAN)
ALPACA = algorithms.alpaca(nn.mlp((1,), 8), GAUSSIAN, num_features=8)
MAML = algorithms.maml(nn.mlp((1,), 1), GAUSSIAN, num_steps=2)
SUPPORT = Batch(torch.tensor([[-1.0], [0.5]]), torch.tensor([[0.3], [1.0]]))
QUERY = Batch(torch.linspace(-2, 2, 5)[:, None], torch.linspace(1, -1, 5)[:, None])


def metas() -> tuple[dict[str, torch.Tensor], ...]:
    return tuple(learner.init(generator_for(0, "init", 0)) for learner in (RIDGE, ALPACA, MAML))


MEMBERS = (Member(RIDGE, 1.0), Member(ALPACA, 2.0), Member(MAML, 1.0, num_steps=2, noise_scales=(0.9, 0.4)))


def test_the_density_is_the_weighted_sum_of_the_members() -> None:
    learner, meta = stacked(MEMBERS), metas()
    found = log_density(learner.predict(learner.adapt(meta, SUPPORT), QUERY.x), QUERY.y)
    expected = torch.zeros(5)
    for member, own in zip(MEMBERS, meta, strict=True):
        predicted = member.learner.predict(member.learner.adapt(own, SUPPORT), QUERY.x)
        noisy = predicted._replace(scale=torch.tensor(0.4)) if member.noise_scales else predicted
        expected += member.weight / 4 * log_density(noisy, QUERY.y).exp()
    torch.testing.assert_close(found.exp(), expected)


def test_a_path_begins_before_adaptation_and_ends_after_the_own_steps() -> None:
    learner, meta = stacked(MEMBERS), metas()
    before, after = tree.unstack(learner.path(meta, SUPPORT, 10))
    for mine, other in zip(tree.leaves(after), tree.leaves(learner.adapt(meta, SUPPORT)), strict=True):
        assert torch.equal(mine, other)
    assert torch.equal(tree.leaves(before[2].params)[0], tree.leaves(meta[2])[0])
    assert (before[2].noise_scale.item(), after[2].noise_scale.item()) == pytest.approx((0.9, 0.4))


def test_all_rows_together_are_a_mixture_of_functions() -> None:
    members = MEMBERS[:2]
    learner, meta = stacked(members), metas()[:2]
    each = [
        member.learner.joint(member.learner.adapt(own, SUPPORT), QUERY).exp() * member.weight / 3  # type: ignore[misc]
        for member, own in zip(members, meta, strict=True)
    ]
    joint = learner.joint(learner.adapt(meta, SUPPORT), QUERY)  # type: ignore[misc]
    torch.testing.assert_close(joint, sum(each).log())  # type: ignore[union-attr]
    rows = log_density(learner.predict(learner.adapt(meta, SUPPORT), QUERY.x), QUERY.y).sum()
    assert abs(float(joint - rows)) > 1e-3, "which is not the sum over rows"


def test_the_particles_of_a_member_are_functions() -> None:
    ensemble = metafunc.lift(MAML, num_particles=3)
    learner = stacked([Member(ensemble, 1.0, num_steps=2, noise_scales=(0.9, 0.4))])
    adapted = learner.adapt(learner.init(generator_for(0, "init", 0)), SUPPORT)
    alone = learner.predict(adapted, QUERY.x)._replace(log_weight=())
    joint = learner.joint(adapted, QUERY)  # type: ignore[misc]
    torch.testing.assert_close(joint, -5 * metrics.joint_nll(alone, QUERY.y))
    assert abs(joint + 5 * metrics.nll(alone, QUERY.y)) > 1e-3, "which is not the sum over rows"


def test_members_get_the_noise_that_they_draw() -> None:
    noisy = algorithms.platipus(nn.mlp((1,), 1), GAUSSIAN)
    learner = stacked([Member(RIDGE, 1.0), Member(noisy, 1.0, noise_scales=(1.0, 1.0))])
    meta, tasks = learner.init(generator_for(0, "init", 0)), data.sinusoid().train(generator_for(0, "train", 0), 2)
    prepared = learner.prepare(meta, tasks, generator_for(0, "p", 0), step=None, num_steps=1)
    alone = noisy.prepare(meta[1], tasks, generator_for(0, "p", 0), step=None, num_steps=1)
    mine = tree.at(prepared.support, 0)
    adapted = learner.adapt(meta, mine)[1].params
    for one, other in zip(
        tree.leaves(adapted), tree.leaves(noisy.adapt(meta[1], tree.at(alone.support, 0))), strict=True
    ):
        assert torch.equal(one, other)
    plain = stacked(MEMBERS[:2]).prepare(metas()[:2], tasks, generator_for(0, "p", 0), step=None, num_steps=1)
    assert plain.support.extra == ()


def test_no_other_weights_are_better() -> None:
    rows, shares = torch.randn(3, 40, generator=generator_for(0, "rows", 0)).double(), torch.ones(40)
    shares[:10] = 3.0

    def worth(weights: torch.Tensor) -> float:
        return float((torch.logsumexp(rows + weights.log()[:, None], 0) * shares).sum())

    found = stacking_weights(rows, shares)
    assert float(found.sum()) == pytest.approx(1.0)
    others = torch.softmax(2 * torch.randn(200, 3, generator=generator_for(0, "others", 0)).double(), 1)
    assert all(worth(found) >= worth(other) - 1e-6 for other in others)
    assert worth(found) > worth(stacking_weights(rows, torch.ones(40))), "rows count by their shares"


def test_a_row_that_is_impossible_for_one_member_is_left_to_the_others() -> None:
    rows = torch.tensor([[5.0, -math.inf], [0.0, 0.0]])
    weights = stacking_weights(rows, torch.ones(2))
    assert weights.isfinite().all()
    assert 0.4 < float(weights[1]) < 0.6


def test_what_is_no_stack_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one member"):
        stacked([])
    with pytest.raises(ValueError, match="weight must be"):
        Member(RIDGE, 0.0)
    quiet = stacked([Member(MAML, 1.0)])
    meta = (metas()[2],)
    with pytest.raises(ValueError, match="noise_scales"):
        quiet.predict(quiet.adapt(meta, SUPPORT), QUERY.x)
