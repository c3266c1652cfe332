"""A classifier that learns a new task from a few rows, since it has learned from many tasks before."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from metafunc.checks import counted
from metafunc.sklearn.estimator import MetaEstimator, seed_of
from metafunc.sklearn.prior import Prior
from metafunc.sklearn.untrained import untrained
from metafunc.training.load import ANY_WAYS as ANY_WAYS
from metafunc.training.load import WOULD
from metafunc.types import Batch, Categorical


class MetaClassifier(ClassifierMixin, MetaEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A classifier of scikit-learn whose `fit` takes the rows of one new task, and adapts a meta-trained learner to it.

    Learners whose head is made of the support set (protonet, pcoc, metaqda, versa, dkt) take tasks of any number of
    classes. The others have an output for each class of their training: a task may have fewer, whose probabilities are
    then those among its own, and not more. Where their tasks had the same classes by name, as `meta_train`'s have, so
    has the new one.

    Args:
        prior: what was meta-trained; None: an untrained network of the width of the data, in the units of the task's
            own rows: plain fine-tuning, which a prior should beat.
        num_steps: steps of adaptation; None: as many as the learner was built with.
        random_state: of the noise that some learners draw, and of an untrained network.

    Attributes:
        classes_: the task's classes, in order.
        prior_: what is adapted.
        support_: the task's rows in the network's units, with the numbers of their classes.

    Examples:
        >>> import numpy
        >>> from metafunc.sklearn import MetaClassifier, meta_train
        >>> x, tasks = numpy.random.default_rng(0).normal(size=(400, 2)), numpy.arange(400) % 20
        >>> side = numpy.where(numpy.cos(tasks) * x[:, 0] + numpy.sin(tasks) * x[:, 1] > 0, "up", "down")
        >>> prior = meta_train(x, side, tasks=tasks, num_shots=8, num_queries=8, steps=20)
        >>> classifier = MetaClassifier(prior).fit([[-1.0, 0.0], [-2.0, 0.0], [3.0, 0.0]], ["left", "left", "right"])
        >>> classifier.predict([[4.0, 0.0]]), classifier.predict_proba([[4.0, 0.0]]).shape
        (array(['right'], dtype='<U5'), (1, 2))
    """

    def fit(self, X: Any, y: Any) -> "MetaClassifier":
        """Take the rows of a task; a prediction adapts to them.

        Args:
            X: inputs (n, inputs).
            y: the class of each row (n,): numbers or text.

        Returns:
            The classifier itself.

        Raises:
            ValueError: they do not fit the prior, or a number is missing or too large.
        """
        given = self._given()
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        seed, num_ways = seed_of(self.random_state), max(2, len(self.classes_))
        prior = given or untrained("classification", X, num_outputs=num_ways, seed=seed)
        self._take(prior, X, "classification", seed)
        self.prior_, self.outputs_ = _outputs(prior, class_names(self.classes_))
        labels = torch.tensor(self.outputs_)[torch.tensor(numbers.reshape(-1))]
        self.support_ = Batch(self.prior_.inputs(X), labels)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each row.

        Args:
            X: inputs (n, inputs).

        Returns:
            Classes (n,), as y had them.

        Raises:
            ValueError: predictions are not finite.
        """
        likeliest = self.predict_proba(X).argmax(1)
        found: NDArray[Any] = self.classes_[likeliest]
        return found

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability of each of the task's classes, in the order of `classes_`, over all particles.

        Args:
            X: inputs (n, inputs).

        Returns:
            Probabilities (n, classes), whose rows add up to one.

        Raises:
            ValueError: predictions are not finite.
        """
        predicted = self._predicted(X)
        assert isinstance(predicted, Categorical)
        # A particle's other logits are left out, so that it gives its probability to the task's classes alone.
        of_particles = predicted.logits.double()[..., self.outputs_].softmax(-1)
        found: NDArray[np.float64] = of_particles.mean(0).numpy()
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # it is for few rows of one of many tasks
        return tags


def class_names(labels: Any) -> list[str]:
    """What classes are called, of labels of any type: a float that is a whole number is called as that number.

    Examples:
        >>> import numpy
        >>> class_names(numpy.array([0.0, 1.0])), class_names(["a", True])
        (['0', '1'], ['a', 'True'])
    """
    plain = np.asarray(labels, dtype=object).tolist()
    return [str(int(each)) if isinstance(each, float) and each.is_integer() else str(each) for each in plain]


def _outputs(prior: Prior, names: Sequence[str]) -> tuple[Prior, list[int]]:
    """The prior for a task with these classes, and which of its outputs stand for them.

    Raises:
        ValueError: it has no output for one.
    """
    if prior.algorithm in ANY_WAYS:
        return prior.with_ways(max(2, len(names))), [*range(len(names))]
    known = prior.tasks["info"].get("classes")
    own = prior.tasks["info"].get("own_classes", False)
    if isinstance(known, list) and not own:  # families of images have a number there
        if unknown := [name for name in names if name not in known]:
            raise ValueError(
                f"y has the class {unknown[0]!r}, and {prior.algorithm} was trained to tell "
                f"{', '.join(map(repr, known[:8]))} apart, with an output for each. {WOULD}"
            )
        return prior, [known.index(name) for name in names]
    if len(names) > prior.num_outputs:
        raise ValueError(
            f"y has {counted(len(names), 'classes')}, and {prior.algorithm} was trained to tell {prior.num_outputs} "
            f"apart, with an output for each. {WOULD}"
        )
    return prior, [*range(len(names))]
