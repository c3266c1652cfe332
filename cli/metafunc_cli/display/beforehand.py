"""Says before a training what it will be: whose settings these are, how many steps, how large, on what."""

from typing import Any

from metafunc.checks import counted
from metafunc_cli.display.screen import Screen
from metafunc_cli.settings.compose import Request


def announce(screen: Screen, request: Request, learner: Any, family: Any) -> None:
    """Print two lines on stderr, unless it is to be quiet.

    Args:
        screen: where.
        request: what was asked for.
        learner: what will be trained.
        family: on what tasks.
    """
    if screen.quiet:
        return
    settings = request.settings
    names, training = settings.names, settings.training
    steps = f"{counted(training.steps, 'steps')} of {counted(training.num_tasks, 'tasks')}"
    screen.tell(f"{names['algorithm']} on {names['tasks']}: {steps}, {origin(request)}")
    screen.tell(machine(request, learner, family))


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


def machine(request: Request, learner: Any, family: Any) -> str:
    """How large the learner is, and what it will be trained by."""
    from metafunc import tree
    from metafunc.data import generator_for
    from metafunc.execution.device import device_of
    from metafunc_cli.commands.dry_run import threads_of

    training = request.settings.training
    meta = learner.init(generator_for(training.seed, "init", 0))
    threads = threads_of(training, learner, meta, family)
    return (
        f"{request.settings.names['model']}, {counted(tree.size(meta), 'meta-parameters')}; "
        f"on {device_of(training.device)} by {counted(threads, 'threads')}"
    )
