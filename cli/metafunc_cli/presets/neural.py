"""The settings of neural processes, most on functions drawn from Gaussian processes, with their source."""

from metafunc_cli.presets.preset import Preset, Settings

BRUINSMA = "Bruinsma et al. (2021), the authors' `neuralprocesses`"
NGUYEN = "Nguyen, Grover (2022), the authors' code"


def _gp(
    name: str,
    algorithm: str,
    source: str,
    *,
    hyper: Settings | None = None,
    data: Settings | None = None,
    network: Settings | None = None,
    training: Settings | None = None,
) -> Preset:
    """The protocol of fixed kernels: up to 30 support points, 16 tasks per step, 100,000 steps of Adam at .0003."""
    return Preset(
        name,
        algorithm,
        "gp",
        "mlp",
        source,
        hyper=hyper or {},
        data=data or {},
        network={"hidden": (128, 128, 128), "initialisation": "xavier"} | dict(network or {}),
        training={"steps": 100_000, "num_tasks": 16, "outer_lr": 3e-4, "clip": 10.0, "validate_every": 5000}
        | dict(training or {}),
    )


NEURAL: tuple[Preset, ...] = (
    _gp(
        "cnp-gp", "cnp", f"{BRUINSMA}; the floor of the noise and the network are our own", hyper={"noise_floor": 0.01}
    ),
    _gp(
        "np-gp",
        "np",
        f"our own: the method of Garnelo et al. (2018) by the objective of Foong et al. (2020), on {BRUINSMA}",
        hyper={"objective": "npml", "num_particles": 20, "noise_floor": 0.01},
    ),
    _gp(
        "anp-gp",
        "anp",
        f"our own: the method of Kim et al. (2019), on {BRUINSMA}; the floor of the noise is our own",
        hyper={"noise_floor": 0.01},
    ),
    _gp(
        "convcnp-gp",
        "convcnp",
        f"{BRUINSMA}, 64 points per unit; dilated convolutions that see four units far in the place of their U-net",
        hyper={"points_per_unit": 64, "num_layers": 7, "span": 8.0},
        network={"hidden": (32,)},
    ),
    _gp(
        "tnp-gp",
        "tnp",
        f"{NGUYEN}: random hyperparameters, 6 layers of width 64, Adam at .0005 with half a cosine",
        data={"hyperparameters": "random"},
        network={"hidden": (64, 64, 64)},
        training={"outer_lr": 5e-4, "schedule": "cosine"},
    ),
    _gp(
        "tnp-gp-fixed",
        "tnp",
        f"our own: the network of {NGUYEN}, on {BRUINSMA}",
        network={"hidden": (64, 64, 64)},
        training={"outer_lr": 5e-4, "schedule": "cosine"},
    ),
    Preset(
        "convcnp-completion",
        "convcnp",
        "completion",
        "mlp",
        f"our own: the network of {BRUINSMA}, in two dimensions, on a grid about as fine as the pixels",
        hyper={"points_per_unit": 14, "span": 2.0, "num_layers": 4},
        data={},
        network={"hidden": (32,), "initialisation": "xavier"},
        training={
            "steps": 2000,
            "num_tasks": 8,
            "outer_lr": 1e-3,
            "schedule": "cosine",
            "clip": 10.0,
            "validate_every": 500,
        },
    ),
    Preset(
        "tnp-sine-or-line",
        "tnp",
        "sine_or_line",
        "mlp",
        f"our own: the network of {NGUYEN} with 4 of its 6 layers, on the ambiguous tasks of Finn, Xu, Levine (2018)",
        hyper={"num_layers": 4},
        data={"num_shots": 5, "num_queries": 30},
        network={"hidden": (64, 64, 64), "initialisation": "xavier"},
        training={
            "steps": 20_000,
            "num_tasks": 16,
            "outer_lr": 1e-3,
            "schedule": "cosine",
            "clip": 10.0,
            "validate_every": 5000,
        },
    ),
)
