"""The table of task families: a row is a builder with its defaults."""

from collections.abc import Callable, Mapping
from typing import Any

from metafunc.data.families.circles import circles
from metafunc.data.families.few_shot import few_shot
from metafunc.data.families.few_task_sinusoid import few_task_sinusoid
from metafunc.data.families.glyphs import glyphs
from metafunc.data.families.locomotion import ant, half_cheetah
from metafunc.data.families.navigation import navigation
from metafunc.data.families.nme_sinusoid import nme_sinusoid
from metafunc.data.families.omniglot import omniglot
from metafunc.data.families.pose import pose
from metafunc.data.families.regression import regression
from metafunc.data.families.sine_or_line import sine_or_line
from metafunc.data.families.sinusoid import sinusoid
from metafunc.data.families.tiny_omniglot import tiny_omniglot
from metafunc.types import TaskFamily

FAMILIES: Mapping[str, Callable[..., TaskFamily]] = {
    "sinusoid": sinusoid,
    "sine_or_line": sine_or_line,
    "few_task_sinusoid": few_task_sinusoid,
    "nme_sinusoid": nme_sinusoid,
    "circles": circles,
    "omniglot": omniglot,
    "tiny_omniglot": tiny_omniglot,
    "glyphs": glyphs,
    "pose": pose,
    "few_shot": few_shot,
    "regression": regression,
    "navigation": navigation,
    "half_cheetah": half_cheetah,
    "ant": ant,
}
CLASSIFICATION = frozenset({"circles", "omniglot", "tiny_omniglot", "glyphs", "few_shot"})
"""The families that predict classes."""
IMAGES = CLASSIFICATION - {"circles"}
"""Those that predict the classes of images."""
CONTROL = frozenset({"navigation", "half_cheetah", "ant"})
"""The families that are played; the others predict numbers."""


TRUTH: Mapping[str, Mapping[str, Any]] = {"sinusoid": {}, "few_task_sinusoid": {}, "sine_or_line": {"noise": 0.0}}
"""The families whose true functions can be had, and the settings under which the same draw has query points on them."""
