"""Each paper's settings for an algorithm on a task family, with their source. The first that fits a pair is taken."""

from metafunc_cli.presets.bayesian import BAYESIAN
from metafunc_cli.presets.control import CONTROL
from metafunc_cli.presets.few_tasks import FEW_TASKS
from metafunc_cli.presets.neural import NEURAL
from metafunc_cli.presets.preset import FINN, Preset, Settings, omniglot, sinusoid

LI = "Li, Zhou, Chen, Li (2017)"
RAGHU = "Raghu, Raghu, Bengio, Vinyals (2020)"
FIVE_WAY: Settings = {"inner_lr": 0.4, "num_steps": 1}
TWENTY_WAY: Settings = {"inner_lr": 0.1, "num_steps": 5}
DENSE: Settings = {"hidden": (256, 128, 64, 64), "normalisation": "transductive", "initialisation": "he"}
FAST: Settings = {"inner_lr": 0.01, "num_steps": 1}
REPTILE = "Nichol, Achiam, Schulman (2018), the authors' commands"
REPTILE_HYPER: Settings = {"inner_lr": 1e-3, "num_steps": 5, "batch_size": 10}
REPTILE_OUTER: Settings = {"outer_optimiser": "sgd", "outer_lr": 1.0, "schedule": "linear", "num_tasks": 5}

PRESETS: tuple[Preset, ...] = (
    sinusoid("maml-sinusoid", "maml", f"{FINN}, section 5.1", hyper=FAST),
    sinusoid(
        "maml-sinusoid-extended",
        "maml",
        f"{FINN}, the authors' later network (a context vector, 5 steps); inner and outer step sizes are our own",
        hyper={"inner_lr": 0.001, "num_steps": 5},
        data={"num_shots": 5, "num_queries": 5},
        network={"hidden": (100, 100), "context": 10, "initialisation": "xavier"},
        training={"steps": 12_000, "outer_lr": 6e-3, "schedule": "cosine", "clip": 10.0},
    ),
    omniglot("maml-omniglot-5w1s", "maml", f"{FINN}, section 5.2", 5, 1, hyper=FIVE_WAY),
    omniglot("maml-omniglot-5w5s", "maml", f"{FINN}, section 5.2", 5, 5, hyper=FIVE_WAY),
    omniglot("maml-omniglot-20w1s", "maml", f"{FINN}, section 5.2", 20, 1, hyper=TWENTY_WAY),
    omniglot("maml-omniglot-20w5s", "maml", f"{FINN}, section 5.2", 20, 5, hyper=TWENTY_WAY),
    omniglot("maml-omniglot-dense", "maml", f"{FINN}, 'no conv'", 5, 1, hyper=FIVE_WAY, model="mlp", network=DENSE),
    omniglot(
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
    sinusoid("fomaml-sinusoid", "fomaml", f"{FINN}, section 5.2, without second derivatives", hyper=FAST),
    omniglot("fomaml-omniglot", "fomaml", f"{FINN}, without second derivatives", 5, 1, hyper=FIVE_WAY),
    sinusoid(
        "reptile-sinusoid",
        "reptile",
        "Nichol, Achiam, Schulman (2018), section 2: 50 points at once, one task per step, 30,000 steps",
        hyper={"inner_lr": 0.02, "num_steps": 5, "batch_size": 10, "optimiser": "sgd"},
        data={"num_shots": 10, "num_queries": 40},
        network={"hidden": (64, 64), "activation": "tanh"},
        training={"steps": 30_000, "num_tasks": 1, "outer_optimiser": "sgd", "outer_lr": 0.1, "schedule": "linear"},
    ),
    omniglot(
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
    omniglot(
        "reptile-omniglot-20w1s",
        "reptile",
        REPTILE,
        20,
        1,
        hyper={"inner_lr": 5e-4, "num_steps": 10, "batch_size": 20},
        data={"num_queries": 9},
        training={"steps": 200_000, **REPTILE_OUTER},
    ),
    sinusoid("meta-sgd-sinusoid", "meta_sgd", f"{LI}, on MAML's protocol", hyper=FAST),
    omniglot(
        "meta-sgd-omniglot", "meta_sgd", f"{LI}, on MAML's protocol", 5, 1, hyper={"inner_lr": 0.1, "num_steps": 1}
    ),
    sinusoid(
        "anil-sinusoid", "anil", f"{RAGHU}: MAML's protocol, last layer only", hyper={"inner_lr": 0.01, "num_steps": 5}
    ),
    omniglot("anil-omniglot", "anil", f"{RAGHU}: MAML's protocol, last layer only", 20, 1, hyper=TWENTY_WAY),
    omniglot(
        "maml-plus-plus-omniglot",
        "maml_plus_plus",
        "Antoniou, Edwards, Storkey (2019): 100 epochs of 500 steps, the multi-step loss in the first 15",
        20,
        1,
        hyper={"inner_lr": 0.1, "num_steps": 5, "multi_step_epochs": 15, "steps_per_epoch": 500},
        training={"steps": 50_000, "num_tasks": 16, "schedule": "cosine"},
    ),
    omniglot(
        "imaml-omniglot",
        "imaml",
        "Rajeswaran, Finn, Kakade, Levine (2019), the authors' command, but conjugate gradients are not damped",
        5,
        1,
        hyper={"num_steps": 16, "strength": 2.0, "cg_steps": 5},
        training={"steps": 20_000},
    ),
    omniglot(
        "protonet-omniglot",
        "protonet",
        "Snell, Swersky, Zemel (2017), trained at the 20 ways that are tested (theirs: 60)",
        20,
        1,
        data={"num_queries": 5},
        network={"filters": 64, "pooling": "max"},
        training={"steps": 20_000, "num_tasks": 1},
    ),
    omniglot(
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
    sinusoid(
        "cnp-sinusoid",
        "cnp",
        "Garnelo et al. (2018), layers of 128, on MAML's protocol",
        network={"hidden": (128, 128, 128)},
    ),
    sinusoid(
        "pretrain-sinusoid",
        "pretrain",
        f"{FINN}, the pretrained baseline",
        hyper={"inner_lr": 0.02, "num_steps": 10},
    ),
    sinusoid(
        "scratch-sinusoid",
        "scratch",
        f"{FINN}, random initialisation; the one step changes nothing",
        hyper={"inner_lr": 0.02, "num_steps": 10},
        training={"steps": 1},
    ),
    sinusoid(
        "quick",
        "maml",
        "our own: Glorot's initialisation has no plateau, and a large, falling step size does the rest in seconds",
        hyper=FAST,
        network={"initialisation": "xavier"},
        training={"steps": 2000, "outer_lr": 1e-2, "schedule": "cosine", "validate_every": 500},
    ),
    *BAYESIAN,
    *FEW_TASKS,
    *NEURAL,
    *CONTROL,
)
