"""Each paper's settings for an algorithm on a task family, with their source. The first that fits a pair is taken."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Settings = Mapping[str, Any]

PAPER_INIT: Settings = {"initialisation": "truncated_normal"}


@dataclass(frozen=True)
class Preset:
    """Settings by name; what is not set here is the builder's default.

    Args:
        name: for `--preset`.
        algorithm: a name, as are `tasks` and `model`.
        source: where the settings are from.
        hyper: the algorithm's settings.
        data: the family's.
        network: the network's.
        training: the outer loop's.
    """

    name: str
    algorithm: str
    tasks: str
    model: str
    source: str
    hyper: Settings = field(default_factory=dict)
    data: Settings = field(default_factory=dict)
    network: Settings = field(default_factory=dict)
    training: Settings = field(default_factory=dict)


FINN = "Finn, Abbeel, Levine (2017)"
LI = "Li, Zhou, Chen, Li (2017)"
RAGHU = "Raghu, Raghu, Bengio, Vinyals (2020)"


def _sinusoid(name: str, algorithm: str, source: str, **sections: Settings) -> Preset:
    """The protocol of MAML's sinusoids: 10 points, 25 tasks a step, 70,000 steps of Adam at .001, two layers of 40."""
    return Preset(
        name,
        algorithm,
        "sinusoid",
        "mlp",
        source,
        hyper=sections.get("hyper", {}),
        data={"num_shots": 10, "num_queries": 10, **sections.get("data", {})},
        network={"hidden": (40, 40), **sections.get("network", PAPER_INIT)},
        training={"steps": 70_000, "num_tasks": 25, "outer_lr": 1e-3, "validate_every": 5000}
        | dict(sections.get("training", {})),
    )


def _omniglot(name: str, algorithm: str, source: str, ways: int, shots: int, **sections: Any) -> Preset:
    """The protocol of MAML's Omniglot: as many queries as shots, 60,000 steps of Adam at .001, 64 strided filters."""
    return Preset(
        name,
        algorithm,
        sections.get("tasks", "omniglot"),
        sections.get("model", "conv4"),
        source,
        hyper=sections.get("hyper", {}),
        data={"num_ways": ways, "num_shots": shots, "num_queries": shots, **sections.get("data", {})},
        network=sections.get("network", {"filters": 64, "pooling": "stride"}),
        training={"steps": 60_000, "num_tasks": 32 if ways == 5 else 16, "outer_lr": 1e-3, "validate_every": 1000}
        | dict(sections.get("training", {})),
    )


FIVE_WAY: Settings = {"inner_lr": 0.4, "num_steps": 1}
TWENTY_WAY: Settings = {"inner_lr": 0.1, "num_steps": 5}
DENSE: Settings = {"hidden": (256, 128, 64, 64), "normalisation": "transductive", "initialisation": "he"}
FAST: Settings = {"inner_lr": 0.01, "num_steps": 1}
REPTILE = "Nichol, Achiam, Schulman (2018), the authors' commands"
REPTILE_HYPER: Settings = {"inner_lr": 1e-3, "num_steps": 5, "batch_size": 10}
REPTILE_OUTER: Settings = {"outer_optimiser": "sgd", "outer_lr": 1.0, "schedule": "linear", "num_tasks": 5}

