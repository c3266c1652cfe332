"""Learners beside the exact Bayesian answer: comparisons on tasks whose best prediction is known.

    python -m benchmarks.papers.beside_exact gp_rbf          # train what is not trained yet, test, and keep the table
    python -m benchmarks.papers.beside_exact gp_rbf --show   # print the commands of metafunc and do nothing
    python -m benchmarks.papers.beside_exact gp_rbf --table  # print what was kept

What is trained lies in runs/NAME; the tables go to results/NAME.json, the figures to figures/NAME_*.png.
"""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import tyro
from metafunc_cli.__main__ import run

from benchmarks import reporting
from benchmarks.papers.bayesian import without_strangers
from metafunc.evaluation.metrics.table import label
from metafunc.results.tables import spoken


class Setting(NamedTuple):
    """A comparison.

    Args:
        algorithms: what is compared.
        words: all other words of `metafunc compare`.
        splits: variants of the family that are tested on as well.
        autoregressive: algorithms that are also tested row by row, each from the rows before it.
        joint_rows: how many rows of a task these are.
    """

    algorithms: str
    words: str
    splits: tuple[str, ...] = ()
    autoregressive: tuple[str, ...] = ()
    joint_rows: int | None = None


NUM_SEEDS = 3
COLUMNS = ("mse", "accuracy", "nll", "gap", "joint_nll", "calibration_error", "ece")
"""The metrics that a printed table has."""
SHARED = f"--seeds {NUM_SEEDS} --test-tasks 500 --schedule cosine --clip 10 --threads 1 --model mlp"

# Bruinsma et al. (2021): fixed kernels, inputs on [-2, 2], noise of variance .05, up to 30 support and 50 query points.
# Their 100,000 steps are shortened; DKT's network is one linear layer, so that its kernel is on the inputs themselves.
PROCESSES = (
    f"--tasks gp --data.hyperparameters fixed {SHARED} --validate-every 500 --validate-by nll --num-tasks 16 "
    "--steps 3000 --outer-lr 0.003 --model.hidden 64 64 --cnp.model.hidden 128 128 128 --cnp.outer-lr 0.001 "
    "--convcnp.num-layers 5 --tnp.num-layers 3 --tnp.outer-lr 0.001 --tnp.steps 6000 "
    "--dkt.model.hidden --dkt.num-features 1 --dkt.outer-lr 0.02 --dkt.steps 2000"
)
WAVES = (
    f"{PROCESSES} --cnp.steps 6000 --convcnp.steps 25000 --anp.steps 5000 --anp.outer-lr 0.001 --anp.width 64 "
    "--anp.num-hidden 64 --anp.num-tasks 8"
)
PERIODS = "spectral --dkt.num-components 8 --dkt.frequency 4"
PROCESS_NAMES = ("cnp", "convcnp", "tnp")
KERNELS = (("rbf", "rbf", PROCESS_NAMES), ("matern52", "matern", PROCESS_NAMES), ("weakly_periodic", PERIODS, ()))
"""The tasks' kernel, DKT's, and the neural processes beside it."""

