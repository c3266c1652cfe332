"""A progress bar for interactive sessions, where nothing else says how far a training has got."""

import sys
from importlib.util import find_spec
from typing import Any

from metafunc.training.events import Callback, Event, ignore


def interactive() -> bool:
    """Whether somebody types the lines: at Python's prompt, in IPython or in a notebook."""
    return hasattr(sys, "ps1") or "get_ipython" in vars(sys.modules["builtins"])


def usual(on_event: Callback) -> Callback:
    """What is called on events: what was asked for; where nothing was, a bar in an interactive session.

    Examples:
        >>> usual(print) is print
        True
    """
    if on_event is not ignore or not interactive() or find_spec("tqdm") is None:
        return on_event
    return bar()


def bar() -> Callback:
    """A bar of `tqdm`, in the form that a terminal or a notebook shows; it begins with the first step."""
    shown: list[Any] = []

    def on_event(event: Event) -> None:
        if event.phase == "train":
            if not shown:
                from tqdm.auto import tqdm  # type: ignore[import-untyped]  # it has no stubs

                shown.append(tqdm(total=event.steps, initial=event.step - 1, desc="meta-training", unit="step"))
            shown[0].set_postfix(loss=f"{event.values['loss']:.3g}", refresh=False)
            shown[0].update()
            if event.step == event.steps:
                shown[0].close()
        elif event.phase in ("warning", "stopped"):
            sys.stderr.write(f"{event.message}\n")

    return on_event
