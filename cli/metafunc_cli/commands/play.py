"""`metafunc play`: a page in the browser on which a run's learner adapts to clicked points."""

import os
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from metafunc.training import record
from metafunc_cli.display.screen import Screen, refusals
from metafunc_cli.errors import OK, UsageError
from metafunc_cli.settings.names import look_over_imports
from metafunc_cli.settings.options import Serving
from metafunc_cli.settings.run_argument import parse, run_and_flags

WHAT = (
    "Serve a page to this machine's browser, on which you click support points and see the learner of a run adapt: for "
    "functions with one input, and for classes in the plane. Ctrl-C stops it."
)
LARGEST = 65_535


def main(argv: Sequence[str]) -> int:
    """Run the command; see `metafunc play --help`."""
    run, flags = run_and_flags("play", argv, ("", Serving))
    found: Serving = parse(f"metafunc play {run or 'RUN'}", WHAT, flags, {"serving": Serving()}).serving
    if not 0 <= found.port <= LARGEST:
        raise UsageError(f"--port is {found.port}, and ports are 0 (any that is free) to {LARGEST}.")
    file = Path(run or "") / "config.json"
    look_over_imports(record.config(file.parent), file, allowed=found.imports)
    from metafunc.results.live import live
    from metafunc.results.live_server import LiveServer

    screen = Screen(json=False, quiet=True)
    with refusals():
        ready = live(file.parent, imports=found.imports)
    try:
        server = LiveServer(ready, file.parent.resolve().name, found.port)
    except OSError as error:
        raise UsageError(
            f"Port {found.port} of 127.0.0.1 cannot be had ({error.strerror}): give another --port, or none."
        ) from error
    with server:
        screen.out.print(f"{ready.title}: {server.url}  (Ctrl-C stops it)", soft_wrap=True)
        if not found.no_browser:
            _show(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            screen.say("\nstopped.")
    return OK


def _show(url: str) -> None:
    """Open a browser, where there is one with a window: one of the terminal would take it."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    in_terminal = type(browser) is webbrowser.GenericBrowser
    if not in_terminal and (os.name != "posix" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        browser.open(url)
