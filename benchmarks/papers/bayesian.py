"""The Bayesian papers' benchmarks as comparisons: one command line each, a short protocol and the paper's own.

    python -m benchmarks.papers.bayesian circles                   # the short protocol, the same for all methods
    python -m benchmarks.papers.bayesian circles --full            # the paper's
    python -m benchmarks.papers.bayesian pose --show               # print the command of metafunc and do nothing

What is trained lies in runs/NAME and is not trained again; the table goes to results/NAME.json, the figures to
figures/NAME_*.png.
"""

import json
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import tyro
from metafunc_cli.__main__ import run

from benchmarks import reporting

Name = Literal[
    "circles",
    "pose",
    "nme_omniglot_1",
    "nme_omniglot_5",
    "tiny_omniglot_fixed",
    "tiny_omniglot_permuted",
    "sine_or_line_generator",
]


class Setting(NamedTuple):
    """A comparison: the algorithms, what all of them share, the short protocol, and the paper's."""

    algorithms: str
    shared: str
    short: str
    full: str


SETTINGS = {
    # Finn, Xu, Levine (2018): ten positive points, a weight of .1 in their commands and .01 in their appendix. Means
    # that may move by what they see, and wide distributions to begin with, are our own: draws then differ (validation
    # tasks).
    "circles": Setting(
        algorithms="maml platipus tnp exact",
        shared="--tasks circles --model mlp --num-steps 5 --clip 10 --platipus.kl-weight 0.1 --tnp.num-layers 3 "
        "--platipus.mean-lr 0.1 --platipus.scale 0.1",
        short="--seeds 3 --steps 1500 --num-tasks 10 --outer-lr 0.01 --schedule cosine --validate-every 1000 "
        "--model.hidden 40 40 --inner-lr 0.05 --test-tasks 500",
        full="--seeds 5 --steps 70000 --num-tasks 25 --outer-lr 0.001 --validate-every 5000 "
        "--model.hidden 100 100 100 --model.context 20 --inner-lr 0.01 --test-tasks 1000",
    ),
    # Yin et al. (2020): half of thirty images are support, ten tasks per step, five inner steps of .002 (their code's;
    # .01 in the paper), twenty in the test, 30,000 steps, a weight of .001 in their code. The short one takes
    # smaller steps.
    "pose": Setting(
        algorithms="maml mr_maml_w mr_maml_a mr_cnp_w",
        shared="--tasks pose --model mlp --clip 10 --num-tasks 10 --num-steps 5 --test-steps 20 "
        "--mr_maml_w.kl-weight 0.001",
        short="--seeds 3 --steps 10000 --inner-lr 0.001 --outer-lr 0.002 --schedule cosine "
        "--validate-every 1000 --model.hidden 100 40 --test-tasks 300",
        full="--seeds 5 --steps 30000 --inner-lr 0.002 --outer-lr 0.002 "
        "--validate-every 1000 --model.hidden 256 100 40 --test-tasks 600",
    ),
    # The same paper: every character keeps one label out of 20, without augmentation. Four convolutions and 16 tasks
    # per step; the 100,000 steps are those of others who made its table again. Not compiled, since the two trainings
    # were made side by side on two cores.
    **{
        f"nme_omniglot_{shots}": Setting(
            algorithms="maml mr_maml_w",
            shared="--tasks omniglot --data.fixed-labels --data.rotations none --data.num-ways 20 "
            f"--data.num-shots {shots} --data.num-queries {shots} --inner-lr 0.1 --clip 10",
            short=f"--seeds 3 --steps {8000 if shots == 1 else 4000} --num-tasks 8 --num-steps 1 --outer-lr 0.003 "
            "--schedule cosine --validate-every 1000 --model mlp --model.hidden 256 128 64 --model.initialisation he "
            "--test-tasks 300 --compile off --mr_maml_w.encoder layer1.,layer2. --mr_maml_w.kl-weight 0.00003",
            full="--seeds 5 --steps 100000 --num-tasks 16 --num-steps 5 --outer-lr 0.001 --validate-every 5000 "
            "--model conv4 --test-tasks 600 --mr_maml_w.encoder layer1.,norm1.,layer2.,norm2. "
            "--mr_maml_w.kl-weight 0.0000002",
        )
        for shots in (1, 5)
    },
    # Rothfuss et al. (2021): 30 of 50 alphabets by their shuffle, the first five characters of each, labels kept.
    # Müller et al. (2022): the published halves, labels drawn in every episode again. Four convolutions of 64.
    **{
        f"tiny_omniglot_{labels}": Setting(
            algorithms="maml bmaml pacoh dkt deep_ensemble protonet",
            shared=f"--tasks tiny_omniglot --data.labels {labels} --data.split {split} --data.num-queries 15 --clip 10 "
            "--model conv4 --model.filters 64 --num-tasks 5 --schedule cosine --compile off "
            "--maml.inner-lr 0.1 --maml.num-steps 3 --bmaml.own head. --bmaml.num-particles 5 --bmaml.num-steps 3 "
            "--bmaml.inner-lr 0.01 --deep_ensemble.num-particles 5 --deep_ensemble.inner-lr 0.1 "
            "--deep_ensemble.num-steps 10 --pacoh.num-priors 2 --pacoh.num-samples 3 --pacoh.num-particles 3 "
            "--pacoh.num-steps 10 --pacoh.num-train-tasks 30 --pacoh.tempering 0.5 --pacoh.prior-weight 0.1 "
            "--pacoh.hyperprior-weight 0.1 --pacoh.scale 0.1",
            short="--seeds 3 --steps 400 --outer-lr 0.001 --validate-every 200 --test-tasks 100 "
            "--pacoh.steps 150 --pacoh.validate-every 75 --pacoh.outer-lr 0.002",
            full="--seeds 5 --steps 20000 --outer-lr 0.001 --validate-every 1000 --test-tasks 300",
        )
        for labels, split in (("fixed", "shuffled"), ("permuted", "published"))
    },
    # Finn, Xu, Levine (2018): a sine or a line as the authors' generator draws them, amplitudes from 1, without noise.
    "sine_or_line_generator": Setting(
        algorithms="maml maml_noise platipus alpaca dkt",
        shared="--tasks sine_or_line --data.amplitude 1 5 --data.noise 0 --num-steps 5 --clip 10 --model mlp "
        "--platipus.kl-weight 0.1",
        short="--seeds 3 --steps 3000 --num-tasks 10 --outer-lr 0.003 --schedule cosine --validate-every 1000 "
        "--model.hidden 40 40 --inner-lr 0.003 --dkt.steps 6000 --test-tasks 500",
        full="--seeds 5 --steps 70000 --num-tasks 25 --data.num-queries 45 --outer-lr 0.001 --validate-every 5000 "
        "--model.hidden 100 100 100 --model.context 20 --inner-lr 0.001 --test-tasks 1000",
    ),
}


