"""Pictures of what a learner does. matplotlib is imported when the first one is drawn."""

from metafunc.results.figures.curves import adaptation_curves as adaptation_curves
from metafunc.results.figures.curves import learning_curve as learning_curve
from metafunc.results.figures.functions import function_before_and_after as function_before_and_after
from metafunc.results.figures.images import episode as episode
from metafunc.results.figures.plane import paths_in_the_plane as paths_in_the_plane
from metafunc.results.figures.several import function_draws as function_draws
from metafunc.results.figures.several import learning_curves as learning_curves
from metafunc.results.figures.several import reliability as reliability
from metafunc.results.figures.style import save as save
