"""What tells the meta-test of one trial from another: a test with the same mark need not be made again."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metafunc_cli.settings import user_builders
from metafunc_cli.settings.comparison_options import Comparison
from metafunc_cli.settings.names import SECTIONS

if TYPE_CHECKING:
    from metafunc_cli.commands.trial import Trial
    from metafunc_cli.commands.trials import Contender

PROTOCOL = ("test_tasks", "test_steps", "test_seed", "split", "coherence", "no_gap")
"""What a comparison's tests depend on besides the trial."""


def of_row(row: "Contender", asked: Comparison) -> list[str | None]:
    """The marks of a row's trials."""
    return [mark(trial, row.transforms, asked) for trial in row.trials]


def mark(trial: "Trial", transforms: tuple[str, ...], asked: Comparison) -> str | None:
    """A sum over the learner, its meta-parameters, the tasks and the protocol; None where a learner's code is the
    user's own, which no setting tells.

    Args:
        trial: the trained learner.
        transforms: what is done to it before it predicts.
        asked: how it is tested.
    """
    import torch

    from metafunc import tree

    config = trial.run.config
    sections = {section: config.get(section, {}) for section in SECTIONS}  # a stack has no network of its own
    if any(user_builders.is_own(settings.get("name", "")) for settings in sections.values()):
        return None
    about: dict[str, Any] = {
        "sections": sections,
        "transforms": transforms,
        "protocol": {name: getattr(asked, name) for name in PROTOCOL},
        "tasks": dict(trial.family.info),
        "made by": [code(), torch.__version__, trial.run.env["threads"]],
    }
    found = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
    for leaf in tree.leaves(trial.meta):
        found.update(repr((tuple(leaf.shape), leaf.dtype)).encode())
        found.update(leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


@cache
def code() -> str:
    """A sum over the sources that a test is made by, which may have been changed under the same version."""
    import metafunc

    found = hashlib.sha256()
    for path in sorted(Path(metafunc.__file__).parent.rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()
