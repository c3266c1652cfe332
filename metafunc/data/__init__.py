"""Task families: where tasks come from. `FAMILIES` is the public table, a row for each family.

Every builder of the table can be had from here by its name; the lines below let type checkers see their signatures.
"""

from collections.abc import Callable

from metafunc.data.families.cauchy import cauchy as cauchy
from metafunc.data.families.circles import circles as circles
from metafunc.data.families.classification import classification as classification
from metafunc.data.families.completion import completion as completion
from metafunc.data.families.few_shot import few_shot as few_shot
from metafunc.data.families.few_task_sinusoid import few_task_sinusoid as few_task_sinusoid
from metafunc.data.families.glyphs import glyphs as glyphs
from metafunc.data.families.locomotion import ant as ant
from metafunc.data.families.locomotion import half_cheetah as half_cheetah
from metafunc.data.families.navigation import navigation as navigation
from metafunc.data.families.nme_sinusoid import nme_sinusoid as nme_sinusoid
from metafunc.data.families.omniglot import omniglot as omniglot
from metafunc.data.families.pose import pose as pose
from metafunc.data.families.regression import regression as regression
from metafunc.data.families.sine_or_line import sine_or_line as sine_or_line
from metafunc.data.families.sinusoid import sinusoid as sinusoid
from metafunc.data.families.tiny_omniglot import tiny_omniglot as tiny_omniglot
from metafunc.data.families.trend import trend as trend
from metafunc.data.sampling import DataUnavailable as DataUnavailable
from metafunc.data.sampling import Grouped as Grouped
from metafunc.data.sampling import distinct as distinct
from metafunc.data.sampling import generator_for as generator_for
from metafunc.data.sampling import redraw as redraw
from metafunc.data.sampling import sampler as sampler
from metafunc.data.table import FAMILIES as FAMILIES
from metafunc.data.table import Family as Family
from metafunc.data.tabular import from_arrays as from_arrays
from metafunc.data.tabular import from_table as from_table
from metafunc.types import TaskFamily


def __getattr__(name: str) -> Callable[..., TaskFamily]:
    """The builder of a row of the table that has no line above."""
    if name in FAMILIES:
        return FAMILIES[name].builder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
