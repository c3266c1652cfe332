"""A run's learner as a meta-test of it was: changed after its training, with the scalars that were fitted there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from metafunc.evaluation.fitting import as_fitted
from metafunc.training.build import transformed
from metafunc.training.renamed import current
from metafunc.training.run import Run
from metafunc.types import Kind, MetaLearner

FLAGS: Mapping[str, str] = MappingProxyType(
    {"laplace": "--laplace last", "laplace_all": "--laplace all", "tempered": "--tempered"}
)
"""By transform, how `metafunc eval` is asked for it."""


class Recorded(NamedTuple):
    """What a run recorded of its tasks."""

    kind: Kind
    input_shape: tuple[int, ...]
    num_outputs: int


class AsTested(NamedTuple):
    """A learner, and the meta-test that its scalars are from; None where it has none."""

    learner: MetaLearner[Any, Any]
    file: Path | None


def as_tested(
    run: Run, learner: MetaLearner[Any, Any], names: Sequence[str], *, num_steps: int, imports: bool = False
) -> AsTested:
    """A run's learner, changed after its training by the transforms of these names.

    Args:
        run: the run.
        learner: its learner.
        names: of `metafunc.algorithms.post_hoc.TRANSFORMS`; none leave the learner as it is.
        num_steps: the steps of adaptation that it predicts after; beyond those that were tested, the last ones count.
        imports: allow importing the modules that the run's configuration names.

    Returns:
        The learner, with the scalars that the run's meta-test with these transforms fitted for this number of steps. Of
        several such meta-tests it is the one that differs least from the run's own, by the length of its name.

    Raises:
        ValueError: the transforms do not take this learner, or there is no such meta-test.
    """
    if not names:
        return AsTested(learner, None)
    seen = run.env["data"]
    rows = Recorded(seen["kind"], tuple(seen["input_shape"]), seen["num_outputs"])
    changed: Any = transformed(run.config, learner, rows, names, imports=imports)
    called = "+".join([current(run.config)["algorithm"]["name"], *names])
    tests = {file: report for file, report in run.reports().items() if report["algorithm"] == called}
    if not tests:
        flags = " ".join(FLAGS[name] for name in names)
        raise ValueError(
            f"{run.path} has no meta-test with {flags}, which fits what this needs on validation tasks: make one with "
            f"metafunc eval {run.path} {flags}"
        )
    file = min(tests, key=lambda file: (len(file.name), file.name))
    by_step = tests[file]["meta_test"]["by_step"]
    fitted = {name: [row[name] for row in by_step if name in row] for name in changed.ranges}
    return AsTested(as_fitted(changed, fitted, min(num_steps, len(by_step) - 1)), file)
