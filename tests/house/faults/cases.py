"""Which faults are tried: some in the gate, many more in the night; chosen by a fixed seed, spread over all calls."""

from . import corruption
from .injection import Case, spread
from .machine import KINDS

SEED = 0
ERRORS = ("ENOSPC", "full", "EIO", "EACCES", "EDQUOT")
KILLS = ("kill before", "kill after")
SIGNALS = ("SIGTERM", "SIGHUP")

GATE_CALLS = [
    *spread("train", KINDS, 1, SEED),
    *spread("resume", ("EIO", "kill after"), 1, SEED),
    *spread("overwrite", ("full", "kill after"), 1, SEED),
    *spread("compare", ("ENOSPC", "EACCES", "kill before", "kill after", "SIGTERM"), 1, SEED),
    *spread("predict", ("ENOSPC", "EIO", "kill after", "short"), 1, SEED),
    *spread("eval", ("EDQUOT", "kill before"), 1, SEED),
]
NIGHTLY_CALLS = [
    *spread("train", KINDS, 8, SEED + 1),
    *spread("resume", KINDS, 3, SEED + 1),
    *spread("overwrite", KINDS, 4, SEED + 1),
    *spread("compare", KINDS, 5, SEED + 1),
    *spread("predict", KINDS, 3, SEED + 1),
    *spread("eval", KINDS, 2, SEED + 1),
    *spread("plot", (*ERRORS, *KILLS, *SIGNALS), 2, SEED + 1),
]

NAMED = {
    "a kill while compare writes seconds.json": ("compare", "kill after", "create .unfinished.seconds.json"),
    "a kill while compare writes compare.csv": ("compare", "kill after", "write .unfinished.compare.csv"),
    "a full disk while compare writes compare.json": ("compare", "full", "write .unfinished.compare.json"),
    "a full disk while compare writes compare.md": ("compare", "full", "write .unfinished.compare.md"),
    "a full disk at a line of the log": ("train", "full", "write metrics.jsonl"),
    "a closed terminal while a checkpoint is written": ("train", "SIGHUP", "write manifest.json"),
    "a closed terminal while a run is deleted": ("overwrite", "SIGHUP", "unlink tensors.safetensors"),
    "a kill while a run is deleted": ("overwrite", "kill after", "unlink manifest.json"),
    "a file that may not be deleted": ("overwrite", "EACCES", "unlink tensors.safetensors"),
    "a checkpoint that cannot be deleted": ("train", "EIO", "unlink manifest.json"),
    "a folder that knows no locks": ("train", "ENOLCK", "lock .lock"),
    "an error at closing the meta-test": ("train", "EIO", "close .unfinished.meta_test.json"),
    "a kill between two files of a prediction": ("predict", "kill before", "rename .unfinished.predicted.csv"),
}
"""Faults that have been found to do harm, each by the call that it came at."""

DAMAGED = {
    "another step size": ("resume", "config.json", b'"inner_lr": 0.01', b'"inner_lr": 0.81'),
    "another step size of a finished run": ("predict", "config.json", b'"inner_lr": 0.01', b'"inner_lr": 0.81'),
    "another seed": ("resume", "config.json", b'"seed": 0', b'"seed": 7'),
    "other tasks": ("eval", "config.json", b'"num_shots": 10', b'"num_shots": 11'),
    "a key of the data that is renamed": ("predict", "env.json", b'"num_outputs"', b'"num_output"'),
    "a key of the data's info that is renamed": ("predict", "env.json", b'"amplitude"', b'"amplitudes"'),
    "a key of the environment that is gone": ("predict", "env.json", b'  "threads": 1,\n', b""),
    "another number of threads": ("resume", "env.json", b'"threads": 1', b'"threads": 2'),
    "a line of the log that is overwritten": ("resume", "metrics.jsonl", b'"step": 4, "validation"', b'"step": 4, "a"'),
    "seconds that are half written": ("compare", "seconds.json", b'{\n  "seconds"', b'{\n  "sec'),
    "another step size in a comparison": ("compare", "config.json", b'"inner_lr": 0.01', b'"inner_lr": 0.81'),
    "a noise scale that was never fitted": ("predict", "meta_test.json", b'"noise_scale": ', b'"noise_scale": 1'),
}
"""Damage that was once used in silence: the command, the file, and what became what."""

GATE_DAMAGE = [
    case
    for i, case in enumerate(corruption.cases(("resume", "predict", "go on"), [SEED]))
    if i % 23 == 5
]  # fmt: skip
NIGHTLY_DAMAGE = [*corruption.cases(("resume", "go on", "predict", "eval", "compare"), [SEED + 1]),
                  *corruption.cases(("resume", "predict"), [SEED + 2]),
                  *(case for case in corruption.cases(("plot",), [SEED + 1]) if "step-" not in case.file)]  # fmt: skip

CUTS = {"train": 8, "compare": 3, "predict": 2}
"""Commands whose power is cut, and how many of the cuts are tried in the gate; in the night all of them are."""


def by_name(cases: list[Case] | list[corruption.Case]) -> dict[str, Case | corruption.Case]:
    """Cases by what they are called on pytest's command line."""
    return {case.name: case for case in cases}
