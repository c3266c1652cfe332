"""Predicted curves of three new tasks of a table, with bands: what `auto` chose in the first row, baselines below.

Each task is of the first fold, which none of them was trained on. Axes are in the columns' own units.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from benchmarks.table_baselines import Baseline
from metafunc import predict
from metafunc.algorithms.stacking import stacked
from metafunc.data.sampling import generator_for
from metafunc.evaluation.metrics import mixture
from metafunc.training.candidates import Tested, temperature_of
from metafunc.training.portfolio import Chosen
from metafunc.training.stack_candidates import on_fold
from metafunc.types import Batch, Normal, TaskFamily

TASKS, POINTS, BAND = 3, 120, 1.645
Curve: TypeAlias = Callable[[Batch, Tensor], tuple[Tensor, Tensor]]
"""From a support set and inputs (n, 1) to the mean and standard deviation of observations (n,)."""


def draw(path: Path, about: tuple[str, str, str, str], chosen: Chosen, baselines: Mapping[str, Baseline]) -> None:
    """Draw what was chosen and the baselines on three tasks.

    Args:
        path: of the picture.
        about: title, and the names of input, target and task.
        chosen: the choice, with its learners of the first fold.
        baselines: those of the first fold, by name.
    """
    import matplotlib.pyplot as plt

    singles = [one for one in chosen.tested if one.parts]
    family = singles[0].parts[0].family
    first, titles = new_tasks(family, about[3])
    tasks = family.test(generator_for(0, "test", 0), 50)
    curves = {f"auto: {chosen.best.name}": _of_learner(chosen.tested[0], singles)}
    curves |= {name: _of_baseline(baseline) for name, baseline in baselines.items()}
    info = family.info
    mean, scale = float(info["target_mean"][0]), float(info["target_scale"][0])
    centre, width = float(info["input_mean"][0]), float(info["input_scale"][0])
    shape = (len(curves), len(first))
    figure, axes = plt.subplots(
        *shape, figsize=(3 * shape[1] + 0.5, 2.3 * shape[0] + 0.6), sharex=True, sharey=True, squeeze=False
    )
    for row, (name, curve) in enumerate(curves.items()):
        for column, index in enumerate(first):
            axis = axes[row, column]
            known = Batch(tasks.support.x[index], tasks.support.y[index])
            shown = tasks.query.y.new_ones(len(tasks.query.x[index])) > 0
            shown = shown if isinstance(tasks.query.mask, tuple) else tasks.query.mask[index] > 0
            unknown = Batch(tasks.query.x[index][shown], tasks.query.y[index][shown])
            both = torch.cat([known.x, unknown.x])
            x = torch.linspace(float(both.min()), float(both.max()), POINTS)[:, None]
            middle, spread = curve(known, x)
            at, line = x[:, 0] * width + centre, middle * scale + mean
            band = BAND * spread * scale
            axis.fill_between(at, line - band, line + band, alpha=0.25, color="C0", lw=0, label="90 % of observations")
            axis.plot(at, line, color="C0", label="mean")
            axis.plot(
                unknown.x * width + centre,
                unknown.y * scale + mean,
                "o",
                ms=3.5,
                mfc="none",
                color="0.4",
                label="to be predicted",
            )
            axis.plot(known.x * width + centre, known.y * scale + mean, "o", ms=5, color="black", label="known")
            if row == shape[0] - 1:
                axis.set_xlabel(about[1])
            if column == 0:
                axis.set_ylabel(f"{name}\n{about[2]}")
            if row == 0:
                axis.set_title(titles[column], fontsize=10)
    figure.suptitle(about[0])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def new_tasks(family: TaskFamily, column: str) -> tuple[list[int], list[str]]:
    """The first draws of different tasks among 50, and what each of these is called, as `metafunc plot` has it.

    Args:
        family: the fold, whose tasks have names.
        column: of the tasks.
    """
    groups = family.test.groups(generator_for(0, "test", 0), 50)[:, 0].tolist()
    first = [groups.index(group) for group in dict.fromkeys(groups)][:TASKS]
    return first, [f"{column} {family.test.names[groups[index]]}" for index in first]


def _of_learner(best: Tested, singles: list[Tested]) -> Curve:
    if best.parts:
        part = best.parts[0]
        learner, meta = stacked([part.member(1.0, temperature_of(best.parts, 0))]), (part.meta,)
    else:
        learner, meta = on_fold([one for one in singles if one.nll < float("inf")], 0)

    def curve(support: Batch, x: Tensor) -> tuple[Tensor, Tensor]:
        whole = mixture(predict(learner, meta, support, x))
        assert isinstance(whole, Normal)
        return whole.loc[0, :, 0], whole.scale.expand_as(whole.loc)[0, :, 0]

    return curve


def _of_baseline(baseline: Baseline) -> Curve:
    def curve(support: Batch, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, covariance = baseline.given(support, x)
        return mean.float(), covariance.diagonal().clamp(min=0).sqrt().float()

    return curve
