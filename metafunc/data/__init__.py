"""Task families: where tasks come from. `FAMILIES` is the public table; a row is a builder with its defaults."""

from collections.abc import Callable, Mapping

from metafunc.data.circles import circles as circles
from metafunc.data.few_shot import few_shot as few_shot
from metafunc.data.few_task_sinusoid import few_task_sinusoid as few_task_sinusoid
from metafunc.data.glyphs import glyphs as glyphs
from metafunc.data.locomotion import ant as ant
from metafunc.data.locomotion import half_cheetah as half_cheetah
from metafunc.data.navigation import navigation as navigation
from metafunc.data.nme_sinusoid import nme_sinusoid as nme_sinusoid
from metafunc.data.omniglot import omniglot as omniglot
from metafunc.data.pose import pose as pose
from metafunc.data.regression import regression as regression
from metafunc.data.sine_or_line import sine_or_line as sine_or_line
from metafunc.data.sinusoid import sinusoid as sinusoid
from metafunc.data.source import DataUnavailable as DataUnavailable
from metafunc.data.source import distinct as distinct
from metafunc.data.source import generator_for as generator_for
from metafunc.data.source import redraw as redraw
from metafunc.data.source import sampler as sampler
from metafunc.data.tiny_omniglot import tiny_omniglot as tiny_omniglot
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
