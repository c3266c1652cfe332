"""The page of a run on the Hugging Face hub: what it learned, how well, how to use it, and where that ends."""

from collections.abc import Mapping
from typing import Any

from metafunc.data.safe_text import markdown_cell
from metafunc.evaluation.metrics.table import METRICS, label
from metafunc.results.tables import metrics_of, spoken, tested_on
from metafunc.training.build import own_steps
from metafunc.training.run import Run

NOT_SAID = ("name", "path")
"""Settings that mean nothing to others."""


def model_card(run: Run, name: str, license: str | None = None) -> str:
    """The page in Markdown, above it what the hub reads by machine: the results as a `model-index`.

    Args:
        run: as it is handed on.
        name: of the repository, as `user/name`.
        license: of what is handed on, as the hub names it; None states none.
    """
    from huggingface_hub import ModelCardData

    config, env = run.config, run.env
    report = run.report(run.meta_test) if run.meta_test.exists() else None
    algorithm, tasks = _name(config, "algorithm"), _name(config, "tasks")
    results = [] if report is None else _results(report, _task(env["data"]), tasks, own_steps(config))
    data = ModelCardData(
        library_name="metafunc",
        license=license,
        datasets=_datasets(env["data"]["info"]),
        tags=["metafunc", "meta-learning", "few-shot", algorithm, tasks],
        pipeline_tag=_task(env["data"]),
        eval_results=results or None,
        model_name=name if results else None,
    )
    whole = "[The whole report](report.html), a page to download: tables that sort, and new functions to explore."
    curve = "## Adaptation\n\n![The metrics by steps of adaptation](figures/adaptation.png)"
    parts = [
        f"---\n{data.to_yaml()}\n---\n\n# {markdown_cell(name)}",
        f"{algorithm} meta-trained on {tasks} ({env['data']['kind']}) with metafunc {env['metafunc']} and torch "
        f"{env['torch']}: from the support set of a new task it predicts the task's other rows.",
        _protocol(config, report),
        "" if report is None else _table(report, own_steps(config)),
        whole if (run.path / "report.html").exists() else "",
        curve if (run.figures / "adaptation.png").exists() else "",
        _use(name, env["data"]["kind"]),
        _limits(env, report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _name(config: Mapping[str, Any], section: str) -> str:
    return str(config.get(section, {}).get("name", "a learner" if section == "algorithm" else "tasks"))


def _datasets(info: Mapping[str, Any]) -> list[str] | None:
    """The data set on the hub that the tasks are made of, which alone has a revision."""
    return [info["source"]] if info.get("revision") and "source" in info else None


def _task(data: Mapping[str, Any]) -> str:
    """The hub's name for tasks of a kind."""
    if data["kind"] == "control":
        return "reinforcement-learning"
    if len(data["input_shape"]) == 1:
        return f"tabular-{data['kind']}"
    return "image-classification" if data["kind"] == "classification" else "other"


def _results(report: Mapping[str, Any], task: str, tasks: str, steps: int | None) -> list[Any]:
    from huggingface_hub import EvalResult

    row = _judged(report, steps)
    return [
        EvalResult(
            task_type=task,
            dataset_type=tasks,
            dataset_name=tested_on(report["meta_test"]),
            dataset_split=report["meta_test"]["split"],
            metric_type=metric,
            metric_name=label(metric),
            metric_value=row[metric]["mean"],
        )
        for metric in metrics_of(row)
        if row[metric]["mean"] is not None
    ]


def _judged(report: Mapping[str, Any], steps: int | None) -> Mapping[str, Any]:
    """The row of a meta-test after the trained number of steps."""
    rows = report["meta_test"]["by_step"]
    found: Mapping[str, Any] = rows[-1 if steps is None else min(steps, len(rows) - 1)]
    return found


def _protocol(config: Mapping[str, Any], report: Mapping[str, Any] | None) -> str:
    lines = ["## Protocol", ""]
    for section, title in (
        ("algorithm", "Algorithm"),
        ("tasks", "Tasks"),
        ("model", "Network"),
        ("training", "Training"),
    ):
        settings = config.get(section, {})
        said = [f"{key} {value}" for key, value in settings.items() if key not in NOT_SAID and value is not None]
        own = f"{settings['name']}" + ": " * bool(said) if "name" in settings else ""
        if settings:
            lines.append(f"- {title}: {markdown_cell(own + ', '.join(said))}")
    if report is not None:
        test = report["meta_test"]
        lines.append(f"- Meta-test: {tested_on(test)} of the split {test['split']}, seed {test['seed']}")
    return "\n".join(lines)


def _table(report: Mapping[str, Any], steps: int | None) -> str:
    rows, judged = report["meta_test"]["by_step"], _judged(report, steps)
    names = metrics_of(judged)
    lines = [["steps", *(f"{label(name)} {'↑' if METRICS[name].higher_is_better else '↓'}" for name in names)]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        cells = [spoken(row[name]["mean"], row[name]["ci95"], name) if name in row else "" for name in names]
        marked = [f"**{cell}**" if cell and row is judged else cell for cell in (str(row["step"]), *cells)]
        lines.append(marked)
    about = f"±: 95 % interval over {tested_on(report['meta_test'])}. Bold: the trained number of steps."
    return "\n".join(["## Results", "", *("| " + " | ".join(line) + " |" for line in lines), "", about])


def _use(name: str, kind: str) -> str:
    command = f"metafunc predict hf://{name} --support support.csv --query query.csv --out predicted.csv\n"
    shown = f"```sh\n{command}```\n\n" if kind != "control" else ""
    return (
        f'## How to use\n\n{shown}```python\nimport metafunc\n\nlearner, meta = metafunc.load("hf://{name}")\n'
        "adapted = learner.adapt(meta, metafunc.Batch(x, y))  # the support set of a new task\n"
        "learner.predict(adapted, new_x)\n```\n\nLoading reads JSON and safetensors and runs no code from here."
    )


def _limits(env: Mapping[str, Any], report: Mapping[str, Any] | None) -> str:
    shape = " x ".join(map(str, env["data"]["input_shape"])) or "1"
    lines = [
        "## Limits",
        "",
        f"- Inputs have the shape {shape}, in the units and the order of the columns that it was trained with.",
        "- It is good for tasks like those that it was trained on; of others the results say nothing.",
        "- One training with one seed: the intervals are over tasks, and tell nothing about another training.",
        "- The state of the optimiser is not here: the training cannot be resumed from it.",
    ]
    if report is None:
        lines.insert(2, "- It has not been tested on new tasks.")
    return "\n".join(lines)