PRESETS = (
    _sinusoid("maml-sinusoid", "maml", f"{FINN}, section 5.1", hyper=FAST),
    _sinusoid(
        "maml-sinusoid-extended",
        "maml",
        f"{FINN}, the authors' later network (a context vector, 5 steps); inner and outer step sizes are our own",
        hyper={"inner_lr": 0.001, "num_steps": 5},
        data={"num_shots": 5, "num_queries": 5},
        network={"hidden": (100, 100), "context": 10, "initialisation": "xavier"},
        training={"steps": 12_000, "outer_lr": 6e-3, "schedule": "cosine", "clip": 10.0},
    ),
    _omniglot("maml-omniglot-5w1s", "maml", f"{FINN}, section 5.2", 5, 1, hyper=FIVE_WAY),
    _omniglot("maml-omniglot-5w5s", "maml", f"{FINN}, section 5.2", 5, 5, hyper=FIVE_WAY),
    _omniglot("maml-omniglot-20w1s", "maml", f"{FINN}, section 5.2", 20, 1, hyper=TWENTY_WAY),
    _omniglot("maml-omniglot-20w5s", "maml", f"{FINN}, section 5.2", 20, 5, hyper=TWENTY_WAY),
    _omniglot("maml-omniglot-dense", "maml", f"{FINN}, 'no conv'", 5, 1, hyper=FIVE_WAY, model="mlp", network=DENSE),
    _omniglot(
        "maml-glyphs-dense",
        "maml",
        "our own: MAML's 'no conv' network on the embedded images",
        5,
        1,
        tasks="glyphs",
        hyper=FIVE_WAY,
        model="mlp",
        network=DENSE,
        training={"steps": 2000, "num_tasks": 16, "validate_every": 500},
    ),
    _sinusoid("fomaml-sinusoid", "fomaml", f"{FINN}, section 5.2, without second derivatives", hyper=FAST),
    _omniglot("fomaml-omniglot", "fomaml", f"{FINN}, without second derivatives", 5, 1, hyper=FIVE_WAY),
    _sinusoid(
        "reptile-sinusoid",
        "reptile",
        "Nichol, Achiam, Schulman (2018), section 2: 50 points at once, one task a step, 30,000 steps",
        hyper={"inner_lr": 0.02, "num_steps": 5, "batch_size": 10, "optimiser": "sgd"},
        data={"num_shots": 10, "num_queries": 40},
        network={"hidden": (64, 64), "activation": "tanh"},
        training={"steps": 30_000, "num_tasks": 1, "outer_optimiser": "sgd", "outer_lr": 0.1, "schedule": "linear"},
    ),
    _omniglot(
        "reptile-omniglot",
        "reptile",
        REPTILE,
        5,
        1,
        hyper=REPTILE_HYPER,
        data={"num_queries": 9},
        network={"filters": 64, "pooling": "stride"},
        training={"steps": 100_000, **REPTILE_OUTER},
    ),
    _omniglot(
        "reptile-omniglot-20w1s",
        "reptile",
        REPTILE,
        20,
        1,
        hyper={"inner_lr": 5e-4, "num_steps": 10, "batch_size": 20},
        data={"num_queries": 9},
        training={"steps": 200_000, **REPTILE_OUTER},
    ),
    _sinusoid("meta-sgd-sinusoid", "meta_sgd", f"{LI}, on MAML's protocol", hyper=FAST),
    _omniglot(
        "meta-sgd-omniglot", "meta_sgd", f"{LI}, on MAML's protocol", 5, 1, hyper={"inner_lr": 0.1, "num_steps": 1}
    ),
    _sinusoid(
        "anil-sinusoid", "anil", f"{RAGHU}: MAML's protocol, last layer only", hyper={"inner_lr": 0.01, "num_steps": 5}
    ),
    _omniglot("anil-omniglot", "anil", f"{RAGHU}: MAML's protocol, last layer only", 20, 1, hyper=TWENTY_WAY),
    _omniglot(
        "maml-plus-plus-omniglot",
        "maml_plus_plus",
        "Antoniou, Edwards, Storkey (2019): 100 epochs of 500 steps, the multi-step loss in the first 15",
        20,
        1,
        hyper={"inner_lr": 0.1, "num_steps": 5, "multi_step_epochs": 15, "steps_per_epoch": 500},
        training={"steps": 50_000, "num_tasks": 16, "schedule": "cosine"},
    ),
    _omniglot(
        "imaml-omniglot",
        "imaml",
        "Rajeswaran, Finn, Kakade, Levine (2019): 16 inner steps, strength 2, 5 steps of conjugate gradients",
        5,
        1,
        hyper={"num_steps": 16, "strength": 2.0, "cg_steps": 5},
        training={"steps": 20_000},
    ),
    _omniglot(
        "protonet-omniglot",
        "protonet",
        "Snell, Swersky, Zemel (2017), trained at the 20 ways that are tested (theirs: 60)",
        20,
        1,
        data={"num_queries": 5},
        network={"filters": 64, "pooling": "max"},
        training={"steps": 20_000, "num_tasks": 1},
    ),
    _omniglot(
        "protonet-glyphs",
        "protonet",
        "our own: a strided network of 32 filters, small enough for two cores",
        5,
        1,
        tasks="glyphs",
        data={"num_queries": 5},
        network={"filters": 32, "pooling": "stride"},
        training={"steps": 2000, "num_tasks": 4, "validate_every": 500},
    ),
    _sinusoid(
        "cnp-sinusoid",
        "cnp",
        "Garnelo et al. (2018), layers of 128, on MAML's protocol",
        network={"hidden": (128, 128, 128)},
    ),
    _sinusoid(
        "pretrain-sinusoid",
        "pretrain",
        f"{FINN}, the pretrained baseline",
        hyper={"inner_lr": 0.02, "num_steps": 10},
    ),
    _sinusoid(
        "scratch-sinusoid",
        "scratch",
        f"{FINN}, random initialisation; the one step changes nothing",
        hyper={"inner_lr": 0.02, "num_steps": 10},
        training={"steps": 1},
    ),
    _sinusoid(
        "quick",
        "maml",
        "our own: Glorot's initialisation has no plateau, and a large, falling step size does the rest in seconds",
        hyper=FAST,
        network={"initialisation": "xavier"},
        training={"steps": 2000, "outer_lr": 1e-2, "schedule": "cosine", "validate_every": 500},
    ),
)
