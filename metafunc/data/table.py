"""The table of task families: a row is a builder, with its defaults, and what others need to know before it runs.

A further family is its file and one row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from metafunc.data.families.cauchy import cauchy
from metafunc.data.families.circles import circles
from metafunc.data.families.classification import classification
from metafunc.data.families.completion import completion
from metafunc.data.families.few_shot import few_shot
from metafunc.data.families.few_task_sinusoid import few_task_sinusoid
from metafunc.data.families.glyphs import glyphs
from metafunc.data.families.gp import gp
from metafunc.data.families.locomotion import ant, half_cheetah
from metafunc.data.families.navigation import navigation
from metafunc.data.families.nme_sinusoid import nme_sinusoid
from metafunc.data.families.omniglot import omniglot
from metafunc.data.families.pose import pose
from metafunc.data.families.regression import regression
from metafunc.data.families.sine_or_line import sine_or_line
from metafunc.data.families.sinusoid import sinusoid
from metafunc.data.families.tiny_omniglot import tiny_omniglot
from metafunc.data.families.trend import trend
from metafunc.recipe import Printed
from metafunc.types import Kind, TaskFamily


@dataclass(frozen=True, repr=False)
class Family(Printed):
    """A task family, as far as it is known without its data.

    Args:
        builder: from settings, by keyword, to the family.
        kind: what its tasks ask for.
        network: the network that is usual for its inputs.
        noiseless: the settings under which the same draw has its query points on the true function, for figures; None
            where the truth cannot be had.
        in_plane: for control, whether a task is a goal in the plane and an observation begins with a position there,
            so that figures can draw the paths.
        of_pixels: for regression, whether a task is an image whose test queries are all its pixels, line by line, in a
            square, so that figures can draw it.
    """

    builder: Callable[..., TaskFamily]
    kind: Kind
    network: Literal["mlp", "conv4"] = "mlp"
    noiseless: Mapping[str, Any] | None = None
    in_plane: bool = False
    of_pixels: bool = False


FAMILIES: dict[str, Family] = {
    "sinusoid": Family(sinusoid, "regression", noiseless={"noise": 0.0}),
    "sine_or_line": Family(sine_or_line, "regression", noiseless={"noise": 0.0}),
    "few_task_sinusoid": Family(few_task_sinusoid, "regression", noiseless={}),
    "trend": Family(trend, "regression", noiseless={"noise": 0.0}),
    "cauchy": Family(cauchy, "regression", noiseless={"noise": 0.0}),
    "nme_sinusoid": Family(nme_sinusoid, "regression"),
    "gp": Family(gp, "regression", noiseless={"noise": 0.0}),
    "circles": Family(circles, "classification"),
    "omniglot": Family(omniglot, "classification", network="conv4"),
    "tiny_omniglot": Family(tiny_omniglot, "classification", network="conv4"),
    "glyphs": Family(glyphs, "classification", network="conv4"),
    "completion": Family(completion, "regression", of_pixels=True),
    "pose": Family(pose, "regression"),
    "few_shot": Family(few_shot, "classification", network="conv4"),
    "regression": Family(regression, "regression"),
    "classification": Family(classification, "classification"),
    "navigation": Family(navigation, "control", in_plane=True),
    "half_cheetah": Family(half_cheetah, "control"),
    "ant": Family(ant, "control"),
}
"""By the names of the command line."""
