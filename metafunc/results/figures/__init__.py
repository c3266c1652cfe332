"""Pictures of what a learner does. matplotlib is imported when the first one is drawn."""

from metafunc.results.figures.against import predicted_against_true as predicted_against_true
from metafunc.results.figures.completion import completions as completions
from metafunc.results.figures.critical_difference import critical_differences as critical_differences
from metafunc.results.figures.curves import adaptation_curves as adaptation_curves
from metafunc.results.figures.curves import learning_curve as learning_curve
from metafunc.results.figures.functions import function_before_and_after as function_before_and_after
from metafunc.results.figures.images import episode as episode
from metafunc.results.figures.pareto import pareto as pareto
from metafunc.results.figures.pit import pit_histograms as pit_histograms
from metafunc.results.figures.plane import paths_in_the_plane as paths_in_the_plane
from metafunc.results.figures.regret import decision_curves as decision_curves
from metafunc.results.figures.reliability import reliability as reliability
from metafunc.results.figures.several import function_draws as function_draws
from metafunc.results.figures.several import learning_curves as learning_curves
from metafunc.results.figures.style import save as save
from metafunc.results.figures.tradeoffs import by_cost as by_cost
from metafunc.results.figures.tradeoffs import by_support as by_support
