r"""How good predictions are: pure functions of a predictive distribution and the targets.

All take predictions with particles on the first axis, as `MetaLearner.predict` returns them, and judge their *mixture*
with equal weights, $p(y \mid x) = \frac1M \sum_m p_m(y \mid x)$; a point learner is the case of one particle. They act
on one task's rows and average over those whose mask is 1; `torch.vmap` runs them over tasks, and `summary` and
`interval` then describe the values over tasks.
"""

from metafunc.evaluation.metrics.calibration import calibration_error as calibration_error
from metafunc.evaluation.metrics.calibration import calibration_error_of as calibration_error_of
from metafunc.evaluation.metrics.calibration import calibration_levels as calibration_levels
from metafunc.evaluation.metrics.calibration import confidence_bins as confidence_bins
from metafunc.evaluation.metrics.calibration import coverage as coverage
from metafunc.evaluation.metrics.calibration import ece as ece
from metafunc.evaluation.metrics.calibration import ece_of as ece_of
from metafunc.evaluation.metrics.calibration import probability_integral as probability_integral
from metafunc.evaluation.metrics.calibration import rows_below as rows_below
from metafunc.evaluation.metrics.intervals import Interval as Interval
from metafunc.evaluation.metrics.intervals import half_width as half_width
from metafunc.evaluation.metrics.intervals import influence as influence
from metafunc.evaluation.metrics.intervals import interval as interval
from metafunc.evaluation.metrics.intervals import mean_of as mean_of
from metafunc.evaluation.metrics.quantiles import quantile as quantile
from metafunc.evaluation.metrics.scores import accuracy as accuracy
from metafunc.evaluation.metrics.scores import brier as brier
from metafunc.evaluation.metrics.scores import crps as crps
from metafunc.evaluation.metrics.scores import joint_nll as joint_nll
from metafunc.evaluation.metrics.scores import mixture as mixture
from metafunc.evaluation.metrics.scores import mse as mse
from metafunc.evaluation.metrics.scores import nll as nll
from metafunc.evaluation.metrics.summaries import Summary as Summary
from metafunc.evaluation.metrics.summaries import summary as summary
from metafunc.evaluation.metrics.table import METRICS as METRICS
from metafunc.evaluation.metrics.table import Drawn as Drawn
from metafunc.evaluation.metrics.table import Metric as Metric
