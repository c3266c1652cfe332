"""Small settings for every algorithm and task family: a first look that ends within a minute on two cores.

What is made small is how much there is of everything, and never what a method is: fewer and cheaper outer steps, fewer
particles, draws and trajectories, narrower networks, coarser grids, fewer tasks to test on.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from metafunc_cli.presets.preset import Settings

KIND_STEPS = {"regression": 800, "classification": 800, "control": 8}
"""Outer steps by the kind of tasks."""
SLOWER: Settings = {
    **dict.fromkeys(("maml_plus_plus", "llama", "mr_maml_w", "mr_maml_a", "deep_ensemble", "convcnp", "pacoh_gp"), 1.5),
    **dict.fromkeys(("bmaml", "anp", "tnp", "platipus"), 2),
    **dict.fromkeys(("imaml", "pcoc", "metaqda"), 3),
    **dict.fromkeys(("abml", "vampire"), 4),
    "dkt": 5,
    "pacoh": 8,
}
"""By algorithm, how many times longer than MAML's a step takes."""
LARGER: Settings = {
    **dict.fromkeys(("gp", "pose", "half_cheetah", "ant"), 2),
    **dict.fromkeys(("omniglot", "tiny_omniglot", "glyphs", "few_shot", "completion"), 4),
}
"""By task family, how many times longer than on sine curves, or the usual ones of its kind, a step takes."""
HYPER = {
    "num_particles": 4,
    "num_steps": 5,
    "cg_steps": 3,
    "num_layers": 2,
    "num_inducing": 30,
    "num_trajectories": 10,
    "test_trajectories": 10,
    "points_per_unit": 16,
}
"""The most that an algorithm's settings may be."""
DATA = {"num_ways": 5, "num_queries": 15, "num_test_queries": 50}
OF_FAMILY: Mapping[str, Mapping[str, Mapping[str, int]]] = {
    "completion": {"tasks": {"side": 14}},
    "cauchy": {"algorithm": {"points_per_unit": 3}},
    "ant": {
        "algorithm": {"num_trajectories": 3, "test_trajectories": 3, "num_particles": 2},
        "tasks": {"horizon": 40},
    },
}
"""What else is made small for a family, by section: attention and Gaussian processes go over all pairs of an image's
pixels, a grid over two inputs has its points squared, and an ant that stays upright is simulated to the end."""
OF_ALGORITHM: Mapping[tuple[str, str], Mapping[str, float]] = {("imaml", "regression"): {"inner_lr": 0.01}}
"""What else is made small of an algorithm on tasks of a kind: the usual step size of implicit MAML is for characters,
and with it the loss of some lines and sines is infinite before the first outer step."""
OF_NETWORK: Mapping[str, Mapping[str, Mapping[str, int]]] = {
    name: {"algorithm": {"num_particles": 2}, "tasks": {"num_queries": 5}} for name in ("conv4", "resnet12")
}
"""What else is made small on a network, by section. On small ones a step takes hardly longer for all particles; on
convolutions, which keep a core busy, as many times longer as there are of them, and there are fewer steps as well."""
DEEPER = {"resnet12": 2}
"""By network, how many times longer than on four convolutions a step takes."""
TEST_TASKS = {"conv4": 50, "resnet12": 50}
"""By network, the tasks of the meta-test, where they are not 100."""
NETWORK = {"hidden": 64, "filters": 16, "width": 8}
LEAST_STEPS = 5
BOUND: Mapping[tuple[str, str], float] = {("maml_plus_plus", "regression"): 10.0}
"""By algorithm and kind of tasks, the bound on every element of the meta-gradient, where none is given: the step sizes
that are learned are soon too long for some lines, with an infinite loss."""
RATE = 3e-3
"""The outer step size, where a paper's is smaller: few steps have to do."""


def made_small(
    names: Mapping[str, str], usual: Mapping[str, Settings], classes: Mapping[str, type], kind: str, *, trains: bool
) -> dict[str, Settings]:
    """The settings of a preset, or the builders' defaults, made small.

    Args:
        names: of the algorithm, the task family and the network, by section.
        usual: what differs from the builders' defaults, by section; with `training`.
        classes: the dataclasses of the settings, by section.
        kind: of the tasks.
        trains: whether meta-training changes anything.
    """
    small = {
        section: {**usual[section], **_bounded(usual[section], classes[section], most)}
        for section, most in bounds(names, kind).items()
    }
    particles = small["algorithm"].get("num_particles", _default(classes["algorithm"], "num_particles"))
    at_a_time = particles if names["model"] in OF_NETWORK and particles else 1
    longer = at_a_time * DEEPER.get(names["model"], 1)
    training = _training(names, usual["training"], kind, trains=trains, times_longer=longer)
    return {**small, "training": {**usual["training"], **training}}


def bounds(names: Mapping[str, str], kind: str) -> dict[str, dict[str, float]]:
    """The most that settings may be, by section.

    Examples:
        >>> names = {"algorithm": "bmaml", "tasks": "omniglot", "model": "conv4"}
        >>> bounds(names, "classification")["algorithm"]["num_particles"]
        2
    """
    of_family, of_network = OF_FAMILY.get(names["tasks"], {}), OF_NETWORK.get(names["model"], {})
    algorithm = {**HYPER, **OF_ALGORITHM.get((names["algorithm"], kind), {})}
    usual: Mapping[str, Mapping[str, float]] = {"algorithm": algorithm, "tasks": DATA, "model": NETWORK}
    return {
        section: {**most, **of_network.get(section, {}), **of_family.get(section, {})}
        for section, most in usual.items()
    }


def _default(settings: type, name: str) -> Any:
    """The default of a field; None where there is no such field."""
    return next((field.default for field in fields(settings) if field.name == name), None)


def _bounded(given: Settings, settings: type, most: Mapping[str, float]) -> dict[str, Any]:
    """What is larger than it may be."""
    known = {field.name: given.get(field.name, field.default) for field in fields(settings)}
    return {
        name: _at_most(known[name], bound)
        for name, bound in most.items()
        if known.get(name) not in (None, MISSING) and _at_most(known[name], bound) != known[name]
    }


def _at_most(value: Any, bound: float) -> Any:
    """A number, or each of several."""
    return tuple(min(each, bound) for each in value) if isinstance(value, list | tuple) else min(value, bound)


def _training(
    names: Mapping[str, str], given: Settings, kind: str, *, trains: bool, times_longer: int
) -> dict[str, Any]:
    slower = SLOWER.get(names["algorithm"], 1) * LARGER.get(names["tasks"], 1) * times_longer
    most = max(LEAST_STEPS, round(KIND_STEPS[kind] / slower)) if trains else 1
    steps = min(given.get("steps", most), most)
    control = kind == "control"
    small: dict[str, Any] = {
        "steps": steps,
        "num_tasks": min(given.get("num_tasks", 8), 8),
        "checkpoint_every": steps,
        "test_tasks": 10 if control else TEST_TASKS.get(names["model"], 100),
        "test_steps": min(given.get("test_steps", 10), 3 if control else 10),
    }
    if (bound := BOUND.get((names["algorithm"], kind))) is not None and given.get("clip") is None:
        small["clip"] = bound
    if given.get("validate_every", 1) is not None:
        small["validate_every"] = max(1, steps // 2)
    if given.get("outer_optimiser", "adam") == "adam":
        small["outer_lr"] = max(given.get("outer_lr", RATE), RATE)
        small["schedule"] = "cosine" if given.get("schedule", "constant") == "constant" else given["schedule"]
    return small