def main(
    name: tyro.conf.Positional[Name],
    algorithms: tuple[str, ...] = (),
    path: str | None = None,
    full: bool = False,
    show: bool = False,
    quiet: bool = True,
) -> None:
    """Run a comparison and keep its table and figures.

    Args:
        name: which one.
        algorithms: those to compare, by default all of the setting's; what has been trained is kept.
        path: Omniglot's local copy; by default the hub's.
        full: the paper's protocol instead of the short one, which takes hours for each training on two cores.
        show: print the command line only.
        quiet: no progress.
    """
    label = f"{name}_full" if full else name
    out = Path("runs") / label
    words = ["compare", *arguments(name, algorithms, full=full), *(("--data.path", path) if path else ())]
    words += ["--threads", "1", "--out", str(out)]
    print("metafunc", shlex.join(words), flush=True)
    if show:
        return
    if code := run([*words, *(["--quiet"] if quiet else [])]):
        raise SystemExit(code)
    found = json.loads((out / "compare.json").read_text())
    shown = shlex.join("OMNIGLOT" if path and word == path else word for word in words)
    reporting.write(label, {"command": f"metafunc {shown}", "machine": reporting.machine(1), **found})
    reporting.FIGURES.mkdir(exist_ok=True)
    for picture in sorted((out / "figures").glob("*.png")):
        shutil.copy(picture, reporting.FIGURES / f"{label}_{picture.name}")


def arguments(name: str, algorithms: tuple[str, ...] = (), *, full: bool = False) -> list[str]:
    """What `metafunc compare` is asked for: a setting, for all of its algorithms or some."""
    chosen = SETTINGS[name]
    compared = algorithms or tuple(chosen.algorithms.split())
    words = shlex.split(f"{chosen.shared} {chosen.full if full else chosen.short}")
    # What is not compared has no settings of its own to be given.
    return ["--algorithms", *compared, *without_strangers(words, compared)]


def without_strangers(words: Sequence[str], algorithms: Sequence[str]) -> list[str]:
    """Words without the flags of algorithms that are not compared; such a flag has any number of values."""
    kept: list[str] = []
    skipped = False
    for word in words:
        if word.startswith("--"):
            owner, dot, _ = word.removeprefix("--").partition(".")
            skipped = bool(dot) and owner not in (*algorithms, "model", "data")
        if not skipped:
            kept.append(word)
    return kept


if __name__ == "__main__":
    tyro.cli(main)
