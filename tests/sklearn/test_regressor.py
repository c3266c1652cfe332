"""The regressor: bitwise `metafunc.predict` in the network's units, and at home among scikit-learn's tools."""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

import metafunc
from metafunc import tree
from metafunc.evaluation.autoregressive import draw_functions
from metafunc.sklearn import MetaRegressor, Prior, meta_train
from metafunc.sklearn.untrained import untrained
from metafunc.types import Batch, Normal

from .conftest import Rows


def new_task(num_rows: int = 12, seed: int = 5) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    standard = random.normal(size=(num_rows, 2))
    return standard * [5.0, 0.01] + [100.0, -3.0], 1000.0 + 50.0 * standard @ [1.0, -2.0]


def in_units(values: Any, prior: Prior, side: str) -> torch.Tensor:
    """The network's units by numpy alone, as the family's `info` states them."""
    info = prior.tasks["info"]
    standard = (values - np.array(info[f"{side}_mean"])) / np.array(info[f"{side}_scale"])
    return torch.tensor(standard.astype(np.float32))


def right_answer(prior: Prior, num_steps: int | None = None, noise: float | None = None) -> Normal:
    x, y = new_task()
    support = Batch(in_units(x[:5], prior, "input"), in_units(y[:5, None], prior, "target"))
    rows = in_units(x[5:], prior, "input")
    found = metafunc.predict(prior.learner, prior.meta, support, rows, num_steps=num_steps, noise_scale=noise)
    assert isinstance(found, Normal)
    return found


@pytest.mark.parametrize("num_steps", [None, 0, 3])
def test_predictions_are_those_of_the_learner(maml: Prior, num_steps: int | None) -> None:
    x, y = new_task()
    (of_x,), (of_y,) = (maml.tasks["info"][f"target_{what}"] for what in ("mean", "scale"))
    noise = maml.noise_scale(num_steps)
    right = right_answer(maml, num_steps, noise)
    regressor = MetaRegressor(maml, num_steps=num_steps).fit(x[:5], y[:5])
    mean, std = regressor.predict(x[5:], return_std=True)
    assert np.array_equal(mean, right.loc[0, :, 0].double().numpy() * of_y + of_x)
    assert np.array_equal(std, right.scale.expand_as(right.loc)[0, :, 0].double().numpy() * of_y)
    other = right_answer(maml, 5, noise).loc[0, :, 0].double().numpy() * of_y + of_x
    assert not np.allclose(mean, other, rtol=1e-6)


def test_the_spread_of_particles_counts(lines: Rows) -> None:
    from metafunc.sklearn import meta_train

    prior = meta_train(
        *lines[:2], tasks=lines.tasks, algorithm="emaml", num_shots=5, num_queries=5, steps=2, num_particles=3
    )
    x, y = new_task()
    right = metafunc.metrics.mixture(right_answer(prior, noise=prior.noise_scale(None)))
    assert isinstance(right, Normal)
    _, std = MetaRegressor(prior).fit(x[:5], y[:5]).predict(x[5:], return_std=True)
    assert np.allclose(std, right.scale[0, :, 0].numpy() * prior.tasks["info"]["target_scale"][0], rtol=1e-5)
    assert (std > prior.noise_scale(None) * prior.tasks["info"]["target_scale"][0]).all()


def test_a_prior_predicts_better_than_none(alpaca: Prior) -> None:
    x, y = new_task(200)
    errors = [np.abs(MetaRegressor(prior).fit(x[:4], y[:4]).predict(x[4:]) - y[4:]).mean() for prior in (alpaca, None)]
    assert errors[0] < 0.7 * errors[1]


def test_draws_are_joint_and_in_the_unit_of_y(alpaca: Prior) -> None:
    x, y = new_task()
    regressor = MetaRegressor(alpaca).fit(x[:2], y[:2])
    rows = np.array([[120.0, -3.0], [120.05, -3.0]])
    draws = regressor.sample_y(rows, n_samples=50, random_state=3)
    assert draws.shape == (2, 50)
    same = draw_functions(
        alpaca.learner, alpaca.meta, regressor.support_, in_units(rows, alpaca, "input"), num_draws=50, seed=3
    )
    mean, scale = (alpaca.tasks["info"][f"target_{what}"][0] for what in ("mean", "scale"))
    assert np.array_equal(draws, (same.double() * scale + mean)[..., 0].T.numpy())
    assert np.corrcoef(draws)[0, 1] > 0.5  # of rows that are close to each other, and far from the support set
    assert not np.array_equal(draws, regressor.sample_y(rows, n_samples=50, random_state=4))


def test_draws_take_the_steps_that_are_asked_for(maml: Prior) -> None:
    x, y = new_task()
    alike = replace(maml, tested=maml.tested[:1] * 11)  # the noise is the same after any number of steps
    few, own, none = (
        MetaRegressor(alike, num_steps=n).fit(x[:5], y[:5]).sample_y(x[5:7], n_samples=4) for n in (3, 2, None)
    )
    assert np.allclose(own, none, rtol=1e-6)
    assert not np.allclose(few, none, rtol=1e-6)


def test_two_targets(lines: Rows) -> None:
    from metafunc.sklearn import meta_train

    both = np.stack([lines.y, -lines.y], 1)
    prior = meta_train(lines.x, both, tasks=lines.tasks, num_shots=5, num_queries=5, steps=2)
    x, y = new_task()
    regressor = MetaRegressor(prior).fit(x[:5], np.stack([y, -y], 1)[:5])
    assert regressor.predict(x).shape == (12, 2)
    assert regressor.sample_y(x[:3], n_samples=4).shape == (3, 2, 4)
    with pytest.raises(ValueError, match="y has 1 target in a row"):
        MetaRegressor(prior).fit(x, y)


