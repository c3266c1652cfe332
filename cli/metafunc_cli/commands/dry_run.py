"""`metafunc train --dry-run`: the settings, the parameter count and a look at one task."""

import dataclasses
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from metafunc.checks import counted
from metafunc_cli.display.results import tidy
from metafunc_cli.display.screen import Screen, refusals
from metafunc_cli.errors import OK
from metafunc_cli.settings.compose import Request
from metafunc_cli.settings.options import Training

if TYPE_CHECKING:
    from metafunc.execution.workload import Workload


def preview(screen: Screen, request: Request, learner: Any, family: Any) -> int:
    """Show what a training would do, and refuse what it would refuse; writes nothing."""
    from metafunc import tree
    from metafunc.data import check_tasks, generator_for

    settings, seed = request.settings, request.settings.training.seed
    with refusals(settings):
        _check(request, learner, family)
        meta = learner.init(generator_for(seed, "init", 0))
        tasks, prepared = _first(settings.training, learner, meta, family)
        check_tasks.check(learner, meta, family, prepared)
        plan = _plan(settings.training, learner, meta, prepared)
    if family.kind == "control":  # a task of control becomes data by rollouts
        shown, fields = [getattr(part, "values", part) for part in prepared], ["observations", "actions", "rewards"]
    else:
        shown, fields = [tasks.support, tasks.query], ["x", "y"]
    parts = {
        f"{name}.{field}": _seen(getattr(batch, field)[0])
        for name, batch in zip(("support", "query"), shown, strict=True)
        for field in fields
    }
    config = settings.to_json()
    grid = Table.grid(padding=(0, 2))
    for section, values in config.items():
        rest = ", ".join(f"{name} {_plainly(value)}" for name, value in values.items() if name != "name")
        grid.add_row(Text(section, style="dim"), Text(values.get("name", ""), style="bold"), rest)
    grid.add_row(
        Text("meta", style="dim"),
        Text(f"{tree.size(meta):,}", style="bold"),
        f"numbers in {counted(len(tree.leaves(meta)), 'tensors')}",
    )
    for name, seen in parts.items():
        grid.add_row(Text(f"task {name}", style="dim"), Text(seen["shape"], style="bold"), seen["values"])
    screen.out.print(grid)
    screen.out.print(plan.why)
    screen.result({"config": config, "num_parameters": tree.size(meta), "task": parts, "steps": plan.why})
    return OK


def _check(request: Request, learner: Any, family: Any) -> None:
    """Look over the section `training`, and at what the training starts from, unless it goes on with a run."""
    from metafunc.training import config
    from metafunc.training.events import ignore

    asked, output = request.settings.to_json(), request.output
    config.check(asked, learner, family)
    if not config.begun(output.resume or output.out, resume=bool(output.resume) or output.go_on):
        config.start_of(learner, family, asked, asked["training"], output.imports, ignore)


def size_of_steps(training: Training, learner: Any, meta: Any, family: Any) -> "Workload":
    """What the steps of a training are, by the size of one task; nothing is traced for it."""
    from metafunc.execution.device import device_of
    from metafunc.execution.workload import workload_of

    tasks = _many(_first(training, learner, meta, family)[1], training.num_tasks)
    return workload_of(meta, tasks, steps=training.steps, device=device_of("cpu"))


def _first(training: Training, learner: Any, meta: Any, family: Any) -> tuple[Any, Any]:
    """The first task of a training, as it is drawn and as it is prepared."""
    from metafunc.data import generator_for

    tasks = family.train(generator_for(training.seed, "train", 0), 1)
    generator = generator_for(training.seed, "prepare", 0)
    return tasks, learner.prepare(meta, tasks, generator, step=0, num_steps=training.steps)


def _plan(training: Training, learner: Any, meta: Any, tasks: Any) -> Any:
    """How the steps will be executed."""
    from metafunc.execution.device import device_of, move
    from metafunc.training.config import execution_of
    from metafunc.training.fit import plan_of

    many = _many(tasks, training.num_tasks)
    execution = execution_of(dataclasses.asdict(training))
    on_device = move(meta, device_of(execution.device))
    return plan_of(learner, on_device, many, steps=training.steps, execution=execution, recorded=True)


def _many(tasks: Any, number: int) -> Any:
    """The first of some stacked tasks, so many times."""
    from metafunc import tree

    return tree.map(lambda leaf: leaf[:1].expand(number, *leaf.shape[1:]), tasks)


def _seen(leaf: Any) -> dict[str, str]:
    """A tensor's shape, type and range."""
    kind, shape = str(leaf.dtype).removeprefix("torch."), " x ".join(map(str, leaf.shape))
    if not leaf.numel():
        return {"shape": shape, "values": f"{kind}, none"}
    values = leaf.unique().tolist() if not leaf.is_floating_point() else []
    low, high = tidy(leaf.min().item()), tidy(leaf.max().item())
    return {
        "shape": shape,
        "values": f"{kind}, {', '.join(map(str, values))}" if values else f"{kind}, from {low} to {high}",
    }


def _plainly(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