SETTINGS = {
    # Finn, Xu, Levine (2018), section 6.1: a sine or a line, noise of .3, five support points. The short protocol is
    # that of all that take gradient steps but MAML, which is trained longer, on a wider network with a context.
    "sine_or_line": Setting(
        "maml maml+laplace maml+laplace_all maml_noise platipus abml vampire bmaml emaml deep_ensemble alpaca dkt cnp "
        "np anp tnp exact",
        f"--tasks sine_or_line {SHARED} --num-tasks 10 --steps 3000 --outer-lr 0.003 --validate-every 1000 "
        "--model.hidden 40 40 --num-steps 5 --inner-lr 0.003 "
        "--maml.model.hidden 100 100 --maml.model.context 20 --maml.num-tasks 25 --maml.steps 25000 "
        "--platipus.kl-weight 0.1 --abml.kl-weight 0.001 --bmaml.inner-lr 0.001 --bmaml.noise-scale 0.3 "
        "--bmaml.num-particles 5 --bmaml.validate-by nll --emaml.num-particles 5 --deep_ensemble.num-particles 5 "
        "--alpaca.noise-scale 0.3 --cnp.model.hidden 128 128 128 --cnp.steps 10000 --cnp.outer-lr 0.001 "
        "--np.steps 6000 --np.outer-lr 0.001 --anp.steps 6000 --anp.outer-lr 0.001 --dkt.steps 6000 "
        "--tnp.head mixture --tnp.num-layers 4 --tnp.model.hidden 64 64 --tnp.data.num-queries 50 --tnp.num-tasks 16 "
        "--tnp.steps 30000 --tnp.outer-lr 0.001 --tnp.validate-every 4000 --tnp.validate-by nll",
    ),
    # Patacchiola et al. (2020): amplitudes of .1 to 5, noise of .1, five support points, features of 1-40-40. They test
    # on 200 points of a task; fewer leave the mean error as it is, and cost a sixteenth of the joint prediction.
    "dkt_sines": Setting(
        "dkt alpaca maml exact",
        f"--tasks sinusoid {SHARED} --data.noise 0.1 --data.num-shots 5 --data.num-queries 10 "
        "--data.num-test-queries 45 --num-tasks 16 --steps 6000 --outer-lr 0.003 --validate-every 1000 "
        "--dkt.steps 15000 --dkt.outer-lr 0.002 --dkt.validate-by nll "
        "--model.hidden 40 --maml.model.hidden 40 40 --alpaca.model.activation tanh",
        splits=("inputs",),
    ),
    **{
        f"gp_{kernel}": Setting(
            f"dkt {' '.join(processes)} exact",
            f"{PROCESSES} --data.kernel {kernel} --dkt.kernel {of_dkt}",
            autoregressive=tuple(name for name in processes if name != "cnp"),
        )
        for kernel, of_dkt, processes in KERNELS
    },
    # Nguyen, Grover (2022): random hyperparameters, noise of .02; Adam at .0005. A training task has as many queries as
    # fit in the masked ones' memory, three times theirs; a test task is theirs.
    "gp_rbf_random": Setting(
        "tnp exact",
        f"--tasks gp {SHARED} --data.hyperparameters random --validate-every 4000 --validate-by nll --num-tasks 16 "
        "--steps 40000 --outer-lr 0.0005 --model.hidden 64 64 64 --tnp.num-layers 4 --tnp.data.num-queries 46 "
        "--tnp.data.num-test-queries 3 46",
    ),
    **{
        f"gp_{kernel}": Setting(
            "cnp anp convcnp",
            f"{WAVES} --data.kernel {kernel}",
            autoregressive=("convcnp",),
        )
        for kernel in ("sawtooth", "mixture")
    },
    # Class heads on a perceptron: the published split, five queries of each class, eight episodes per step.
    **{
        f"omniglot_heads_{ways}way_{shots}shot": Setting(
            "protonet pcoc metaqda versa dkt dkt+tempered",
            f"--tasks omniglot {SHARED} --data.num-ways {ways} --data.num-shots {shots} --data.num-queries 5 "
            "--num-tasks 8 --steps 2000 --outer-lr 0.002 --validate-every 500 --model.hidden 256 128 64 "
            "--model.initialisation he",
        )
        for ways, shots in ((5, 1), (5, 5), (20, 1))
    },
    # Rothfuss et al. (2021): a few fixed tasks of five and five points to train on, whose number a hyper-prior weighs
    # against. No validation, which would see more tasks.
    **{
        f"{family}_{number}_tasks": Setting(
            "pacoh_gp empirical_gp pacoh dkt bmaml maml exact",
            f"--tasks {family} --data.num-train-tasks {number} --data.num-shots 5 --data.num-queries 5 {SHARED} "
            f"--pacoh_gp.num-train-tasks {number} --pacoh.num-train-tasks {number} "
            f"--empirical_gp.num-train-tasks {number} --validate-every None --num-tasks 5 --steps 1000 "
            "--outer-lr 0.003 --empirical_gp.outer-lr 0.01 --model.hidden 32 32 --inner-lr 0.01 --num-steps 5 "
            "--bmaml.inner-lr 0.001 --bmaml.noise-scale 0.3",
        )
        for family in ("trend", "cauchy")
        for number in (5, 10, 20, 100)
    },
}


