"""`metafunc push`: put a run onto the Hugging Face hub."""

import shlex
from collections.abc import Sequence

from metafunc_cli.display.drawing import prepare
from metafunc_cli.display.results import show_lines
from metafunc_cli.display.screen import Screen, refusals
from metafunc_cli.errors import OK, UsageError
from metafunc_cli.settings.options import Pushing
from metafunc_cli.settings.run_argument import is_run, parse, words_and_flags

WHAT = (
    "Put RUN onto the Hugging Face hub as user/name: its best meta-parameters, settings, log, meta-tests, pictures, "
    "report and a page about it. metafunc predict hf://user/name then works anywhere."
)


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc push --help`."""
    names, flags = words_and_flags(argv, ("", Pushing))
    usage = f"metafunc push {shlex.join(names) if len(names) == 2 else 'RUN user/name'}"
    found: Pushing = parse(usage, WHAT, flags, {"pushing": Pushing()}).pushing
    if len(names) != 2:
        raise UsageError("push needs a run and a name, for example: metafunc push runs/maml-sinusoid-1 user/name")
    run, name = names
    if not is_run(run):
        raise UsageError(f"{run} is no run: it has no config.json. Give the folder that metafunc train wrote.")
    from metafunc.results.push import push

    prepare()
    screen = Screen(json=found.json, quiet=True)
    with refusals():
        where = push(run, name, private=found.private, license=found.license)
    show_lines(screen.out, [("pushed", where), ("use", f"metafunc predict hf://{name} --support F --query F --out F")])
    screen.result({"run": run, "address": where})
    return OK
