"""What several trainings at once are tried on: tiny ones in double precision."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from metafunc import Execution, Validation, algorithms, data, nn, tree
from metafunc.data.sampling import generator_for
from metafunc.nn import likelihood
from metafunc.types import MetaLearner, Task, TaskFamily

SEEDS, STEPS = (3, 0), 20
VALIDATED = Validation(every=5, num_tasks=8)
MLP = nn.mlp((1,), 1, hidden=(8, 8))
OBSERVED = likelihood.gaussian()


def doubled(values: Any) -> Any:
    return tree.map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, values)


def in_double(family: TaskFamily) -> TaskFamily:
    def of(sampler: Callable[..., Task]) -> Callable[..., Task]:
        return lambda generator, count, /: doubled(sampler(generator, count))

    return replace(family, train=of(family.train), validation=of(family.validation), test=of(family.test))


SINUSOID = in_double(data.sinusoid(num_shots=4, num_queries=4, noise=0.1))
GLYPHS = in_double(data.glyphs(num_ways=3, num_shots=1, num_queries=2))


def maml(inner_lr: float = 0.01) -> MetaLearner[Any, Any]:
    return algorithms.maml(MLP, OBSERVED, inner_lr=inner_lr)


def starts(learner: MetaLearner[Any, Any], seeds: Sequence[int] = SEEDS) -> list[Any]:
    return [doubled(learner.init(generator_for(seed, "init", 0))) for seed in seeds]


def sgd(lr: float) -> Callable[[Iterable[Tensor]], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, lr=lr)


def halved(optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.StepLR(optimiser, 5, 0.5)


def settings(**given: Any) -> dict[str, Any]:
    return {"steps": STEPS, "num_tasks": 3, "execution": Execution(threads=1, compile="off"), **given}


def off(found: Any, alone: Any) -> float:
    """The largest difference of two trainings' meta-parameters, relative to the largest number."""
    pairs = list(zip(tree.leaves(found), tree.leaves(alone), strict=True))
    largest = max(float(b.abs().max()) for _, b in pairs)
    return max(float((a - b).abs().max()) for a, b in pairs) / largest
