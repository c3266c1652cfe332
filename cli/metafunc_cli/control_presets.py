"""Settings of meta-reinforcement learning."""

from dataclasses import replace

from metafunc_cli.preset import FINN, Preset, Settings

NAVIGATION = f"{FINN}, section 5.3: 20 tasks of 20 trajectories; step sizes, noise and Adam outside are our own"


def navigation(name: str, algorithm: str, source: str = NAVIGATION, **sections: Settings) -> Preset:
    """2-D navigation: 20 tasks a step, judged on 40 goals after up to 3 steps."""
    training = {
        "steps": 100,
        "num_tasks": 20,
        "outer_lr": 1e-2,
        "schedule": "linear",
        "validate_every": None,
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
        hyper=sections.get("hyper", {}),
        network={"hidden": (64, 64), "activation": "tanh"},
        training=training | dict(sections.get("training", {})),
    )


LOCOMOTION = f"{FINN}, section 5.3: 20 trajectories, inner step .1; horizon, Adam outside and 20 tasks are our own"
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
        "Rothfuss et al. (2019): five outer steps on the same trajectories, on MAML's navigation",
        training={"outer_lr": 3e-3, "repeats": 5},
    ),
    navigation("bmaml-rl-navigation", "bmaml_rl", YOON),
    navigation("emaml-rl-navigation", "emaml_rl", YOON),
    navigation("pretrain-rl-navigation", "pretrain_rl"),
    *(
        replace(
            navigation(f"maml-rl-{tasks.replace('_', '-')}", "maml_rl", LOCOMOTION, hyper={"init_std": 1.0}),
            tasks=tasks,
        )
        for tasks in ("half_cheetah", "ant")
    ),
    navigation("random-navigation", "random", hyper={"inner_lr": 0.5}, training={"steps": 1}),
    navigation("oracle-navigation", "oracle"),
)
