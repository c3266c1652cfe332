"""A regressor that learns a new task from a few rows, since it has learned from many tasks before."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data
from torch import Tensor

from metafunc import tree
from metafunc.checks import at_least, counted
from metafunc.evaluation.autoregressive import draw_functions
from metafunc.evaluation.metrics import mixture
from metafunc.sklearn.estimator import MetaEstimator, seed_of
from metafunc.sklearn.prior import Prior
from metafunc.sklearn.untrained import untrained
from metafunc.training.build import Learner
from metafunc.types import Batch, Normal, Predictive


class MetaRegressor(RegressorMixin, MetaEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A regressor of scikit-learn whose `fit` takes the rows of one new task, and adapts a meta-trained learner to it.

    The mean that it predicts, and the standard deviation, are those of the learner's predictive distribution: of
    observations, noise included, and of all its particles.

    Args:
        prior: what was meta-trained; None: an untrained network of the width of the data, in the units of the task's
            own rows: plain fine-tuning, which a prior should beat.
        num_steps: steps of adaptation; None: as many as the learner was built with.
        random_state: of the noise that some learners draw, and of an untrained network.

    Attributes:
        prior_: what is adapted.
        support_: the task's rows in the network's units.

    Examples:
        >>> import numpy
        >>> from metafunc.sklearn import MetaRegressor, meta_train
        >>> x, line = numpy.linspace(-1, 1, 300)[:, None], numpy.arange(300) % 30
        >>> prior = meta_train(x, x[:, 0] * line, tasks=line, num_shots=4, num_queries=4, steps=20)
        >>> regressor = MetaRegressor(prior).fit([[-1.0], [0.0], [1.0]], [-8.0, 0.0, 8.0])
        >>> mean, std = regressor.predict([[0.5], [2.0]], return_std=True)
        >>> mean.shape, std.shape, regressor.sample_y([[0.5], [2.0]], n_samples=7).shape
        ((2,), (2,), (2, 7))
    """

    def fit(self, X: Any, y: Any) -> "MetaRegressor":
        """Take the rows of a task; a prediction adapts to them.

        Args:
            X: inputs (n, inputs).
            y: targets (n,) or (n, targets), in their own unit.

        Returns:
            The regressor itself.

        Raises:
            ValueError: they do not fit the prior, or a number is missing or too large.
        """
        given = self._given()
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        targets = np.asarray(y, dtype=np.float64).reshape(len(X), -1)
        num_targets, seed = targets.shape[1], seed_of(self.random_state)
        prior = given or untrained("regression", X, targets, num_outputs=num_targets, seed=seed)
        self._take(prior, X, "regression", seed)
        if num_targets != prior.num_outputs:
            raise ValueError(
                f"y has {counted(num_targets, 'targets')} in a row, and the tasks of {prior!r} have another number."
            )
        self.support_ = Batch(prior.inputs(X), prior.targets(targets))
        self._one_axis = np.ndim(y) == 1
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The mean of the observations at new inputs, in the unit of y.

        Args:
            X: inputs (n, inputs).
            return_std: whether to give their standard deviation as well.

        Returns:
            The mean, shaped like y; or the mean and the standard deviation.

        Raises:
            ValueError: a deviation is asked for and none is known: the learner has no noise model, and no meta-test
                fitted a noise scale after so many steps; or predictions are not finite.
        """
        predicted = self._predicted(X)
        assert isinstance(predicted, Normal)
        if return_std:
            self._scaled(predicted)
        mean, scale = self.prior_.of_targets
        deviation = predicted.scale if isinstance(predicted.scale, tuple) else predicted.scale.double() * scale
        whole = mixture(predicted._replace(loc=predicted.loc.double() * scale + mean, scale=deviation))
        assert isinstance(whole, Normal)
        found = self._shaped(whole.loc[0])
        return (found, self._shaped(whole.scale.expand_as(whole.loc)[0])) if return_std else found

    def sample_y(self, X: Any, n_samples: int = 1, random_state: Any = 0) -> NDArray[np.float64]:
        """Draws of what would be observed at new inputs together, noise included.

        Rows are drawn one after the other, each given those before it, so that n rows take n adaptations, and draws
        are of whole functions: see `metafunc.evaluation.autoregressive`.

        Args:
            X: inputs (n, inputs).
            n_samples: how many draws.
            random_state: of the draws.

        Returns:
            The draws (n, n_samples), or (n, targets, n_samples), in the unit of y.

        Raises:
            ValueError: the observations' noise is not known, or the network normalises over all rows.
        """
        at_least(1, n_samples=n_samples)
        self._scaled(self._predicted(X))
        x, prior = self._rows(X), self.prior_
        draws = draw_functions(
            prior.learner if self.steps_ is None else _after(prior.learner, self.steps_),
            prior.meta,
            self.support_,
            x,
            num_draws=n_samples,
            noise_scale=prior.noise_scale(self.steps_),
            seed=seed_of(random_state),
        )
        mean, scale = prior.of_targets
        found: NDArray[np.float64] = (draws.double() * scale + mean).permute(1, 2, 0).numpy()
        return found[:, 0] if self._one_axis else found

    def _shaped(self, values: Tensor) -> NDArray[np.float64]:
        found: NDArray[np.float64] = values.double().numpy()
        return found[:, 0] if self._one_axis else found

    def _scaled(self, predicted: Predictive) -> None:
        """Refuse predictions whose noise is not known."""
        if isinstance(predicted, Normal) and isinstance(predicted.scale, tuple):
            raise ValueError(_no_noise(self.prior_, self.steps_))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.regressor_tags.poor_score = True  # it is for few rows of one of many tasks
        return tags


def _after(learner: Learner, num_steps: int) -> Learner:
    """The learner that adapts by another number of steps."""
    return replace(learner, adapt=lambda meta, support: tree.at(learner.path(meta, support, num_steps), -1))


def _no_noise(prior: Prior, num_steps: int | None) -> str:
    fitted = [step for step, scale in enumerate(prior.noise_scales) if scale is not None]
    first = f"{fitted[0]} to " if len(fitted) > 1 else ""
    where = f"was fitted for {first}{counted(fitted[-1], 'steps')} alone" if fitted else "was fitted for none"
    return (
        f"{prior.algorithm} has no noise model, so that a meta-test has to fit a noise scale, and it {where}, not for "
        f"{prior.steps(num_steps)}: take a prior of meta_train, or of a run that metafunc eval has tested, or a "
        "learner with noise, such as alpaca."
    )