def main(
    name: tyro.conf.Positional[str],
    path: str | None = None,
    show: bool = False,
    table: bool = False,
    quiet: bool = True,
) -> None:
    """Run a comparison and keep its tables and figures.

    Args:
        name: which one.
        path: Omniglot's local copy; by default the hub's.
        show: print the command lines only.
        table: print the table of results/NAME.json only.
        quiet: no progress.
    """
    if name not in SETTINGS:
        raise SystemExit(f"{name} is no comparison. There are: {', '.join(SETTINGS)}.")
    if table:
        if not (result := reporting.read(name)):
            raise SystemExit(f"{name} has no results yet: run it without --table.")
        print(shown(result))
        return
    setting, out = SETTINGS[name], Path("runs") / name
    if path is not None:
        setting = setting._replace(words=f"{setting.words} --data.path {shlex.quote(path)}")
    lines = commands(setting, out)
    for line in lines.values():
        print("metafunc", shlex.join(line), flush=True)
    if show:
        return
    found = {what: done(line, out, quiet=quiet) for what, line in lines.items()}
    tables = {what: report for what, report in found.items() if what != "test"}
    reporting.write(name, {"machine": reporting.machine(1), **found["test"], **tables})
    reporting.FIGURES.mkdir(exist_ok=True)
    for picture in sorted((out / "figures").glob("*.png")):
        shutil.copy(picture, reporting.FIGURES / f"{name}_{picture.name}")


def commands(setting: Setting, out: Path) -> dict[str, list[str]]:
    """The command lines of a comparison, by what they test: new tasks, variants of them, and runs row by row."""
    names = setting.algorithms.split()
    words = [
        "compare",
        "--algorithms",
        *names,
        *without_strangers(shlex.split(setting.words), names),
        "--out",
        str(out),
    ]
    lines = {"test": words, **{split: [*words, "--split", split, "--no-figures"] for split in setting.splits}}
    rows = [] if setting.joint_rows is None else ["--joint-rows", str(setting.joint_rows)]
    for algorithm in setting.autoregressive:
        for seed in range(NUM_SEEDS):
            run_folder = f"{algorithm}-{seed}"
            lines[f"row by row, {run_folder}"] = [
                "eval", str(out / run_folder), "--joint", "autoregressive", *rows, "--num-tasks", "500", "--seed", "0"
            ]  # fmt: skip
    return lines


def done(line: list[str], out: Path, *, quiet: bool) -> dict[str, Any]:
    """Run a command line and read what it has written."""
    if code := run([*line, *(["--quiet"] if quiet else [])]):
        raise SystemExit(code)
    if line[0] == "compare":
        report: dict[str, Any] = json.loads((out / "compare.json").read_text())
    else:
        file = max(Path(line[1]).glob("meta_test*joint=autoregressive*.json"), key=lambda path: path.stat().st_mtime)
        tested = json.loads(file.read_text())["meta_test"]
        report = {name: tested[name] for name in ("num_tasks", "autoregressive")}
    words = ["OMNIGLOT" if before == "--data.path" else word for before, word in zip(["", *line], line, strict=False)]
    return {"command": f"metafunc {shlex.join(words)}", **report}


def shown(result: dict[str, Any]) -> str:
    """The tables of a comparison: its test's, and those of its variants."""
    variants = [part for part in result.values() if isinstance(part, dict) and "rows" in part]
    return "\n\n".join(_table(part, result) for part in (result, *variants))


def _table(part: dict[str, Any], result: dict[str, Any]) -> str:
    names = [name for name in COLUMNS if name in part["rows"][0]]
    columns = {"": [f"`{row['algorithm']}`" for row in part["rows"]]}
    for name in names:
        columns[label(name)] = [spoken(row[name]["mean"], row[name]["ci95"], name) for row in part["rows"]]
    columns["row by row (nats)"] = [_by_rows(row, part, result) for row in part["rows"]]
    columns["CPU seconds"] = [f"{row['cpu_seconds'] or 0:.0f}" if row["parameters"] else "" for row in part["rows"]]
    columns["parameters"] = [f"{row['parameters']:,}" if row["parameters"] else "" for row in part["rows"]]
    kept = {head: cells for head, cells in columns.items() if any(cells)}
    return reporting.markdown([*kept], [*map(list, zip(*kept.values(), strict=True))])


def _by_rows(row: dict[str, Any], part: dict[str, Any], result: dict[str, Any]) -> str:
    """The mean over seeds of the NLL of all rows together, row by row; empty where it was not asked for."""
    names = [f"row by row, {row['algorithm']}-{seed}" for seed in row["seeds"]]
    if part is result and all(name in result for name in names):
        each = [result[name]["autoregressive"]["joint_nll"]["mean"] for name in names]
        return reporting.number(*reporting.over_seeds(each))
    return ""


if __name__ == "__main__":
    tyro.cli(main)
