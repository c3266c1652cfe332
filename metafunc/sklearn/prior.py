"""What was meta-trained, as a value: an argument of estimators that clones share and that pickles without closures.

A clone of an estimator keeps its constructor's arguments and nothing that was fitted, so that what many tasks have
taught has to be an argument. It never changes; a copy of it is the prior itself.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from metafunc import tree
from metafunc.algorithms import ALGORITHMS
from metafunc.checks import counted
from metafunc.data.numbers import Scale, standardised
from metafunc.data.sampling import generator_for
from metafunc.recipe import Printed, Rows
from metafunc.training import load
from metafunc.training.build import Learner, learner_of, own_steps
from metafunc.training.checkpoint import flatten, restore
from metafunc.training.recorded_noise import of_rows
from metafunc.training.renamed import current
from metafunc.training.run import Run
from metafunc.types import Kind


@dataclass(frozen=True, repr=False, eq=False)
class Prior(Printed):
    """A meta-trained learner with the units of its data.

    Args:
        learner: what adapts.
        meta: its meta-parameters, on the CPU.
        config: what the learner was built from: the sections of a run's `config.json`.
        tasks: kind, shape and units of the tasks that it was trained on: `data` in a run's `env.json`.
        tested: by steps of adaptation, from 0 on, what a meta-test found in the network's own units, and the noise
            scale that it fitted; nothing where there was no meta-test.

    Examples:
        >>> import copy, pickle, tempfile
        >>> from metafunc.sklearn import Prior
        >>> from metafunc.training.config import train
        >>> config = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}, "training": {"steps": 2}}
        >>> folder = tempfile.mkdtemp()
        >>> _ = train(config, out=folder)
        >>> prior = Prior.load(folder)
        >>> prior
        Prior(maml, 2 steps, regression, 1 input, 1 target, 1,761 parameters)
        >>> copy.deepcopy(prior) is prior, pickle.loads(pickle.dumps(prior))
        (True, Prior(maml, 2 steps, regression, 1 input, 1 target, 1,761 parameters))
    """

    learner: Learner
    meta: Any
    config: Mapping[str, Any]
    tasks: Mapping[str, Any]
    tested: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def load(cls, run: str | Path) -> "Prior":
        """That of a run's folder, with the parameters of the best validation; no code that is named there is run.

        Args:
            run: what `meta_train`, `metafunc train` or `metafunc.fit` has written.

        Raises:
            ValueError: the folder is no run, its learner is not in the table, its tasks are of control, or its inputs
                or targets are more than numbers: dates, categories, missing cells or logarithms.
            FileError: one of its files is not what was recorded.
        """
        place = Run(Path(run))
        learner: Learner
        learner, meta = load.load(place.path)
        tasks = place.env["data"]
        _check_estimable(tasks, place.path)
        rows = place.report(place.meta_test)["meta_test"]["by_step"] if place.meta_test.exists() else []
        return cls(learner, meta, place.config, tasks, tuple(rows))

    @classmethod
    def from_bytes(cls, described: str, tensors: bytes) -> "Prior":
        """The inverse of `to_bytes`: the learner is built again by its name.

        Raises:
            ValueError: the learner is not in the table.
            CheckpointError: the parameters belong to another one.
        """
        found = json.loads(described)
        return cls._built(found["config"], found["tasks"], found["tested"], safetensors.torch.load(tensors))

    @classmethod
    def _built(cls, config: Mapping[str, Any], tasks: Mapping[str, Any], tested: Any, tensors: Any) -> "Prior":
        shape, info = tuple(tasks["input_shape"]), tasks["info"]
        learner = learner_of(config, shape, tasks["kind"], tasks["num_outputs"], info=info)
        precision = next(iter(tensors.values())).dtype
        like = tree.map(lambda leaf: leaf.to(precision), learner.init(generator_for(0, "init", 0)))
        meta = restore(like, tensors, "meta")
        return cls(learner, meta, config, tasks, tuple(tested))

    def to_bytes(self) -> tuple[str, bytes]:
        """Everything but the learner's closures: JSON, and the parameters in the safetensors format."""
        described = json.dumps({"config": self.config, "tasks": self.tasks, "tested": self.tested})
        plain = {name: _plain(leaf) for name, leaf in flatten(self.meta, "meta").items()}
        return described, safetensors.torch.save(plain)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_bytes, self.to_bytes()

    def __copy__(self) -> "Prior":
        return self

    def __deepcopy__(self, memo: object) -> "Prior":
        return self

    def _described(self) -> Rows:
        steps = self.config.get("training", {}).get("steps", 0)
        outputs = "classes" if self.kind == "classification" else "targets"
        return [
            ("", self.algorithm),
            ("", counted(steps, "steps")),
            ("", self.kind),
            ("", counted(self.num_inputs, "inputs")),
            ("", counted(self.num_outputs, outputs)),
            ("", counted(tree.size(self.meta), "parameters")),
        ]

    @property
    def algorithm(self) -> str:
        """The name of the learner."""
        return str(current(self.config, ALGORITHMS)["algorithm"]["name"])

    @property
    def kind(self) -> Kind:
        """What is predicted."""
        found: Kind = self.tasks["kind"]
        return found

    @property
    def num_inputs(self) -> int:
        """How many numbers a row of inputs has."""
        return prod(self.tasks["input_shape"])

    @property
    def num_outputs(self) -> int:
        """Targets of a regression, or classes."""
        return int(self.tasks["num_outputs"])

    @property
    def of_targets(self) -> Scale:
        """What targets were centred by and divided by; 0 and 1 where they were left as they are."""
        return self._scale("target", self.num_outputs)

    def steps(self, num_steps: int | None) -> int:
        """How many steps that many are for this learner; None stands for its own number, and one that conditions on
        its support set does so in a single one."""
        own = own_steps(self.config) or 0
        row = ALGORITHMS.get(self.algorithm)
        if num_steps is None:
            return own
        return num_steps if row is None or row.inner_steps else min(num_steps, 1)

    def noise_scale(self, num_steps: int | None) -> float | None:
        """The standard deviation of observations after some steps, which a meta-test fitted, in the network's units;
        None if there is none, as for a learner with a noise model of its own."""
        return dict(enumerate(self.noise_scales)).get(self.steps(num_steps))

    @property
    def noise_scales(self) -> tuple[float | None, ...]:
        """The same for every number of steps that was tested; empty for a learner with a noise model of its own."""
        return of_rows(
            self.tested,
            self.tasks["info"],
            "this prior",
            "it is fitted again by metafunc eval of the run, before it is loaded, or by another meta_train",
        )

    def inputs(self, x: NDArray[np.float64]) -> Float[Tensor, "n ..."]:
        """Rows of numbers as the network takes them: in its units and its shape.

        Raises:
            ValueError: a number is too large in these units.
        """
        names = [f"x{i}" for i in range(self.num_inputs)]
        rows = standardised(torch.tensor(x), self._scale("input", self.num_inputs), names, Path("X"))
        return self._precise(rows).reshape(len(rows), *self.tasks["input_shape"])

    def targets(self, y: NDArray[np.float64]) -> Float[Tensor, "n targets"]:
        """Rows of targets in the network's units.

        Raises:
            ValueError: a number is too large in these units.
        """
        names = [f"y{i}" for i in range(self.num_outputs)]
        return self._precise(standardised(torch.tensor(y), self.of_targets, names, Path("y")))

    def with_ways(self, num_ways: int) -> "Prior":
        """The same for another number of classes, where parameters do not depend on it.

        Raises:
            CheckpointError: they do.
        """
        if num_ways == self.num_outputs:
            return self
        info = {name: value for name, value in self.tasks["info"].items() if name != "classes"}
        tasks = {**self.tasks, "num_outputs": num_ways, "info": info}
        return self._built(self.config, tasks, self.tested, flatten(self.meta, "meta"))

    def _precise(self, rows: Tensor) -> Tensor:
        """Rows in the precision of the parameters."""
        return rows.to(tree.leaves(self.meta)[0].dtype)

    def _scale(self, side: str, count: int) -> Scale:
        info = self.tasks["info"]
        mean, scale = info.get(f"{side}_mean", [0.0] * count), info.get(f"{side}_scale", [1.0] * count)
        return Scale(_doubles(mean), _doubles(scale))


def _check_estimable(tasks: Mapping[str, Any], run: Path) -> None:
    """Refuse tasks whose rows are not numbers to numbers, or to classes."""
    info = tasks["info"]
    coded = [code["name"] for code in info.get("encoding", [])]
    if tasks["kind"] == "control":
        raise ValueError(f"{run} was trained for control, and an estimator predicts: take a run of another kind.")
    if coded or info.get("log_targets"):
        what = f"codes for some of the columns {', '.join(coded)}" if coded else "logarithms of its targets"
        raise ValueError(
            f"{run} was trained on {what}, and an estimator takes rows of numbers as they are: predict with "
            "metafunc.results.predict_files, or code the columns first and meta_train on them."
        )


def _doubles(values: Any) -> Float64[Tensor, " columns"]:
    return torch.tensor(values, dtype=torch.float64)


def _plain(leaf: Tensor) -> Tensor:
    return leaf.detach().clone(memory_format=torch.contiguous_format)
