"""Coherence: gaps that are zero where they have to be, on padded tasks too, and columns of a comparison."""

import math

import pytest
import torch
from torch import Generator

import metafunc
from metafunc import algorithms, data, nn, testing, tree
from metafunc.bayes.gaussian_process_mixture import JITTER
from metafunc.evaluation.coherence import Gaps, coherence, gaps, labels_of
from metafunc.evaluation.coherence_columns import with_coherence
from metafunc.nn import likelihood
from metafunc.testing.identities.coherence import jitter_of
from metafunc.testing.problems.cases import LearnerCase
from metafunc.testing.problems.small import build_small
from metafunc.types import Categorical, Normal


def measured(name, tasks=None, **settings):
    row = algorithms.ALGORITHMS[name]
    learner = algorithms.build(name, testing.network, (2,), row.kinds[0], 3, **settings)
    meta = tree.map(torch.Tensor.double, learner.init(Generator().manual_seed(0)))
    return gaps(learner, meta, tasks or testing.random_tasks(row.kinds[0]), Generator().manual_seed(0))


def test_an_exact_learner_has_no_gaps_and_padding_changes_none() -> None:
    found = measured("alpaca")
    assert torch.stack([*found]).max() < 1e-12
    tasks = testing.random_tasks("classification")
    whole, garbage = (measured("pcoc", each) for each in (tasks, testing.padded(tasks)))
    for one, other in zip(whole, garbage, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert whole.chain.min() > 1e-3


def test_pairs_are_of_rows_that_count_also_where_these_are_few() -> None:
    tasks = testing.random_tasks("classification")
    query = tasks.query
    mask = torch.zeros(query.y.shape).double().index_fill(1, torch.tensor([1, 3]), 1.0)
    found = []
    for size in (3.0, -50.0):
        x = torch.where(mask[..., None] > 0, query.x, size)
        found.append(measured("pcoc", tasks._replace(query=query._replace(x=x, mask=mask))))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    assert found[0].chain.min() > 1e-6


def test_a_neural_process_has_gaps_and_the_same_every_time() -> None:
    first, again = measured("cnp"), measured("cnp")
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert min(first.chain.mean(), first.shift.mean(), first.martingale.mean()) > 1e-5
    assert max(first.permutation.max(), first.padding.max()) < 1e-12


def test_noise_is_the_same_for_a_support_set_that_grows() -> None:
    """VERSA draws its head: with other draws for every set its gaps would be those of chance."""
    found = measured("versa", num_features=4)
    assert found.padding.max() < 1e-12


def doubled(values):
    return tree.map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, values)


@pytest.mark.parametrize("family", [data.gp(), data.cauchy()], ids=lambda family: family.name)
def test_an_optimum_in_closed_form_has_the_gaps_of_its_jitter(family) -> None:
    learner = algorithms.exact(family.optima)
    meta, tasks = doubled(learner.init(Generator())), doubled(family.test(Generator().manual_seed(0), 5))
    found = gaps(learner, meta, tasks, Generator().manual_seed(0))
    allowed = jitter_of(LearnerCase(learner, meta, tasks, inner_steps=False, coherent=True, jitter=JITTER))
    assert found.chain.max() < 1e-12 + allowed.nats < 1e-5
    assert max(found.permutation.max(), found.padding.max(), found.shift.max(), found.martingale.max()) < 1e-12


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_an_optimum_by_quadrature_has_gaps_that_more_nodes_close(kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is why the row `exact` claims nothing: nodes are of equal mass, and chosen for every support set."""

    def largest(num_nodes):
        monkeypatch.setattr("metafunc.testing.problems.small.NUM_NODES", num_nodes)
        learner = build_small("exact", testing.network, kind, 3)
        meta, tasks = doubled(learner.init(Generator())), testing.random_tasks(kind)
        return gaps(learner, meta, tasks, Generator().manual_seed(0)).chain.max()

    few = largest(8)
    assert few > 0.1
    assert largest(128) < few / 5
    assert not algorithms.ALGORITHMS["exact"].coherent


def test_possible_labels_have_the_moments_of_the_prediction() -> None:
    loc = torch.tensor([[[1.0], [9.0]], [[3.0], [9.0]]]).double()
    labels, weights = labels_of(Normal(loc, torch.tensor(0.5).double()))
    mean = weights @ labels[:, 0]
    assert float(mean) == pytest.approx(2.0)
    assert float(weights @ (labels[:, 0] - mean).square()) == pytest.approx(0.25 + 1.0)
    labels, weights = labels_of(Categorical(torch.tensor([[[0.0, math.log(3.0)], [0.0, 0.0]]])))
    assert labels.tolist() == [0, 1]
    assert weights.tolist() == pytest.approx([0.25, 0.75])


def test_columns_stand_in_the_row_that_is_judged() -> None:
    family, model = data.sinusoid(num_test_queries=8), nn.mlp((1,), 1)
    point = algorithms.maml(model, likelihood.gaussian())
    meta = point.init(Generator().manual_seed(0))
    for learner in (point, metafunc.laplace(point, model, likelihood.gaussian())):
        test = metafunc.evaluate(learner, meta, family, num_tasks=6, num_steps=2, num_validation_tasks=10)
        found = with_coherence(test, learner, meta, family, num_steps=1)
        for name in ("chain_gap", "martingale_gap"):
            assert found.values[name].shape == (3, 6)
            assert found.values[name].isfinite().all(1).tolist() == [False, True, False]
            assert found.values[name][1].min() >= -1e-6


def test_what_it_cannot_measure_is_refused() -> None:
    learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian())
    meta, family = learner.init(Generator().manual_seed(0)), data.sinusoid()
    with pytest.raises(ValueError, match="coherence needs a noise scale"):
        coherence(learner, meta, family, num_tasks=2)
    tempered = metafunc.tempered(learner)
    with pytest.raises(ValueError, match="num_pairs = 4 needs 8 query rows"):
        coherence(tempered, meta, data.sinusoid(num_test_queries=5), num_tasks=2, num_pairs=4)
    normalised = algorithms.maml(nn.mlp((1,), 1, normalisation="transductive"), likelihood.gaussian())
    with pytest.raises(ValueError, match='normalisation="none"'):
        coherence(metafunc.tempered(normalised), meta, family, num_tasks=2)
    assert Gaps._fields == ("permutation", "padding", "chain", "shift", "martingale")
