"""Pictures of what a learner does. matplotlib is imported when the first one is drawn."""

from metafunc.figures.comparison import function_draws as function_draws
from metafunc.figures.comparison import learning_curves as learning_curves
from metafunc.figures.comparison import reliability as reliability
from metafunc.figures.curves import adaptation_curves as adaptation_curves
from metafunc.figures.curves import learning_curve as learning_curve
from metafunc.figures.functions import function_before_and_after as function_before_and_after
from metafunc.figures.images import episode as episode
from metafunc.figures.plane import paths_in_the_plane as paths_in_the_plane
from metafunc.figures.style import save as save
