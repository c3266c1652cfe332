"""Settings of meta-reinforcement learning."""

from dataclasses import replace

from metafunc_cli.presets.preset import FINN, Preset, Settings

NAVIGATION = f"{FINN}, section 5.3: 20 tasks of 20 trajectories; step sizes, noise and Adam outside are our own"
CALM: Settings = {"init_std": 0.4, "later_lr": 0.35}
"""What lets a point stop at its goal: less noise, and later steps that do not overshoot; by validation goals."""
USUAL: Settings = {"init_std": 0.5, "later_lr": 0.5}
FEW: Settings = {"init_std": 0.5, "num_trajectories": 10, "test_trajectories": 20}
PROXIMAL: Settings = {"outer_lr": 3e-3, "repeats": 5}


def navigation(name: str, algorithm: str, source: str = NAVIGATION, **sections: Settings) -> Preset:
    """2-D navigation: 20 tasks per step, judged on 40 goals after up to 3 steps."""
    training = {
        "steps": 100,
        "num_tasks": 20,
        "outer_lr": 1e-2,
        "schedule": "linear",
        "validate_every": 20,
        "checkpoint_every": 100,
        "test_tasks": 40,
        "test_steps": 3,
    }
    return Preset(
        name,
        algorithm,
        "navigation",
        "mlp",
        source,
        hyper={**CALM, **sections.get("hyper", {})},
        network={"hidden": (64, 64), "activation": "tanh"},
        training=training | dict(sections.get("training", {})),
    )


LOCOMOTION = f"{FINN}, section 5.3: 20 trajectories, inner step .1; horizon, Adam outside and 20 tasks are our own"
PROMP = "Rothfuss et al. (2019): five outer steps on the same trajectories"
YOON = "Yoon et al. (2018), section 5.3: 5 particles of 10 trajectories; step sizes and Adam outside are our own"

CONTROL: tuple[Preset, ...] = (
    navigation("maml-rl-navigation", "maml_rl"),
    navigation(
        "e-maml-navigation",
        "maml_rl",
        "Stadie et al. (2018), on MAML's navigation: the exact gradient of the sampled objective",
        hyper={"credit": "sampling"},
    ),
    navigation("fomaml-rl-navigation", "fomaml_rl"),
    navigation(
        "promp-navigation",
        "promp",
        f"{PROMP}, on MAML's navigation",
        training=PROXIMAL,
    ),
    navigation("bmaml-rl-navigation", "bmaml_rl", YOON, hyper=USUAL),
    navigation("emaml-rl-navigation", "emaml_rl", YOON),
    navigation("pretrain-rl-navigation", "pretrain_rl"),
    *(
        replace(
            navigation(
                f"{algorithm.replace('_', '-')}-{tasks.replace('_', '-')}",
                algorithm,
                source,
                hyper={"later_lr": 0.5, **hyper},
                training={"validate_every": None, **training},
            ),
            tasks=tasks,
        )
        for tasks in ("half_cheetah", "ant")
        for algorithm, source, hyper, training in (
            ("maml_rl", LOCOMOTION, {"init_std": 1.0}, {}),
            ("promp", f"{PROMP}; 20 tasks of 10 trajectories, noise and step sizes are our own", FEW, PROXIMAL),
        )
    ),
    navigation(
        "random-navigation",
        "random_policy",
        hyper={"inner_lr": 0.5, "init_std": 1.0, "later_lr": 0.5},
        training={"steps": 1},
    ),
    replace(navigation("oracle-navigation", "oracle_policy"), hyper={}),
)
