r"""How good predictions are: pure functions of a predictive distribution and the targets.

All take predictions with particles on the first axis, as `MetaLearner.predict` returns them, and judge their *mixture*
with equal weights, $p(y \mid x) = \frac1M \sum_m p_m(y \mid x)$; a point learner is the case of one particle. They act
on one task's rows and average over those whose mask is 1; `torch.vmap` runs them over tasks, and `summary` and
`interval` then describe the values over tasks.
"""

from metafunc.metrics.bootstrap import Interval as Interval
from metafunc.metrics.bootstrap import bootstrap as bootstrap
from metafunc.metrics.bootstrap import mean_of as mean_of
from metafunc.metrics.bootstrap import percentiles as percentiles
from metafunc.metrics.calibration import calibration_error as calibration_error
from metafunc.metrics.calibration import calibration_error_of as calibration_error_of
from metafunc.metrics.calibration import calibration_levels as calibration_levels
from metafunc.metrics.calibration import confidence_bins as confidence_bins
from metafunc.metrics.calibration import coverage as coverage
from metafunc.metrics.calibration import ece as ece
from metafunc.metrics.calibration import ece_of as ece_of
from metafunc.metrics.calibration import probability_integral as probability_integral
from metafunc.metrics.calibration import rows_below as rows_below
from metafunc.metrics.scores import accuracy as accuracy
from metafunc.metrics.scores import brier as brier
from metafunc.metrics.scores import crps as crps
from metafunc.metrics.scores import mixture as mixture
from metafunc.metrics.scores import mse as mse
from metafunc.metrics.scores import nll as nll
from metafunc.metrics.summaries import Summary as Summary
from metafunc.metrics.summaries import interval as interval
from metafunc.metrics.summaries import summary as summary
