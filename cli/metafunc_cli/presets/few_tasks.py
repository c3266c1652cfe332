"""The settings of Gaussian processes that learn from few tasks, with their source."""

from metafunc_cli.presets.preset import Preset, Settings

ROTHFUSS = "Rothfuss, Fortuin, Josifoski, Krause (2021)"
LIN = "Lin, Ament et al. (2026)"
SHOTS = {"trend": 5, "cauchy": 20}
"""Points of a task in PACOH's experiments, where training and testing have the same number."""


def _few(
    name: str, algorithm: str, tasks: str, source: str, *, hyper: Settings, network: Settings, training: Settings
) -> Preset:
    """The protocol of few tasks: 20 of them, 5 or 20 points and 5 queries beside, and no validation, which would see
    more tasks."""
    return Preset(
        name,
        algorithm,
        tasks,
        "mlp",
        source,
        hyper=hyper,
        data={"num_train_tasks": 20, "num_shots": SHOTS[tasks], "num_queries": 5},
        network=network,
        training={"steps": 10_000, "num_tasks": 5, "outer_lr": 1e-3, "validate_every": None, **training},
    )


FOUR_LAYERS: Settings = {"hidden": (32, 32, 32, 32), "activation": "tanh"}
TEN_PRIORS: Settings = {"num_particles": 10, "num_train_tasks": 20, "weight_spread": 0.5, "bias_spread": 3.0}
LAIRD = "Laird and Ware (1982)"
GRADIENTS: Settings = {"steps": 2000, "num_tasks": 20, "outer_lr": 1e-2, "schedule": "cosine"}

FEW_TASKS: tuple[Preset, ...] = (
    Preset(
        "mixed-table",
        "mixed",
        "regression",
        "mlp",
        f"our own: the method of {LAIRD}, by gradients, as metafunc auto trains it",
        training={"steps": 300, "num_tasks": 8, "outer_lr": 0.03, "schedule": "cosine", "clip": 10.0}
        | {"validate_every": 100},
    ),
    *(
        _few(
            f"pacoh-gp-{tasks}",
            "pacoh_gp",
            tasks,
            f"{ROTHFUSS}, the authors' code: 10 priors of four tanh layers of 32, Adam at .001; 5 queries and 5 "
            "tasks per step are our own",
            hyper=TEN_PRIORS,
            network=FOUR_LAYERS,
            training={},
        )
        for tasks in SHOTS
    ),
    _few(
        "empirical-gp-trend",
        "empirical_gp",
        "trend",
        f"our own: the method of {LIN}, by gradients, on the tasks of {ROTHFUSS}",
        hyper={"num_inducing": 30, "low": -5.0, "high": 5.0, "num_train_tasks": 20},
        network={},
        training=GRADIENTS,
    ),
    _few(
        "empirical-gp-cauchy",
        "empirical_gp",
        "cauchy",
        f"our own: the method of {LIN}, by gradients, on the tasks of {ROTHFUSS} and a grid of 8 x 8",
        hyper={"num_inducing": 64, "low": -7.5, "high": 5.0, "lengthscale": 2.0, "num_train_tasks": 20},
        network={},
        training=GRADIENTS,
    ),
    _few(
        "mixed-trend",
        "mixed",
        "trend",
        f"our own: the method of {LAIRD} with natural splines, by gradients, on the tasks of {ROTHFUSS}",
        hyper={"features": "spline", "num_knots": 9, "low": -5.0, "high": 5.0, "num_train_tasks": 20},
        network={},
        training=GRADIENTS,
    ),
    _few(
        "dkt-trend",
        "dkt",
        "trend",
        f"our own: the method of Patacchiola et al. (2020) on the tasks and the network of {ROTHFUSS}, without a "
        "hyper-prior",
        hyper={"kernel": "rbf", "noise_scale": 0.1},
        network=FOUR_LAYERS,
        training={},
    ),
)
