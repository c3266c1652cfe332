"""Where and on what a run happens, and what of it has changed since."""

import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
import torch

from metafunc.types import TaskFamily


def environment(family: TaskFamily, *, device: torch.device, threads: int) -> dict[str, Any]:
    """Where and on what a run happens: versions, device, threads, the shape and origin of the data, and the commit if
    metafunc lies in a git checkout."""

    return {
        "metafunc": version("metafunc"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": threads,
        "git": _commit(Path(__file__).parent),
        "data": described(family),
    }


def described(family: TaskFamily) -> dict[str, Any]:
    """What is recorded of a task family, in the form of JSON: its kind, the shape of a row, and its `info`."""
    stated = {
        "name": family.name,
        "kind": family.kind,
        "input_shape": family.input_shape,
        "num_outputs": family.num_outputs,
        "info": dict(family.info),
    }
    found: dict[str, Any] = json.loads(json.dumps(stated, default=str))
    return found


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of two environments differs in a way that keeps a resumed run from being bitwise the same."""
    return [
        f"{name} was {then.get(name)} when the run began and is now {now[name]}: numbers may differ in the last bits."
        for name in ("metafunc", "torch", "device", "device_name", "threads", "data")
        if then.get(name) != now[name]
    ]


def _commit(folder: Path) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
