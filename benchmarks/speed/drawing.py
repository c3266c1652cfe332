"""`python -m benchmarks.speed.drawing`: how long it takes to draw 32 episodes of 84 x 84 images.

From pixels in memory and from a file of them that is mapped, in interleaved rounds, for 10 and 16 images of each of
five classes; while freed memory is retained, as it is during steps, and while it is given back to the system, so that
every draw asks for its pages again. The samples are written to results/drawing.json.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import reporting
from metafunc.data import generator_for
from metafunc.data.episodes import Rows, episodes
from metafunc.execution.allocator import retain_freed_memory
from metafunc.types import Sampler

CLASSES, EACH, SHAPE = 100, 100, (3, 84, 84)
EPISODES, WAYS = 32, 5
PER_CLASS = (10, 16)
KINDS = {"seconds": "wall, ms", "cpu": "processor, ms"}
WARM = 2
"""Rounds that are not counted."""


def pixels(file: Path) -> torch.Tensor:
    """Random pixels in a file that is mapped."""
    generator = np.random.default_rng(0)
    values = np.lib.format.open_memmap(file, "w+", np.uint8, (CLASSES * EACH, *SHAPE))
    for label in range(CLASSES):
        values[label * EACH : (label + 1) * EACH] = generator.integers(0, 256, (EACH, *SHAPE), dtype=np.uint8)
    values.flush()
    return torch.from_numpy(values)


def sampler(values: torch.Tensor, per_class: int) -> Sampler:
    """Episodes of one support image per class, the others of the query set."""
    rows = Rows(values, torch.arange(CLASSES) * EACH, torch.full((CLASSES,), EACH))
    return episodes(rows, torch.arange(CLASSES), num_ways=WAYS, num_shots=1, num_queries=per_class - 1)


def race(places: dict[str, torch.Tensor], rounds: int) -> dict[str, dict[str, Any]]:
    """Seconds and processor seconds of draws, in interleaved rounds, by what is drawn and whence."""
    found: dict[str, dict[str, Any]] = {}
    for retained in (True, False):
        with retain_freed_memory() if retained else nullcontext():
            for per_class in PER_CLASS:
                samplers = {place: sampler(values, per_class) for place, values in places.items()}
                name = f"{WAYS * per_class} images, {'retained' if retained else 'given back'}"
                found[name] = {place: {"seconds": [], "cpu": []} for place in places}
                for step in range(WARM + rounds):
                    for place, sample in samplers.items():
                        wall, cpu = time.perf_counter(), time.process_time()
                        sample(generator_for(0, "train", step), EPISODES)
                        if step >= WARM:
                            found[name][place]["seconds"].append(time.perf_counter() - wall)
                            found[name][place]["cpu"].append(time.process_time() - cpu)
    return found


def show(values: Sequence[float]) -> str:
    """Milliseconds: the median, and the least."""
    return f"{1e3 * statistics.median(values):.0f} / {1e3 * min(values):.0f}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.drawing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        mapped = pixels(Path(folder) / "pixels.npy")
        places = {"mapped": mapped, "in memory": mapped.clone()}
        found = race(places, asked.rounds)
    kept = reporting.read("drawing")
    reporting.write("drawing", {**kept, str(asked.threads): {"samples": found, **reporting.machine(asked.threads)}})
    rows = [
        [name, *(show(sample[kind]) for kind in KINDS for sample in places.values())] for name, places in found.items()
    ]
    header = ["an episode, and freed memory", *(f"{place}, {kind}" for kind in KINDS.values() for place in places)]
    print(reporting.markdown(header, rows))


if __name__ == "__main__":
    main()
