"""Omniglot: MAML's classification experiment, with the fully connected or the convolutional network.

    python -m benchmarks.papers.omniglot --path OMNIGLOT --num-shots 1
    python -m benchmarks.papers.omniglot --path OMNIGLOT --num-shots 5
    python -m benchmarks.papers.omniglot --path OMNIGLOT --net conv4 --minutes 120 --schedule constant --compile off

1200 training characters, of which the last 100 choose nothing but draw the learning curve, rotated by
90, 180 and 270 degrees to further characters in training; 423 characters, not rotated, for the meta-test. Batch
statistics are transductive: those of a task's 75 queries, as in the paper, which has as many queries as support
drawings.
"""

import json
import math
import signal
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from metafunc_cli.commands.timing import Account, Clock, times_of, validations_of

import metafunc
from benchmarks import reporting
from metafunc.training import checkpoint
from metafunc.training.config import build, train
from metafunc.training.events import Event, Interrupted
from metafunc.training.run import Run

NETWORKS = {
    "fc": {"name": "mlp", "hidden": (256, 128, 64, 64), "normalisation": "transductive", "initialisation": "he"},
    "conv4": {"name": "conv4", "filters": 64, "pooling": "stride"},
}


def main(
    path: str,
    net: Literal["fc", "conv4"] = "fc",
    num_ways: int = 5,
    num_shots: int = 1,
    num_queries: int = 15,
    inner_lr: float = 0.4,
    num_steps: int = 1,
    test_steps: int = 10,
    num_tasks: int = 8,
    steps: int = 40_000,
    minutes: float = math.inf,
    outer_lr: float = 3e-3,
    schedule: Literal["constant", "cosine"] = "cosine",
    validate_every: int = 1000,
    seed: int = 0,
    num_test_tasks: int = 2000,
    compile: Literal["auto", "on", "off"] = "on",
    chunk_size: int | None = None,
    threads: int = 1,
    runs: Path = Path("runs"),
    name: str | None = None,
) -> None:
    """Train, test and write the results with the learning curve.

    Args:
        path: the local copy of Omniglot.
        net: 256-128-64-64 fully connected units, or four convolutions of 64 filters with stride 2.
        num_ways: characters per task.
        num_shots: support drawings per character.
        num_queries: query drawings per character, in training and in the test.
        inner_lr: the inner step size.
        num_steps: inner steps in training.
        test_steps: the largest number of steps in the test.
        num_tasks: tasks per outer step.
        steps: outer steps.
        minutes: stop earlier if this call has taken so long, keep what there is, and test that.
        outer_lr: Adam's step size, or where its cosine begins.
        schedule: of the outer step size.
        validate_every: outer steps between points of the learning curve.
        seed: of the initial parameters and of all tasks.
        num_test_tasks: new tasks of the meta-test.
        compile: whether the whole step is compiled; `--compile off` takes longer.
        chunk_size: tasks at a time, which bounds the memory.
        threads: torch's threads.
        runs: where the run's folder goes; a run that lies there already is gone on with.
        name: of the run and of the files to write.
    """
    name = name or f"omniglot_{num_ways}way_{num_shots}shot_{net}"
    settings = {key: value for key, value in locals().items() if key not in ("path", "runs", "name", "minutes")}
    torch.set_num_threads(threads)
    config = {
        "algorithm": {"name": "maml", "inner_lr": inner_lr, "num_steps": num_steps},
        "tasks": {
            "name": "omniglot", "path": path, "num_ways": num_ways, "num_shots": num_shots, "num_queries": num_queries,
        },
        "model": NETWORKS[net],
        "training": {
            "steps": steps, "num_tasks": num_tasks, "seed": seed, "outer_lr": outer_lr, "schedule": schedule,
            "validate_every": validate_every, "validation_tasks": 200,
            "compile": compile, "chunk_size": chunk_size, "threads": threads,
        },
    }  # fmt: skip
    learner, family = build(config)

    run, clock = Run(runs / name), Clock()
    account = Account(run)

    def watch(event: Event) -> None:
        if event.phase == "validation":
            print(json.dumps({"step": event.step, **event.values["validation"]}), flush=True)
        elif event.phase == "checkpoint":
            account.keep(clock.taken, clock.validations)
        elif event.phase == "train" and (clock.taken.wall or 0.0) > 60 * minutes:
            signal.raise_signal(signal.SIGTERM)  # as if somebody had stopped it: `fit` saves and says so

    try:
        fit = train(config, out=run.path, resume=True, on_event=clock.around(watch), built=(learner, family)).fit
        meta, steps_done = fit.meta, fit.step
    except Interrupted as stopped:
        saved, _ = checkpoint.newest(run.checkpoints)
        if saved is None:
            raise
        meta = checkpoint.restore(learner.init(torch.Generator()), saved.tensors, "meta")
        steps_done = stopped.step
    finally:
        account.keep(clock.taken, clock.validations)
    seconds, cpu_seconds = times_of(run)

    tested = metafunc.evaluate(learner, meta, family, num_tasks=num_test_tasks, num_steps=test_steps, seed=seed)
    result: dict[str, Any] = {
        "settings": settings,
        "normalisation": tested.normalisation,
        "classes": family.info["classes"],
        "machine": reporting.machine(threads),
        "steps_done": steps_done,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "meta_test": tested.to_json(),
        "learning_curve": _curve(run),
    }
    reporting.write(name, result)
    rows = [
        [str(row["step"]), *(f"{100 * row['accuracy'][key]:.2f}" for key in ("mean", "ci95", "median"))]
        for row in tested.by_step
    ]
    spent = "the time is not known" if cpu_seconds is None else f"{seconds:.0f} s, {cpu_seconds:.0f} s of CPU time"
    print(f"{name}: {steps_done} steps, {spent}")
    print(reporting.markdown(["steps", "accuracy (%)", "± 95 %", "median"], rows))


def _curve(run: Run) -> list[dict[str, Any]]:
    """What the run's log has of its validations, and when each was, over all interruptions, if that is known."""
    taken = validations_of(run)
    return [
        {"step": line["step"], "cpu_seconds": taken.get(line["step"]), **line["validation"]}
        for line in run.lines()
        if "validation" in line
    ]


if __name__ == "__main__":
    tyro.cli(main)
