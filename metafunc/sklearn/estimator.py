"""What the estimators share: their settings, the task that they were fitted to, and a prediction."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from metafunc import tree
from metafunc.checks import at_least, counted
from metafunc.evaluation.prediction import predict
from metafunc.execution import device, plan
from metafunc.sklearn.prior import Prior
from metafunc.types import Batch, Kind, Predictive, Task


class MetaEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """The part of an estimator that does not depend on what is predicted."""

    def __init__(self, prior: Any = None, num_steps: Any = None, random_state: Any = 0) -> None:
        self.prior = prior
        self.num_steps = num_steps
        self.random_state = random_state

    def _take(self, prior: Prior, x: NDArray[np.float64], kind: Kind, seed: int) -> None:
        """Take a prior for the task at hand.

        Raises:
            ValueError: it is for tasks of another kind or width, or `num_steps` is negative.
        """
        if prior.kind != kind:
            other = "MetaRegressor" if prior.kind == "regression" else "MetaClassifier"
            raise ValueError(f"{type(self).__name__} needs a prior for {kind}, and this is {prior!r}: use {other}.")
        if prior.num_inputs != x.shape[1]:
            raise ValueError(
                f"X has {x.shape[1]} features, but {type(self).__name__} is expecting {prior.num_inputs} features as "
                f"input, as the tasks of its prior had: {prior!r}."
            )
        if self.num_steps is not None and not isinstance(self.num_steps, int | np.integer):
            raise ValueError(f"num_steps is {self.num_steps!r}, and a whole number is needed, or None.")
        self.steps_ = None if self.num_steps is None else int(self.num_steps)
        at_least(0, num_steps=self.steps_)
        self.prior_ = prior
        self.seed_ = seed

    def _given(self) -> Prior | None:
        """The prior that was given, if one was."""
        if self.prior is not None and not isinstance(self.prior, Prior):
            raise ValueError(
                f"prior is a {type(self.prior).__name__}, and a Prior is needed: meta_train makes one, and "
                "Prior.load(run) reads one from a run's folder."
            )
        return self.prior

    def _predicted(self, X: Any) -> Predictive:
        """The distribution of observations, particles first, in the network's units; it is adapted here."""
        x = self._rows(X)
        prior, support = self.prior_, self.support_
        task = Task(support, Batch(x, x))
        with device.surroundings(threads=plan.threads_for(prior.meta, tree.map(lambda leaf: leaf[None], task))):
            found = predict(
                prior.learner,
                prior.meta,
                support,
                x,
                num_steps=self.steps_,
                noise_scale=prior.noise_scale(self.steps_),
                seed=self.seed_,
            )
        if not all(bool(leaf.isfinite().all()) for leaf in found[:1]):
            raise ValueError(
                f"What is predicted after {counted(prior.steps(self.steps_), 'steps')} of adaptation is not finite: "
                "set num_steps lower, or look for outliers in the rows that were fitted."
            )
        return found

    def _rows(self, X: Any) -> Any:
        """New rows as the network takes them."""
        check_is_fitted(self)
        return self.prior_.inputs(validate_data(self, X, dtype=np.float64, reset=False))


def seed_of(random_state: Any) -> int:
    """The seed that scikit-learn's `random_state` stands for: a number is one, and others draw one.

    Examples:
        >>> seed_of(7)
        7
    """
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
