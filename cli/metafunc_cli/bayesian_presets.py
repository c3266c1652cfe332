"""The settings of the Bayesian algorithms, with their source."""

from metafunc_cli.preset import Preset, omniglot, sinusoid

FINN_XU = "Finn, Xu, Levine (2018)"
YIN = "Yin, Tucker, Zhou, Levine, Finn (2020)"

BAYESIAN: tuple[Preset, ...] = (
    sinusoid(
        "platipus-sinusoid",
        "platipus",
        f"{FINN_XU}, five inner steps of .001, on MAML's protocol with a Glorot initialisation; the rest is our own",
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
)