def test_the_tools_of_scikit_learn(maml: Prior) -> None:
    x, y = new_task(30)
    regressor = MetaRegressor(maml, num_steps=3)
    assert clone(regressor).prior is maml
    piped = make_pipeline(FunctionTransformer(), regressor).fit(x, y)
    assert np.array_equal(piped.predict(x), regressor.fit(x, y).predict(x))
    assert np.isfinite(cross_val_score(regressor, x, y, cv=3)).all()
    again = pickle.loads(pickle.dumps(regressor))  # noqa: S301 - one that was made here
    assert np.array_equal(again.predict(x), regressor.predict(x))


def test_a_search_over_steps_by_two_processes(maml: Prior) -> None:
    x, y = new_task(30)
    grid = {"num_steps": [0, 2, np.int64(5)]}
    searches = [
        GridSearchCV(MetaRegressor(maml), grid, cv=2, n_jobs=jobs, error_score="raise").fit(x, y) for jobs in (1, 2)
    ]
    scores = [search.cv_results_["mean_test_score"] for search in searches]
    assert np.array_equal(*scores)
    assert len(set(scores[0])) == 3


def test_what_does_not_fit_the_prior_is_refused(maml: Prior, protonet: Prior) -> None:
    x, y = new_task()
    with pytest.raises(ValueError, match="X has 1 features, but MetaRegressor is expecting 2"):
        MetaRegressor(maml).fit(x[:, :1], y)
    with pytest.raises(ValueError, match=r"needs a prior for regression.* use MetaClassifier"):
        MetaRegressor(protonet).fit(x, y)
    with pytest.raises(ValueError, match="prior is a str, and a Prior is needed"):
        MetaRegressor("runs/maml").fit(x, y)
    with pytest.raises(ValueError, match="num_steps must be at least 0"):
        MetaRegressor(maml, num_steps=-1).fit(x, y)
    with pytest.raises(ValueError, match=r"num_steps is 2\.5, and a whole number is needed"):
        MetaRegressor(maml, num_steps=2.5).fit(x, y)


def test_a_deviation_that_is_not_known_is_refused(maml: Prior) -> None:
    x, y = new_task()
    for regressor, known in ((MetaRegressor(), "for none"), (MetaRegressor(maml, num_steps=12), "for 0 to 10 steps")):
        regressor.fit(x, y)
        assert np.isfinite(regressor.predict(x)).all()
        with pytest.raises(ValueError, match=f"no noise model.*{known}"):
            regressor.predict(x, return_std=True)
        with pytest.raises(ValueError, match="no noise model"):
            regressor.sample_y(x)


def test_predictions_that_are_not_finite_are_refused(maml: Prior) -> None:
    x, y = new_task()
    beyond = replace(maml, meta=tree.map(lambda leaf: leaf * 1e30, maml.meta))
    with pytest.raises(ValueError, match="after 3 steps of adaptation is not finite: set num_steps lower"):
        MetaRegressor(beyond, num_steps=3).fit(x, y).predict(x)


def test_an_untrained_network_learns_the_rows_it_is_given() -> None:
    x, y = new_task(40)
    regressor = MetaRegressor().fit(x, y)
    assert regressor.score(x, y) > 0.9
    assert MetaRegressor(num_steps=0).fit(x, y).score(x, y) < 0.5
    assert not np.array_equal(regressor.predict(x), MetaRegressor(random_state=1).fit(x, y).predict(x))
    assert untrained("regression", x, y[:, None], num_outputs=1, seed=0).to_bytes() == regressor.prior_.to_bytes()


def test_random_states_of_every_kind() -> None:
    x, y = new_task()
    first, second = (MetaRegressor(random_state=np.random.RandomState(0)).fit(x, y).predict(x) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.isfinite(MetaRegressor(random_state=None).fit(x, y).predict(x)).all()


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks() -> None:
    results = check_estimator(MetaRegressor(), on_fail=None)
    assert not [found["check_name"] for found in results if found["status"] not in ("passed", "skipped")]
    assert sum(found["status"] == "passed" for found in results) > 40


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks_catch_a_regressor_that_forgets_to_look() -> None:
    class Careless(MetaRegressor):
        def _rows(self, X: Any) -> Any:  # noqa: N803 - as the method that it replaces
            return self.prior_.inputs(np.asarray(X, dtype=np.float64))

    from sklearn.utils.estimator_checks import check_n_features_in_after_fitting

    check_n_features_in_after_fitting("MetaRegressor", MetaRegressor(num_steps=1))
    with pytest.raises(AssertionError):
        check_n_features_in_after_fitting("Careless", Careless(num_steps=1))


def test_tasks_in_units_of_their_own_are_predicted_whatever_their_unit() -> None:
    random = np.random.default_rng(0)
    x, task = random.uniform(0, 1, (240, 1)), np.arange(240) % 24
    unit = 10.0 ** random.uniform(-2, 2, 24)
    y = unit[task] * (5 + x[:, 0] * random.normal(2, 0.3, 24)[task])
    prior = meta_train(x, y, tasks=task, num_shots=4, num_queries=6, steps=60, outer_lr=0.01, standardise="task")
    copied = Prior.from_bytes(*prior.to_bytes())
    at = np.array([[0.0], [0.3], [0.6], [1.0]])
    for scale in (0.05, 50.0):
        mean = MetaRegressor(prior).fit(at, scale * (5 + 2 * at[:, 0])).predict([[0.5]])
        assert mean == pytest.approx(6 * scale, rel=0.1)
        assert np.array_equal(mean, MetaRegressor(copied).fit(at, scale * (5 + 2 * at[:, 0])).predict([[0.5]]))
