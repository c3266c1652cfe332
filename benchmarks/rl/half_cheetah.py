"""Half-cheetahs that run forwards or backwards, in MuJoCo through Gymnasium: MAML's locomotion experiment, by ProMP.

    python -m benchmarks.rl.half_cheetah              # a quarter of an hour of CPU time; needs the extra metafunc[rl]

The settings are those of the preset (`metafunc train promp half_cheetah --dry-run`).
"""

import time
from typing import Annotated

import torch
import tyro

import metafunc
from benchmarks import reporting
from benchmarks.rl import policies
from metafunc import Execution

NUM_STEPS, TEST_SEED = 3, 0


def main(
    flags: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    algorithm: str = "promp",
    seed: int = 0,
    num_test_tasks: int = 40,
    name: str = "half_cheetah",
) -> None:
    """Train and test, and write results/NAME.json with the learning curve.

    Args:
        flags: of `metafunc train promp half_cheetah`, after a `--`, instead of the preset's settings.
        algorithm: a learner of policies by name.
        seed: of the initial parameters and of all tasks.
        num_test_tasks: tasks of the meta-test, half of them forwards.
        name: of the file.
    """
    torch.set_num_threads(1)
    began = time.process_time()

    def on_step(step: int, point: policies.Point) -> None:
        spent = time.process_time() - began
        print(f"{step:4d} {point['before']:8.1f} {point['after']:8.1f} {spent:7.0f} s of CPU time", flush=True)

    found = policies.train([algorithm, "half_cheetah", "--seed", str(seed), *flags], on_step)
    tested = metafunc.evaluate(
        found.learner,
        found.meta,
        found.family,
        num_tasks=num_test_tasks,
        num_steps=NUM_STEPS,
        seed=TEST_SEED,
        execution=Execution(threads=1),
    )
    returns = tested.values["return"].double()
    gain = returns[1:] - returns[0]
    half = 1.96 * gain.std(1) / num_test_tasks**0.5
    result = {
        "config": found.config,
        "machine": reporting.machine(threads=1),
        "seconds": found.seconds,
        "cpu_seconds": found.cpu_seconds,
        "learning_curve": found.curve,
        "by_step": tested.by_step,
        "gain": [{"mean": mean, "ci95": ci} for mean, ci in zip(gain.mean(1).tolist(), half.tolist(), strict=True)],
    }
    reporting.write(name, result)
    cells = [f"{row['return']['mean']:.1f} ± {row['return']['ci95']:.1f}" for row in tested.by_step]
    gains = [f"{one['mean']:+.1f} ± {one['ci95']:.1f}" for one in result["gain"]]
    print(" / ".join(cells), "gain over no adaptation:", " / ".join(gains))


if __name__ == "__main__":
    tyro.cli(main)
