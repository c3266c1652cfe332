"""Says before a training what it will be: whose settings these are, how many steps, how large, on what."""

from collections.abc import Iterator
from typing import Any

from metafunc.checks import counted
from metafunc_cli.display.screen import Screen
from metafunc_cli.settings.compose import Request


def announce(screen: Screen, request: Request, learner: Any, family: Any, num_ranks: int = 1) -> None:
    """Print two lines on stderr, unless it is to be quiet; a third where ranks are of no use.

    Args:
        screen: where.
        request: what was asked for.
        learner: what will be trained.
        family: on what tasks.
        num_ranks: by how many processes.
    """
    if screen.quiet:
        return
    settings = request.settings
    names, training = settings.names, settings.training
    steps = f"{counted(training.steps, 'steps')} of {counted(training.num_tasks, 'tasks')}"
    screen.tell(f"{names['algorithm']} on {names['tasks']}: {steps}, {origin(request)}")
    for line in machine(request, learner, family, num_ranks):
        screen.tell(line)


def origin(request: Request) -> str:
    """Where the settings come from."""
    output, preset = request.output, request.preset
    if output.resume:
        return f"as {output.resume} was begun"
    if output.config:
        base = f"the settings of {output.config}"
    elif preset is None:
        base = "the builders' defaults, for there is no preset of this pair"
    else:
        base = f"preset {preset.name} ({preset.source})"
    if output.quick:
        base = f"--quick, a first look: {base}, made small"
    return f"{base}{', and what you gave' if request.changed else ''}"


def machine(request: Request, learner: Any, family: Any, num_ranks: int) -> Iterator[str]:
    """How large the learner is, and what it will be trained by."""
    from metafunc import tree
    from metafunc.data import generator_for
    from metafunc.execution.device import device_of
    from metafunc.execution.plan import threads_of
    from metafunc_cli.commands.dry_run import size_of_steps

    training = request.settings.training
    meta = learner.init(generator_for(training.seed, "init", 0))
    size = size_of_steps(training, learner, meta, family)
    threads = training.threads or threads_of(size)
    yield (
        f"{request.settings.names['model']}, {counted(tree.size(meta), 'meta-parameters')}; "
        f"on {device_of(training.device)} by {counted(threads, 'threads')}"
    )
    if num_ranks > 1 and size.small and family.kind != "control":  # whose rollouts take the time, and are shared
        yield "steps this small gain nothing from ranks: several seeds side by side do (metafunc compare --jobs)"
