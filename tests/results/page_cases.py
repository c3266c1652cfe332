"""Small runs and comparisons that pages are made of."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import metafunc
from metafunc.data.atomic_write import write_json
from metafunc.evaluation import meta_test
from metafunc.results import comparison, pictures
from metafunc.results.compared import Compared
from metafunc.training.config import build
from metafunc.training.run import Run

HOSTILE = "<script>alert('</script>')</script><img src=x onerror=alert(2)>&amp;<!--TITLE-->"
"""A name that is taken for code wherever it is not escaped."""
SINUSOID = {"name": "sinusoid", "noise": 0.1, "num_test_queries": 10}


def config(algorithm: str, tasks: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    return {"algorithm": {"name": algorithm, **settings}, "model": {"name": "mlp", "hidden": [4]}, "tasks": dict(tasks)}


@cache
def hardly_trained(algorithm: str, tasks: str) -> tuple[Any, Any, Any]:
    """A learner that is hardly trained, its meta-parameters and its meta-test."""
    settings = SINUSOID if tasks == "sinusoid" else {"name": tasks, "num_test_queries": 10}
    learner, family = build(config(algorithm, settings))
    meta = metafunc.fit(learner, family, steps=2).best
    return learner, meta, meta_test.evaluate(learner, meta, family, num_tasks=8, num_steps=2, num_validation_tasks=4)


def run_folder(folder: Path, algorithm: str = "maml", tasks: str = "sinusoid", *, test: bool = True) -> Path:
    """A run with a meta-test, and how calibrated it was."""
    settings = config(algorithm, SINUSOID if tasks == "sinusoid" else {"name": tasks, "num_test_queries": 10})
    recording = metafunc.Recording(config=settings, log_every=1)
    metafunc.fit(*build(settings), steps=2, out=folder, recording=recording)
    if test:
        found = hardly_trained(algorithm, tasks)[2]
        report = meta_test.report(found, algorithm=algorithm, tasks=tasks, run=None, seed=0, steps=2)
        Run(folder).write("meta_test.json", report)
        calibration = pictures.calibration_of(found, algorithm=algorithm, steps=1)
        Run(folder).write(pictures.calibration_file("meta_test.json"), dict(calibration))
    return folder


def comparison_folder(folder: Path, run: Path, names: Mapping[str, str]) -> Path:
    """A comparison of learners: the algorithm of each by the name that it goes by."""
    compared = []
    for name, algorithm in names.items():
        learner, meta, test = hardly_trained(algorithm, "sinusoid")
        entry = comparison.Entry(name, (0,), (test,), 1, 3.0, 100)
        compared.append(Compared(entry, (Run(run),), learner, meta))
    folder.mkdir(exist_ok=True)
    write_json(folder / "compare.json", comparison.compare("sinusoid", [one.entry for one in compared]))
    pictures.write(pictures.pictures(compared, ["metafunc", "compare", *names]), folder)
    return folder
