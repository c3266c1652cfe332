"""The settings of the Bayesian algorithms, with their source."""

from metafunc_cli.presets.preset import Preset, Settings, omniglot, sinusoid

FINN_XU = "Finn, Xu, Levine (2018)"
YOON = "Yoon, Kim et al. (2018)"
UNCONFIRMED = "the step size .001 is recalled from the appendix, not confirmed"
YIN = "Yin, Tucker, Zhou, Levine, Finn (2020)"

ROTHFUSS = "Rothfuss, Fortuin, Josifoski, Krause (2021)"

TEMPERED: Settings = {"tempering": 0.5, "prior_weight": 0.1}
NME_HYPER: Settings = {"inner_lr": 0.01, "num_steps": 1}


def _nme_sinusoid(
    name: str, algorithm: str, source: str, *, hyper: Settings, network: Settings, training: Settings
) -> Preset:
    """The protocol of sine curves that can be memorised: 5 points, one task per step, 100 steps in testing."""
    return Preset(
        name,
        algorithm,
        "nme_sinusoid",
        "mlp",
        source,
        hyper=hyper,
        data={"num_shots": 5, "num_queries": 5},
        network=network,
        training={"steps": 15_000, "num_tasks": 1, "outer_lr": 1e-3, "test_steps": 100, **training},
    )


def _sine_or_line(name: str, algorithm: str, source: str, *, hyper: Settings) -> Preset:
    """PLATIPUS's ambiguous regression: 5 noisy points, 25 tasks per step, 70,000 steps."""
    return Preset(
        name,
        algorithm,
        "sine_or_line",
        "mlp",
        source,
        hyper=hyper,
        data={"num_shots": 5, "num_queries": 45},
        network={"hidden": (100, 100, 100), "context": 20, "initialisation": "xavier"},
        training={"steps": 70_000, "num_tasks": 25, "outer_lr": 1e-3, "validate_every": 5000, "clip": 10.0},
    )


def _few_tasks(name: str, algorithm: str, source: str, hyper: Settings) -> Preset:
    """The protocol of few sine curves: 5 points of 100 fixed tasks, 10 tasks per step, 100,000 steps, three layers."""
    return Preset(
        name,
        algorithm,
        "few_task_sinusoid",
        "mlp",
        source,
        hyper=hyper,
        data={"num_train_tasks": 100, "num_shots": 5, "num_queries": 5},
        network={"hidden": (40, 40, 40)},
        training={"steps": 100_000, "num_tasks": 10, "outer_lr": 1e-3, "schedule": "cosine", "validate_every": 5000},
    )


