"""Task families: where tasks come from. `FAMILIES` is the public table; a row is a builder with its defaults."""

from collections.abc import Callable, Mapping

from metafunc.data.few_shot import few_shot as few_shot
from metafunc.data.glyphs import glyphs as glyphs
from metafunc.data.omniglot import omniglot as omniglot
from metafunc.data.regression import regression as regression
from metafunc.data.sinusoid import sinusoid as sinusoid
from metafunc.data.source import DataUnavailable as DataUnavailable
from metafunc.data.source import distinct as distinct
from metafunc.data.source import generator_for as generator_for
from metafunc.data.source import redraw as redraw
from metafunc.data.source import sampler as sampler
from metafunc.types import TaskFamily

FAMILIES: Mapping[str, Callable[..., TaskFamily]] = {
    "sinusoid": sinusoid,
    "omniglot": omniglot,
    "glyphs": glyphs,
    "few_shot": few_shot,
    "regression": regression,
}