BAYESIAN: tuple[Preset, ...] = (
    sinusoid(
        "platipus-sinusoid",
        "platipus",
        f"{FINN_XU}, five inner steps, on MAML's protocol, Glorot's initialisation; {UNCONFIRMED}; the rest is our own",
        hyper={"inner_lr": 1e-3, "num_steps": 5, "kl_weight": 0.1},
        network={"initialisation": "xavier"},
    ),
    sinusoid(
        "maml-noise-sinusoid",
        "maml_noise",
        f"{FINN_XU}, the baseline, on MAML's protocol; the noise is our own",
        hyper={"inner_lr": 0.01, "num_steps": 1, "noise_scale": 0.02},
        network={"initialisation": "xavier"},
    ),
    omniglot(
        "mr-maml-w-omniglot",
        "mr_maml_w",
        f"{YIN}, on Omniglot's usual, mutually exclusive tasks; the weight of the divergence is within their grid",
        20,
        1,
        hyper={"inner_lr": 0.1, "num_steps": 5, "kl_weight": 1e-7, "encoder": "layer1.,norm1."},
    ),
    omniglot(
        "mr-maml-a-omniglot",
        "mr_maml_a",
        f"our own: {YIN}'s method over MAML's 'no conv' network, before and behind the code",
        20,
        1,
        model="mlp",
        hyper={"inner_lr": 0.1, "num_steps": 5, "kl_weight": 1e-3},
        network={"hidden": (256, 128), "initialisation": "he"},
    ),
    sinusoid(
        "mr-cnp-w-sinusoid",
        "mr_cnp_w",
        f"our own: {YIN}'s method on MAML's protocol, with layers of 128",
        network={"hidden": (128, 128)},
    ),
    sinusoid(
        "mr-cnp-a-sinusoid",
        "mr_cnp_a",
        f"our own: {YIN}'s method on MAML's protocol, with layers of 128",
        network={"hidden": (128, 128)},
    ),
    sinusoid(
        "abml-sinusoid",
        "abml",
        "our own: the method of Ravi, Beatson (2019) on MAML's protocol",
        hyper={"inner_lr": 0.01, "num_steps": 5, "kl_weight": 1e-3},
        network={"initialisation": "xavier"},
    ),
    sinusoid(
        "vampire-sinusoid",
        "vampire",
        "our own: the method of Nguyen, Do, Carneiro (2020) on MAML's protocol",
        hyper={"inner_lr": 0.01, "num_steps": 5, "kl_weight": 1e-3},
        network={"initialisation": "xavier"},
    ),
    sinusoid(
        "llama-sinusoid",
        "llama",
        "Grant et al. (2018): their weight of the curvature, on MAML's protocol",
        hyper={"inner_lr": 0.01, "num_steps": 1, "curvature_weight": 1e-6},
    ),
    sinusoid(
        "bmaml-sinusoid",
        "bmaml",
        f"{YOON}, their settings and (as a cosine) their falling step size on MAML's protocol",
        hyper={"num_particles": 10, "inner_lr": 1e-3, "num_steps": 1, "leader_steps": 1},
        network={"hidden": (40, 40, 40), "initialisation": "xavier"},
        training={"schedule": "cosine"},
    ),
    sinusoid(
        "emaml-sinusoid",
        "emaml",
        f"{YOON}, the ensemble without a kernel, on MAML's protocol",
        hyper={"num_particles": 10, "inner_lr": 0.01, "num_steps": 1},
        network={"initialisation": "xavier"},
        training={"schedule": "cosine"},
    ),
    sinusoid(
        "pacoh-sinusoid",
        "pacoh",
        f"our own: the method of {ROTHFUSS} on MAML's protocol, with the tempering of their code",
        hyper={"inner_lr": 0.03, "num_steps": 20, "num_train_tasks": 10_000, "hyperprior_weight": 1e-3, **TEMPERED},
        network={"initialisation": "xavier"},
        training={"steps": 10_000, "outer_lr": 3e-3},
    ),
    Preset(
        "pacoh-tiny-omniglot",
        "pacoh",
        "tiny_omniglot",
        "mlp",
        f"our own: the method of {ROTHFUSS} for two cores: a weaker hyper-prior memorises, this one shrinks in time",
        hyper={
            "inner_lr": 0.01,
            "num_steps": 20,
            "num_particles": 3,
            "num_train_tasks": 30,
            "scale": 0.1,
            "hyperprior_weight": 0.1,
            **TEMPERED,
        },
        network={"hidden": (64, 64), "initialisation": "he"},
        training={"steps": 120, "num_tasks": 4, "outer_lr": 2e-3, "test_steps": 20},
    ),
    _nme_sinusoid(
        "maml-nme-sinusoid",
        "maml",
        f"{YIN}, section 6.1, the baseline",
        hyper=NME_HYPER,
        network={"hidden": (40, 40)},
        training={"outer_optimiser": "adam"},
    ),
    _nme_sinusoid(
        "mr-maml-w-nme-sinusoid",
        "mr_maml_w",
        f"{YIN}, section 6.1, as the authors' notebook: no noise to speak of, and an Adam that forgets at every step",
        hyper={**NME_HYPER, "kl_weight": 5e-5, "encoder": "layer1.,layer2.", "scale": 1e-20, "num_particles": 1},
        network={"hidden": (100, 5, 40, 40)},
        training={"outer_optimiser": "sign"},
    ),
    _sine_or_line(
        "platipus-sine-or-line",
        "platipus",
        f"{FINN_XU}, the authors' command as others quote it: three layers of 100, a context of 20; {UNCONFIRMED}",
        hyper={"inner_lr": 1e-3, "num_steps": 5, "kl_weight": 0.1},
    ),
    _sine_or_line(
        "maml-sine-or-line",
        "maml",
        f"{FINN_XU}, the baseline on the same network; {UNCONFIRMED}",
        hyper={"inner_lr": 1e-3, "num_steps": 5},
    ),
    _sine_or_line(
        "maml-noise-sine-or-line",
        "maml_noise",
        f"{FINN_XU}, the baseline on the same network; {UNCONFIRMED}; the noise is our own",
        hyper={"inner_lr": 1e-3, "num_steps": 5, "noise_scale": 0.02},
    ),
    _few_tasks(
        "emaml-few-tasks",
        "emaml",
        f"{YOON}, section 5.1 and the authors' code",
        {"num_particles": 10, "inner_lr": 1e-3, "num_steps": 1},
    ),
    _few_tasks(
        "bmaml-few-tasks",
        "bmaml",
        f"{YOON}, section 5.1 and the authors' code; their step size falls exponentially to 13 %, here along a cosine",
        {"num_particles": 10, "inner_lr": 1e-3, "num_steps": 1, "leader_steps": 1},
    ),
    _few_tasks(
        "deep-ensemble-few-tasks",
        "deep_ensemble",
        f"our own: the ensemble that does not meta-learn, on the tasks of {YOON}",
        {"num_particles": 10, "inner_lr": 0.02, "num_steps": 10},
    ),
    sinusoid(
        "alpaca-sinusoid",
        "alpaca",
        "our own: the method of Harrison, Sharma, Pavone (2018), with tanh as theirs, on MAML's protocol",
        hyper={"noise_scale": 0.1},
        network={"hidden": (128, 128), "activation": "tanh", "initialisation": "xavier"},
    ),
    sinusoid(
        "dkt-sinusoid",
        "dkt",
        "our own: the method and network of Patacchiola et al. (2020), on MAML's protocol",
        hyper={"kernel": "spectral", "noise_scale": 0.1},
        network={"hidden": (40,), "initialisation": "xavier"},
    ),
    omniglot(
        "versa-omniglot",
        "versa",
        "our own: the method of Gordon et al. (2019) over MAML's 'no conv' network on its protocol, 10 draws as theirs",
        5,
        5,
        model="mlp",
        hyper={"num_particles": 10},
        network={"hidden": (256, 128), "initialisation": "he"},
    ),
)
